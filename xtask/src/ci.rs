//! `cargo xtask ci`: what has to pass before a change is kept. `.ci/run` calls it and does nothing else.

use crate::{
    cmd,
    error::Result,
    repo::Repo,
    setup::{self, Scope},
    test::{self, Options},
    tidy,
    ui::Steps,
};

/// Runs it all; the cheap steps first.
pub(crate) fn ci(repo: &Repo) -> Result<()> {
    let mut steps = Steps::new();
    let result = all(repo, &mut steps);
    steps.summary();
    result
}

fn all(repo: &Repo, steps: &mut Steps) -> Result<()> {
    steps.run("Tidy", || tidy::tidy(repo))?;
    steps.run("Formatting", || format(repo))?;
    // Clippy compiles build scripts, which look for the system's libraries.
    steps.run("Check what this machine has", || setup::setup(Scope::Run))?;
    steps.run("Clippy", || {
        cmd::run(repo.cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
    })?;
    test::all(repo, &Options::default(), steps)?;
    steps.run("Documentation", || {
        // RUSTDOCFLAGS replaces what stands in the user's configuration: in CI that is wanted.
        cmd::run(repo.cargo().env("RUSTDOCFLAGS", "-D warnings").args(["doc", "--workspace", "--no-deps", "--locked"]))
    })
}

fn format(repo: &Repo) -> Result<()> {
    cmd::run(repo.cargo().args(["fmt", "--all", "--", "--check"]))?;
    for manifest in repo.examples()? {
        cmd::run(repo.cargo().args(["fmt", "--manifest-path"]).arg(&manifest).args(["--", "--check"]))?;
    }
    Ok(())
}
