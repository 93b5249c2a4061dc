//! `cargo xtask test`: every test of the workspace, with what they need from the system.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    cmd,
    error::Result,
    repo::Repo,
    setup::{self, Scope},
    ui::{self, Steps},
    unprivileged,
};

/// Tells the end-to-end tests where the three binaries lie.
pub(crate) const BIN_DIR: &str = "SHUTTLE_TEST_BIN_DIR";
/// Tells them where the repository is, for the examples.
pub(crate) const REPO: &str = "SHUTTLE_TEST_REPO";
/// Set for the run as an ordinary user: the tests choose the part that is worth running twice.
pub(crate) const UNPRIVILEGED: &str = "SHUTTLE_TEST_UNPRIVILEGED";

/// What the command line says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) slow: bool,
    pub(crate) unprivileged: bool,
    /// For `cargo test`, or for the test program where `unprivileged` is set.
    pub(crate) args: Vec<OsString>,
}

pub(crate) fn test(repo: &Repo, options: &Options) -> Result<()> {
    let mut steps = Steps::new();
    let result = all(repo, options, &mut steps);
    steps.summary();
    result
}

/// The same steps, as a part of `ci`.
pub(crate) fn all(repo: &Repo, options: &Options, steps: &mut Steps) -> Result<()> {
    steps.run("Check what this machine has", || setup::setup(Scope::Run))?;
    let bins = steps.run("Build the binaries and the tests", || build(repo))?;
    if !options.unprivileged {
        steps.run(if setup::is_root() { "Test, as root" } else { "Test" }, || cargo_test(repo, &bins, options))?;
        if options.slow {
            steps.run("End-to-end tests that take minutes", || slow_tests(repo, &bins, options))?;
        }
    }
    if !options.unprivileged && options.args.is_empty() {
        steps.run("Examples' own tests", || test_examples(repo))?;
    }
    if !setup::is_root() {
        ui::note("this run was an ordinary user's; the other half, as root, is for CI or a `sudo` of yours");
        return Ok(());
    }
    // A filter was meant for the tests that it names, not for a second round of others.
    if !options.unprivileged && !options.args.is_empty() {
        return Ok(());
    }
    steps.run("End-to-end tests, as an ordinary user", || unprivileged::test(repo, &bins, options))
}

/// Builds everything with one set of features. A build of the binaries alone has others, as what only tests depend on does
/// not count there, and would compile most dependencies a second time.
fn build(repo: &Repo) -> Result<PathBuf> {
    cmd::run(repo.cargo().args(["build", "--workspace", "--all-targets", "--locked"]))?;
    Ok(repo.bins(false))
}

fn cargo_test(repo: &Repo, bins: &Path, options: &Options) -> Result<()> {
    let mut command = repo.cargo();
    command.arg("test");
    let chosen = |arg: &OsString| arg.to_str().is_some_and(|arg| arg.starts_with("-p") || arg.starts_with("--package"));
    if !options.args.iter().take_while(|arg| *arg != "--").any(chosen) {
        command.arg("--workspace");
    }
    command.arg("--locked").args(&options.args);
    cmd::run(with_paths(&mut command, bins, &repo.root))
}

/// The end-to-end tests that are marked as ignored. Of the documentation's examples, some are ignored for good.
fn slow_tests(repo: &Repo, bins: &Path, options: &Options) -> Result<()> {
    let mut command = repo.cargo();
    command.args(["test", "--workspace", "--locked", "--test", "e2e"]).args(with_ignored(&options.args));
    cmd::run(with_paths(&mut command, bins, &repo.root))
}

/// `--ignored` is the test program's, so it stands behind a `--`.
fn with_ignored(args: &[OsString]) -> Vec<OsString> {
    let mut args = args.to_vec();
    if !args.iter().any(|arg| arg == "--") {
        args.push("--".into());
    }
    args.push("--ignored".into());
    args
}

/// The end-to-end tests deploy every example; this is for those that have tests of their own beside that.
fn test_examples(repo: &Repo) -> Result<()> {
    for manifest in repo.examples()? {
        if !manifest.parent().is_some_and(|folder| has_tests(&folder.join("src"))) {
            continue;
        }
        let mut command = repo.cargo();
        command.args(["test", "--locked", "--lib", "--manifest-path"]).arg(&manifest);
        // One folder for all of them, and none in the examples, which are there to be read.
        cmd::run(command.env("CARGO_TARGET_DIR", repo.target.join("examples-tests")))?;
    }
    Ok(())
}

fn has_tests(folder: &Path) -> bool {
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() { has_tests(&path) } else { fs::read_to_string(&path).is_ok_and(|text| text.contains("#[test]")) }
    })
}

/// Sets the variables through which the tests find what they drive.
pub(crate) fn with_paths<'a>(command: &'a mut Command, bins: &Path, repo: &Path) -> &'a mut Command {
    command.env(BIN_DIR, bins).env(REPO, repo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_holds_for_the_slow_tests_as_well() {
        for (args, expected) in [
            ("", "-- --ignored"),
            ("vendored", "vendored -- --ignored"),
            ("vendored -- --nocapture", "vendored -- --nocapture --ignored"),
        ] {
            let args: Vec<OsString> = args.split_whitespace().map(OsString::from).collect();
            let expected: Vec<OsString> = expected.split(' ').map(OsString::from).collect();
            assert_eq!(with_ignored(&args), expected);
        }
    }
}
