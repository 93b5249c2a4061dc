//! `cargo xtask tidy`: the repository's own rules, as code.
//!
//! What rustfmt, clippy and the compiler check is not repeated here. A rule is a pure function from a file's text, or from
//! what cargo tells of a package, to complaints; this module only reads the files.

mod lexer;
mod manifests;
mod sources;

use std::{fmt, fs, path::Path};

use crate::{
    cmd,
    error::{At, Error, Result},
    repo::Repo,
    ui,
};

/// One breach of a rule.
#[derive(Debug, PartialEq, Eq)]
struct Complaint {
    path: String,
    /// From 1; 0 for the file as a whole.
    line: usize,
    message: String,
}

impl Complaint {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Checks every file that git knows or would add.
pub(crate) fn tidy(repo: &Repo) -> Result<()> {
    let files = files(&repo.root)?;
    let mut complaints = Vec::new();
    for path in &files {
        let Some(text) = text(&repo.root.join(path))? else { continue };
        complaints.extend(sources::check(path, &text));
    }
    complaints.extend(manifests::check(repo)?);
    complaints.extend(manifests::check_examples(&repo.root)?);
    for complaint in &complaints {
        ui::note(complaint);
    }
    match complaints.len() {
        0 => {
            ui::note(format_args!("{} files are in order", files.len()));
            Ok(())
        }
        count => Err(Error::new(format!("{count} breach{} of the repository's rules", if count == 1 { "" } else { "es" }))
            .hint("each rule, and why it is there, stands in xtask/src/tidy/")),
    }
}

/// Tracked files and new ones, relative to the root, without what `.gitignore` names.
fn files(root: &Path) -> Result<Vec<String>> {
    let mut git = std::process::Command::new("git");
    // A clone that belongs to another user (a mounted volume, say) is read all the same: nothing of it is run.
    git.args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    Ok(cmd::output(&mut git)?.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

/// The text of a file that the rules read; `None` for others, and for one that was deleted and is still in git's index.
fn text(file: &Path) -> Result<Option<String>> {
    if !sources::is_read(&file.to_string_lossy()) || !file.is_file() {
        return Ok(None);
    }
    fs::read_to_string(file).at(file).map(Some)
}
