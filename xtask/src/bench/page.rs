//! docs/BENCHMARKS.md: which part of it each run replaces, and what it was measured on.

use std::{fs, path::PathBuf, process::Command};

use super::figures::{self, Figure};
use crate::{
    cmd,
    error::{At, Error, Result},
    repo::Repo,
    ui,
};

/// Where results go.
#[derive(Debug)]
pub(super) struct Page {
    file: PathBuf,
    /// `false`: what was measured was not the release build of this tree, and is only shown.
    write: bool,
    date: String,
    commit: String,
    machine: String,
}

impl Page {
    /// Looks at the machine now: what is written to the page later must not count as a change of the tree.
    pub(super) fn new(repo: &Repo, write: bool) -> Result<Self> {
        let date = cmd::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?.trim().to_owned();
        Ok(Self { file: file(repo), write, date, commit: commit(repo), machine: machine()? })
    }

    /// The text of measured values, under what they were measured on.
    pub(super) fn measured(&self, text: &str) -> String {
        format!("Measured {}, commit {}, on {}\n\n{text}", self.date, self.commit, self.machine)
    }

    /// Replaces a section, and the rows of these figures.
    pub(super) fn publish(&self, section: &str, figures: &[Figure], text: &str) -> Result<()> {
        for figure in figures {
            ui::note(figure.to_line());
        }
        if !self.write {
            ui::say(text);
            return Ok(());
        }
        let mut page = fs::read_to_string(&self.file).at(&self.file)?;
        let lacks = |name: &str| Error::new(format!("{} has no markers for {name}", self.file.display()));
        page = replaced(&page, section, text).ok_or_else(|| lacks(section))?;
        if !figures.is_empty() {
            let present = between(&page, "figures").ok_or_else(|| lacks("figures"))?;
            let table = figures::table(present, figures, &format!("{}, {}", self.date, self.commit));
            page = replaced(&page, "figures", &table).ok_or_else(|| lacks("figures"))?;
        }
        fs::write(&self.file, page).at(&self.file)
    }
}

pub(super) fn file(repo: &Repo) -> PathBuf {
    repo.root.join("docs/BENCHMARKS.md")
}

/// What stands between a section's markers.
pub(super) fn between<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    let (open, close) = markers(name);
    let (_, rest) = page.split_once(&open)?;
    Some(rest.split_once(&close)?.0)
}

/// The page with another text there.
pub(super) fn replaced(page: &str, name: &str, text: &str) -> Option<String> {
    let (open, close) = markers(name);
    let (before, rest) = page.split_once(&open)?;
    let (_, after) = rest.split_once(&close)?;
    Some(format!("{before}{open}\n\n{}\n\n{close}{after}", text.trim()))
}

fn markers(name: &str) -> (String, String) {
    (format!("<!-- bench:{name} -->"), format!("<!-- /bench:{name} -->"))
}

/// A number without its machine says little.
fn machine() -> Result<String> {
    let line = |file: &str, key: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines()
            .find(|line| line.starts_with(key))
            .and_then(|line| line.split_once(':'))
            .map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let memory = line("/proc/meminfo", "MemTotal");
    let memory = memory
        .trim_end_matches(" kB")
        .parse::<u64>()
        .map_or(memory.clone(), |kib| format!("{:.1} GiB", kib as f64 / 1_048_576.0));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let rustc = cmd::output(Command::new("rustc").arg("--version"))?;
    Ok(format!(
        "{} ({cores} cores seen), {memory} of memory, Linux {}, with {}.",
        line("/proc/cpuinfo", "model name"),
        kernel.trim(),
        rustc.trim()
    ))
}

/// `-dirty`, where what is measured is in no commit. The pages do not count: an earlier run has written to one of them.
fn commit(repo: &Repo) -> String {
    // No repository, as in an unpacked archive, is no error.
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(&repo.root).output();
        output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"]);
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs", ":!*.md"]);
    match commit.trim() {
        "" => "unknown".to_owned(),
        commit if changed.is_empty() => commit.to_owned(),
        commit => format!("{commit}-dirty"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::UNCHANGED;

    #[test]
    fn only_what_stands_between_the_markers_changes() {
        let page = "# Title\n<!-- bench:hello -->\nold\n<!-- /bench:hello -->\nend\n";
        let new = replaced(page, "hello", "new").unwrap();
        assert_eq!(new, "# Title\n<!-- bench:hello -->\n\nnew\n\n<!-- /bench:hello -->\nend\n");
        assert_eq!(between(&new, "hello"), Some("\n\nnew\n\n"));
        assert_eq!(replaced(page, "other", "new"), None);
    }

    #[test]
    fn a_run_replaces_its_section_and_its_rows() {
        let temp = crate::repo::Temp::new("page-test").unwrap();
        let file = temp.path.join("page.md");
        let empty = |name: &str| format!("<!-- bench:{name} -->\n<!-- /bench:{name} -->\n");
        fs::write(&file, empty("figures") + &empty("unchanged") + &empty("pack")).unwrap();
        let words = |word: &str| word.to_owned();
        let page = Page { file, write: true, date: words("1 May"), commit: words("c0"), machine: words("a machine") };
        let figures = [UNCHANGED.time(std::time::Duration::from_millis(300))];
        page.publish("unchanged", &figures, &page.measured("all of it")).unwrap();
        let text = fs::read_to_string(&page.file).unwrap();
        assert!(between(&text, "figures").unwrap().contains("| 0.30 s | yes | 1 May, c0 |"), "{text}");
        assert!(between(&text, "unchanged").unwrap().contains("commit c0, on a machine\n\nall of it"), "{text}");
        assert_eq!(between(&text, "pack"), Some("\n"));
        assert!(page.publish("no such section", &[], "text").is_err());
    }

    /// Every section that a run would write has its place.
    #[test]
    fn the_page_has_every_section() {
        let page = fs::read_to_string(file(&Repo::find().unwrap())).unwrap();
        let deploys = crate::bench::Measurement::ALL.iter().map(|measurement| measurement.name());
        for name in deploys.chain(["figures", crate::bench::sdk::BUILD, crate::bench::sdk::CRATES]) {
            assert!(between(&page, name).is_some(), "{name}");
        }
    }
}
