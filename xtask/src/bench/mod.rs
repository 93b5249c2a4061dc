//! `cargo xtask bench deploy` and `cargo xtask bench sdk`: what the platform adds to, or takes from, a developer's wait.
//!
//! Both sides of a comparison are timed in the same run and take turns, so that what else the machine does hits both. Each
//! measurement writes its own section of docs/BENCHMARKS.md as soon as it is done.

mod app;
mod deploy;
mod figures;
mod pack;
mod page;
mod report;
mod sdk;
mod second;
mod watch;

use std::path::PathBuf;

use crate::{
    error::{Error, Result},
    repo::{Repo, Temp},
    server::Server,
    setup::{self, Scope},
    ui::{self, Steps},
};
use deploy::Bench;
use figures::Figure;
use page::Page;

/// How often each side is timed, unless the command line says otherwise.
const ROUNDS: usize = 5;

/// While bare builds are timed the server has nothing to do, and would compile for later deployments.
const QUIET: [&str; 2] = ["--warm-up-after", "0"];

/// What the command line says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) rounds: usize,
    /// Names of measurements; none: all.
    pub(crate) only: Vec<String>,
    /// The platform's programs, where they are not to be built.
    pub(crate) bin_dir: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { rounds: ROUNDS, only: Vec::new(), bin_dir: None }
    }
}

impl Options {
    /// Those of `all` that are asked for, in their order.
    fn wanted<T: Copy>(&self, all: &[T], name: fn(&T) -> &'static str) -> Result<Vec<T>> {
        if let Some(unknown) = self.only.iter().find(|only| !all.iter().any(|one| name(one) == *only)) {
            let names = all.iter().map(name).collect::<Vec<_>>().join(", ");
            return Err(Error::new(format!("there is no measurement `{unknown}`")).hint(format!("there are: {names}")));
        }
        let is_wanted = |one: &&T| self.only.is_empty() || self.only.iter().any(|only| only == name(one));
        Ok(all.iter().filter(is_wanted).copied().collect())
    }
}

/// A part of `bench deploy` that can run alone; its name is its section's as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measurement {
    Hello,
    Overhead,
    Unchanged,
    Second,
    Pack,
    Shortener,
}

impl Measurement {
    /// What needs the same app stands together.
    const ALL: [Self; 6] = [Self::Hello, Self::Overhead, Self::Unchanged, Self::Second, Self::Pack, Self::Shortener];

    const fn name(&self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Overhead => "overhead",
            Self::Unchanged => "unchanged",
            Self::Second => "second",
            Self::Pack => "pack",
            Self::Shortener => "shortener",
        }
    }
}

/// What a measurement found: its rows of the table, and its section.
#[derive(Debug)]
struct Found {
    figures: Vec<Figure>,
    text: String,
}

/// Measures deployments.
pub(crate) fn deploy(repo: &Repo, options: &Options) -> Result<()> {
    let wanted = options.wanted(&Measurement::ALL, Measurement::name)?;
    let mut steps = Steps::new();
    steps.run("Check what this machine has", || setup::setup(Scope::Run))?;
    let bins = match &options.bin_dir {
        Some(folder) => programs(folder)?,
        None => steps.run("Build the platform for release", || repo.build_bins(true))?,
    };
    let page = Page::new(repo, options.bin_dir.is_none())?;
    let temp = Temp::new("bench")?;
    let server = steps.run("Start platform-server", || Server::start(&bins, &temp, "127.0.0.1:0", &QUIET))?;
    let mut bench = Bench::new(&repo.root, &temp.path, &server, options.rounds);
    let measured = wanted.iter().try_for_each(|measurement| {
        let name = measurement.name();
        let found = steps.run(&format!("Measure `{name}`"), || bench.measure(*measurement))?;
        page.publish(name, &found.figures, &page.measured(&found.text))
    });
    if let Err(error) = &measured {
        server.show_log(error);
    }
    let stopped = server.stop();
    measured.and(stopped)?;
    steps.summary();
    said(repo, options);
    Ok(())
}

/// Measures what the SDK adds to a build.
pub(crate) fn sdk(repo: &Repo, options: &Options) -> Result<()> {
    let mut steps = Steps::new();
    let page = Page::new(repo, true)?;
    for part in options.wanted(&[sdk::BUILD, sdk::CRATES], |name| name)? {
        let text = steps.run(&format!("Measure `{part}`"), || match part {
            sdk::CRATES => sdk::crates_table(repo),
            _ => Ok(page.measured(&sdk::builds(repo, options.rounds)?)),
        })?;
        page.publish(part, &[], &text)?;
    }
    steps.summary();
    said(repo, options);
    Ok(())
}

fn programs(folder: &std::path::Path) -> Result<PathBuf> {
    let folder = std::path::absolute(folder).map_err(|error| Error::new(format!("{}: {error}", folder.display())))?;
    match crate::install::PROGRAMS.iter().find(|program| !folder.join(program).is_file()) {
        Some(missing) => Err(Error::new(format!("there is no {missing} in {}", folder.display()))),
        None => Ok(folder),
    }
}

fn said(repo: &Repo, options: &Options) {
    if options.bin_dir.is_some() {
        ui::note("nothing was written: with --bin-dir it is unknown what was measured");
    } else {
        ui::note(format_args!("written to {}", page::file(repo).display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_are_chosen_by_name_and_keep_their_order() {
        let wanted = |only: &[&str]| {
            let only = only.iter().map(|&name| name.to_owned()).collect();
            Options { only, ..Options::default() }.wanted(&Measurement::ALL, Measurement::name)
        };
        assert_eq!(wanted(&[]).unwrap(), Measurement::ALL);
        assert_eq!(wanted(&["pack", "hello"]).unwrap(), [Measurement::Hello, Measurement::Pack]);
        let error = wanted(&["pack", "hullo"]).unwrap_err();
        assert!(error.to_string().contains("`hullo`") && error.hint.unwrap().contains("hello, overhead"));
    }
}
