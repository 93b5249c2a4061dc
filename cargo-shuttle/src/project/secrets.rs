//! `Secrets.toml`: the secrets of a project, as they are sent apart from the archive. No value ever stands in a message.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use platform_wire::secrets::{InvalidSecrets, Secrets as Set};
use toml::{Spanned, Value};

use super::{ProjectError, git::Repo, unreadable_hint};

const FILE_NAME: &str = "Secrets.toml";
/// The one for runs on the developer's own machine.
const LOCAL: &str = "Secrets.dev.toml";
/// Longest file that is read: several times what a server takes.
const MAX_FILE: u64 = 2 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretsError {
    #[error("cannot read the secrets in {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is longer than {} MiB", path.display(), MAX_FILE / 1024 / 1024)]
    TooLong { path: PathBuf },
    #[error("{}:{line}: {why}", path.display())]
    Broken { path: PathBuf, line: usize, why: String },
    #[error("{}:{line}: the secret `{name}` is {found}; secrets are strings", path.display())]
    NoString { path: PathBuf, line: usize, name: String, found: &'static str },
    #[error("{}: {why}", path.display())]
    Refused { path: PathBuf, why: InvalidSecrets },
    #[error("{} is for runs on this machine and is never sent", path.display())]
    Local { path: PathBuf },
}

impl SecretsError {
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoString { name, found: "a table" | "an array", .. } => {
                format!("give every secret a name and one value: {name} = \"…\"")
            }
            Self::NoString { name, .. } => format!("put its value in quotes: {name} = \"…\""),
            Self::Broken { .. } => "write one secret a line: NAME = \"value\"".to_owned(),
            Self::Local { .. } => format!("name a file with the secrets of the deployed app, or write them to {FILE_NAME}"),
            Self::Io { path, source } if source.kind() == io::ErrorKind::PermissionDenied => unreadable_hint(path),
            Self::Io { .. } | Self::TooLong { .. } | Self::Refused { .. } => return None,
        })
    }
}

/// The secrets of one deployment, and where they were found.
#[derive(Debug)]
pub(crate) struct Secrets {
    pub(crate) set: Set,
    pub(crate) file: PathBuf,
    /// The workspace's file, where the package's own is used instead.
    pub(crate) unused: Option<PathBuf>,
}

impl Secrets {
    /// Reads the file that is named, else the package's, else the workspace's; there need not be one of these two.
    pub(crate) fn find(given: Option<&Path>, package: &Path, workspace: &Path) -> Result<Option<Self>, SecretsError> {
        if let Some(file) = given {
            if file.file_name().is_some_and(|name| name == LOCAL) {
                return Err(SecretsError::Local { path: file.to_owned() });
            }
            return Ok(Some(Self { set: read(file)?, file: file.to_owned(), unused: None }));
        }
        let (own, shared) = (package.join(FILE_NAME), workspace.join(FILE_NAME));
        // A link that leads nowhere is a mistake, and no missing file.
        let is_there = |file: &Path| fs::symlink_metadata(file).is_ok();
        let shared_is_there = own != shared && is_there(&shared);
        Ok(match (is_there(&own), shared_is_there) {
            (true, _) => Some(Self { set: read(&own)?, file: own, unused: shared_is_there.then_some(shared) }),
            (false, true) => Some(Self { set: read(&shared)?, file: shared, unused: None }),
            (false, false) => None,
        })
    }

    /// Whether git has the file: then everybody who has the repository has the secrets.
    pub(crate) fn is_tracked(&self) -> Result<bool, ProjectError> {
        let Ok(real) = fs::canonicalize(&self.file) else { return Ok(false) };
        let folder = real.parent().unwrap_or(&real);
        Ok(match Repo::around(folder)? {
            Some(repo) => repo.tracked()?.contains(&real),
            None => false,
        })
    }
}

fn read(path: &Path) -> Result<Set, SecretsError> {
    let io = |source| SecretsError::Io { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path).map_err(io)?.take(MAX_FILE + 1).read_to_string(&mut text).map_err(io)?;
    if text.len() as u64 > MAX_FILE {
        return Err(SecretsError::TooLong { path: path.to_owned() });
    }
    let set = Set { secrets: parse(path, &text)? };
    set.check().map_err(|why| SecretsError::Refused { path: path.to_owned(), why })?;
    Ok(set)
}

/// Strings only: `PORT = 08` and `DAY = 2026-01-01` would not reach the app as they were written.
fn parse(path: &Path, text: &str) -> Result<BTreeMap<String, String>, SecretsError> {
    let line = |offset: usize| text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1;
    // The error's own text shows the line, secret and all.
    let table: BTreeMap<String, Spanned<Value>> =
        toml::from_str(text).map_err(|error: toml::de::Error| SecretsError::Broken {
            path: path.to_owned(),
            line: line(error.span().map_or(0, |span| span.start)),
            why: error.message().to_owned(),
        })?;
    let one = |(name, value): (String, Spanned<Value>)| {
        let start = value.span().start;
        let found = match value.into_inner() {
            Value::String(text) => return Ok((name, text)),
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Boolean(_) => "a boolean",
            Value::Datetime(_) => "a date",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        };
        Err(SecretsError::NoString { path: path.to_owned(), line: line(start), name, found })
    };
    table.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_every_form_are_secrets() {
        let text = "# of ours\nA = \"one\"\nB = 'two # three'\nC = \"\"\"four\nfive\"\"\"\n\"D\" = \"\"\n";
        let values = parse(Path::new("Secrets.toml"), text).unwrap();
        let expected = [("A", "one"), ("B", "two # three"), ("C", "four\nfive"), ("D", "")];
        assert_eq!(values, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn a_mistake_is_named_with_its_line_and_without_the_value() {
        for (text, line, part) in [
            ("A = \"x\"\n\nB = 424242", 3, "`B` is a number"),
            ("A = true", 1, "`A` is a boolean"),
            ("A = 2026-01-01", 1, "`A` is a date"),
            ("A = \"x\"\n[B]\nC = \"424242\"", 2, "`B` is a table"),
            ("A = [\"424242\"]", 1, "`A` is an array"),
            ("A = \"x\"\nB = 424242secret", 2, ""),
            ("A = \"x\"\nB = \"424242", 2, ""),
            ("A = \"x\"\n424242secret", 2, ""),
            ("A = \"x\"\nA = \"424242\"", 2, "duplicate key"),
            ("A = \"\\424242\"", 1, ""),
        ] {
            let error = parse(Path::new("Secrets.toml"), text).unwrap_err();
            let message = format!("{error} {:?}", error.hint());
            assert!(message.contains(&format!("Secrets.toml:{line}:")) && message.contains(part), "{text}: {message}");
            assert!(!message.contains("42"), "{message}");
        }
    }
}
