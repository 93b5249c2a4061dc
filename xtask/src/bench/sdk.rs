//! What the SDK costs a build: seconds, and crates.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
    time::Duration,
};

use super::{
    app::{self, HELLO, Plain, Project},
    report,
};
use crate::{
    cmd,
    error::{At, Result},
    repo::{Repo, Temp},
    signals, ui,
};

/// The section of the times.
pub(super) const BUILD: &str = "sdk";
/// The section of the list, which a test compares with what cargo says.
pub(super) const CRATES: &str = "sdk-crates";

/// One build, as the platform builds: for release, incremental, as a library that can be loaded.
fn build(folder: &Path) -> Command {
    let mut command = cmd::cargo();
    command.args(["rustc", "--release", "--lib", "--crate-type", "cdylib"]).current_dir(folder);
    command.env("CARGO_TARGET_DIR", folder.join("target")).env("CARGO_PROFILE_RELEASE_INCREMENTAL", "true");
    command
}

/// Times of the same app with the SDK and without it.
#[derive(Debug, Default)]
struct Times {
    with: Vec<Duration>,
    without: Vec<Duration>,
}

impl Times {
    fn row(&self, what: &str) -> String {
        let added =
            report::median(self.with.iter().zip(&self.without).map(|(with, without)| with.as_secs_f64() - without.as_secs_f64()));
        format!(
            "| {what} | {} | {} | **{added:+.2} s** |\n",
            ui::seconds(report::median_time(self.with.iter().copied())),
            ui::seconds(report::median_time(self.without.iter().copied())),
        )
    }
}

pub(super) fn builds(repo: &Repo, rounds: usize) -> Result<String> {
    let temp = Temp::new("bench")?;
    let with = Project::example(&repo.root, &HELLO, temp.path.join("with"))?;
    let without = Project::plain(&repo.root, &HELLO, temp.path.join("without"), Plain::Library)?;
    for project in [&with, &without] {
        // What is downloaded is no build time.
        cmd::captured(cmd::cargo().arg("fetch").current_dir(&project.folder))?;
    }
    let (mut cold, mut warm) = (Times::default(), Times::default());
    for number in 0..rounds {
        let sides = [(&with, true), (&without, false)];
        let order = if number.is_multiple_of(2) { [0, 1] } else { [1, 0] };
        for (project, has_sdk) in order.map(|side| sides[side]) {
            let target = project.folder.join("target");
            if target.exists() {
                fs::remove_dir_all(&target).at(&target)?;
            }
            let (first, _) = app::timed(&mut build(&project.folder))?;
            project.edit(&format!("Version {number}."))?;
            let (second, _) = app::timed(&mut build(&project.folder))?;
            for (times, time) in [(&mut cold, first), (&mut warm, second)] {
                if has_sdk { times.with.push(time) } else { times.without.push(time) }
            }
            let side = if has_sdk { "with" } else { "without" };
            ui::note(format_args!("{side} the SDK: cold {}, one line edited {}", ui::seconds(first), ui::seconds(second)));
            signals::check()?;
        }
    }
    Ok(format!(
        "`examples/{}` as the platform builds it (`cargo rustc --release --lib --crate-type cdylib`, incremental), and the same \
         app without the SDK, whose one exported function makes a runtime of the same kind and serves the same router (tokio with \
         `macros`, `net`, `rt-multi-thread`). Medians of {rounds}; what is added is taken round by round.\n\n\
         | | with the SDK | without | added |\n|---|---:|---:|---:|\n{}{}",
        HELLO.name,
        cold.row("cold: every dependency compiled"),
        warm.row("one line edited"),
    ))
}

/// Crates by name, with those that need them.
type Crates = BTreeMap<String, BTreeSet<String>>;

/// The section's text.
pub(super) fn crates_table(repo: &Repo) -> Result<String> {
    let crates = crates(repo)?;
    let mut text = format!("{} crates:\n\n| Crate | Needed by |\n|---|---|\n", crates.len());
    for (name, needed_by) in &crates {
        text += &format!("| `{name}` | {} |\n", needed_by.iter().cloned().collect::<Vec<_>>().join(", "));
    }
    Ok(text)
}

/// What shuttle-service's default features pull in on this machine's platform.
fn crates(repo: &Repo) -> Result<Crates> {
    let args = ["tree", "--locked", "--package=shuttle-service", "--edges=normal,build", "--prefix=depth", "--format= {p}"];
    Ok(parsed(&cmd::output(repo.cargo().args(args))?))
}

/// Reads `cargo tree`'s lines: depth, name, version, notes.
fn parsed(tree: &str) -> Crates {
    let mut crates = Crates::new();
    let mut path: Vec<&str> = Vec::new();
    for line in tree.lines() {
        let mut words = line.split(' ');
        let (Some(depth), Some(name)) = (words.next().and_then(|word| word.parse().ok()), words.next()) else { continue };
        path.truncate(depth);
        if let Some(parent) = path.last() {
            crates.entry(name.to_owned()).or_default().insert((*parent).to_owned());
        }
        path.push(name);
    }
    crates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::page;

    #[test]
    fn a_tree_becomes_crates_with_those_that_need_them() {
        let tree = "0 sdk v0.1.0 (/x)\n1 log v0.4.35\n1 tokio v1.54.1\n2 libc v0.2.191\n2 mio v1.2.4\n3 libc v0.2.191 (*)\n1 mio v1.2.4 (*)\n";
        let crates = parsed(tree);
        let needed_by = |name: &str| crates[name].iter().cloned().collect::<Vec<_>>();
        assert_eq!(crates.keys().collect::<Vec<_>>(), ["libc", "log", "mio", "tokio"]);
        assert_eq!(needed_by("libc"), ["mio", "tokio"]);
        assert_eq!(needed_by("mio"), ["sdk", "tokio"]);
    }

    #[test]
    fn the_sdk_pulls_in_what_is_listed_and_nothing_else() {
        let repo = Repo::find().unwrap();
        let page = fs::read_to_string(page::file(&repo)).unwrap();
        let section = page::between(&page, CRATES).unwrap();
        let listed: BTreeSet<&str> =
            section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name).collect();
        let actual = crates(&repo).unwrap();
        let actual: BTreeSet<&str> = actual.keys().map(String::as_str).collect();
        let (new, gone): (Vec<_>, Vec<_>) = (actual.difference(&listed).collect(), listed.difference(&actual).collect());
        assert!(
            new.is_empty() && gone.is_empty(),
            "shuttle-service's default features pull in {new:?} anew and {gone:?} no longer: every app compiles them. If that is \
             meant, `cargo xtask bench sdk --only {CRATES}` brings the list in docs/BENCHMARKS.md up to date"
        );
    }
}
