//! `cargo shuttle`: packs a Rust project, uploads it to a platform-server, and follows it until it is live.
//!
//! The way of a command: [`cli`] parses, [`commands`] does the work, [`ui`] prints, [`error`] decides the exit code.
//! What `deploy` needs on the way: [`project`] finds and checks the package, [`pack`] makes the archive, [`config`] finds
//! server and key, [`client`] speaks HTTP, [`follow`] reads event streams and picks them up again.

mod cli;
mod client;
mod commands;
mod config;
mod error;
mod follow;
mod pack;
mod project;
mod sse;
mod ui;
mod unknown;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser as _;

use crate::{
    cli::{Cli, Format},
    error::Error,
    ui::Ui,
};

fn main() -> ExitCode {
    let arguments = arguments(std::env::args_os());
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse_usage(&error, &arguments),
    };
    let ui = Ui::new(cli.global.output, cli.global.color);
    match commands::run(cli, &ui) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// cargo runs `cargo-shuttle shuttle …` for `cargo shuttle …`.
fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = given.collect();
    if arguments.get(1).is_some_and(|first| first == "shuttle") {
        arguments.remove(1);
    }
    arguments
}

/// Help and version are no errors; the rest is one, and JSON is JSON in this case as well.
fn refuse_usage(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let json = arguments.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json")
        || arguments.iter().any(|argument| argument == "--output=json");
    if let Some(error) = unknown::command(error) {
        Ui::new(if json { Format::Json } else { Format::Text }, cli::Color::Auto).error(&error);
        return ExitCode::from(error.exit_code());
    }
    if error.use_stderr() && json {
        let message = error.to_string();
        let message = message.trim().trim_start_matches("error: ");
        let (message, hint) = message.split_once("\n\n").unwrap_or((message, "see `cargo shuttle --help`"));
        let error = Error::Usage { message: message.to_owned(), hint: Some(hint.to_owned()) };
        Ui::new(Format::Json, cli::Color::Auto).error(&error);
        return ExitCode::from(error.exit_code());
    }
    // Nothing can be done where even this cannot be printed.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { error::USAGE } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(given: &[&str]) -> Vec<OsString> {
        arguments(given.iter().map(OsString::from))
    }

    #[test]
    fn both_ways_of_calling_are_one() {
        assert_eq!(stripped(&["cargo-shuttle", "shuttle", "status"]), stripped(&["cargo-shuttle", "status"]));
    }
}
