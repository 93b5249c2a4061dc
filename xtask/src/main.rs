//! Everything one does to the repository: `cargo xtask help`.
//!
//! It compiles in seconds and needs no system library, because it is what installs them.

mod bench;
mod ci;
mod cmd;
mod demo;
mod error;
mod http;
mod install;
mod repo;
mod server;
mod setup;
mod signals;
mod test;
mod tidy;
mod ui;
mod unprivileged;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use lexopt::prelude::*;

use crate::{
    error::{Error, Result},
    repo::Repo,
    setup::Scope,
    test::Options,
};

const HELP: &str = "\
Everything one does to the repository.

Usage: cargo xtask COMMAND

  demo [--once]            set up, build, start a platform, deploy examples/url-shortener, try it; stays up until Ctrl-C
                           (--once: stops after the check)
  test [--slow] [ARGS]     set up, build, run every test; as root, the end-to-end tests a second time as an ordinary user.
                           ARGS go to `cargo test` (--slow: and those end-to-end tests that take minutes)
       --unprivileged      only that second part; ARGS go to the test program
  ci                       tidy, formatting, clippy, the tests, the documentation: what CI runs
  tidy                     the repository's own rules, as code
  setup                    check for the system's packages that all this needs, and install them
  install [--root DIR]     build for release; put cargo-shuttle, platform-server and platform-runner into cargo's bin folder
  bench deploy [OPTIONS]   build for release, time deployments against bare builds; writes docs/BENCHMARKS.md
  bench sdk [OPTIONS]      time what the SDK adds to a build, list the crates that it pulls in; writes docs/BENCHMARKS.md
       --rounds N          how often each side is timed [default: 5]
       --only NAME         only this measurement (may be repeated). deploy: hello, overhead, unchanged, second, pack, shortener;
                           sdk: sdk, sdk-crates
       --bin-dir DIR       deploy: build nothing, run the platform's programs that lie there, and only print the results

Exit status: 0, or 1 where something failed, 2 for a wrong command line, 130 after Ctrl-C.
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Help,
    Setup,
    Demo { once: bool },
    Test(Options),
    Ci,
    Tidy,
    Install { root: Option<PathBuf> },
    BenchDeploy(bench::Options),
    BenchSdk(bench::Options),
}

fn main() -> ExitCode {
    let command = match parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(error) => {
            ui::error(&error);
            return ExitCode::from(2);
        }
    };
    match signals::install().and_then(|()| run(command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui::error(&error);
            ExitCode::from(if error.interrupted { 130 } else { 1 })
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Help => {
            ui::say(HELP.trim_end());
            Ok(())
        }
        Command::Setup => {
            setup::setup(Scope::Run)?;
            ui::say("Everything that the platform needs from the system is here.");
            Ok(())
        }
        Command::Demo { once } => demo::demo(&Repo::find()?, once),
        Command::Test(options) => test::test(&Repo::find()?, &options),
        Command::Ci => ci::ci(&Repo::find()?),
        Command::Tidy => tidy::tidy(&Repo::find()?),
        Command::Install { root } => install::install(&Repo::find()?, root),
        Command::BenchDeploy(options) => bench::deploy(&Repo::find()?, &options),
        Command::BenchSdk(options) => bench::sdk(&Repo::find()?, &options),
    }
}

fn parse(args: impl Iterator<Item = OsString>) -> Result<Command> {
    let mut parser = lexopt::Parser::from_args(args);
    let Some(first) = parser.next()? else { return Ok(Command::Help) };
    let name = match first {
        Long("help") | Short('h') => return Ok(Command::Help),
        Value(name) => name.string()?,
        other => return Err(other.unexpected().into()),
    };
    let mut command = match name.as_str() {
        "help" => return Ok(Command::Help),
        "test" => return Ok(Command::Test(parse_test(parser.raw_args()?))),
        "setup" => Command::Setup,
        "demo" => Command::Demo { once: false },
        "ci" => Command::Ci,
        "tidy" => Command::Tidy,
        "install" => Command::Install { root: None },
        "bench" => match parser.next()? {
            Some(Value(what)) if what == "deploy" => Command::BenchDeploy(bench::Options::default()),
            Some(Value(what)) if what == "sdk" => Command::BenchSdk(bench::Options::default()),
            Some(Long("help") | Short('h')) => return Ok(Command::Help),
            _ => return Err(Error::new("what is to be measured? There are `bench deploy` and `bench sdk`")),
        },
        _ => return Err(Error::new(format!("there is no command `{name}`")).hint("`cargo xtask help` lists what there is")),
    };
    while let Some(option) = parser.next()? {
        match (&mut command, option) {
            (_, Long("help") | Short('h')) => return Ok(Command::Help),
            (Command::Demo { once }, Long("once")) => *once = true,
            (Command::Install { root }, Long("root")) => *root = Some(parser.value()?.into()),
            (Command::BenchDeploy(bench) | Command::BenchSdk(bench), Long("rounds")) => {
                bench.rounds = parser.value()?.parse::<usize>()?.max(1);
            }
            (Command::BenchDeploy(bench) | Command::BenchSdk(bench), Long("only")) => bench.only.push(parser.value()?.string()?),
            (Command::BenchDeploy(bench), Long("bin-dir")) => bench.bin_dir = Some(parser.value()?.into()),
            (_, other) => return Err(other.unexpected().into()),
        }
    }
    Ok(command)
}

/// Options of xtask's own come first; everything from the first other word on is `cargo test`'s.
fn parse_test(args: impl Iterator<Item = OsString>) -> Options {
    let mut options = Options::default();
    for arg in args {
        match arg.to_str() {
            Some("--slow") if options.args.is_empty() => options.slow = true,
            Some("--unprivileged") if options.args.is_empty() => options.unprivileged = true,
            _ => options.args.push(arg),
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn command_lines_are_read() {
        assert_eq!(parsed("").unwrap(), Command::Help);
        assert_eq!(parsed("demo --once").unwrap(), Command::Demo { once: true });
        assert_eq!(parsed("install --root=/x").unwrap(), Command::Install { root: Some("/x".into()) });
        assert_eq!(parsed("bench deploy").unwrap(), Command::BenchDeploy(bench::Options::default()));
        let bench = bench::Options { rounds: 1, only: vec!["a".into(), "b".into()], bin_dir: Some("/x".into()) };
        assert_eq!(parsed("bench deploy --rounds 0 --only a --only b --bin-dir /x").unwrap(), Command::BenchDeploy(bench));
        let bench = bench::Options { rounds: 3, ..bench::Options::default() };
        assert_eq!(parsed("bench sdk --rounds 3").unwrap(), Command::BenchSdk(bench));
        let args = ["redeploy", "--", "--slow"].map(OsString::from).to_vec();
        assert_eq!(
            parsed("test --slow redeploy -- --slow").unwrap(),
            Command::Test(Options { slow: true, unprivileged: false, args })
        );
    }

    #[test]
    fn wrong_command_lines_are_refused() {
        for line in
            ["frobnicate", "demo --twice", "ci now", "bench", "bench deploy --rounds many", "bench sdk --bin-dir /x", "--version"]
        {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
