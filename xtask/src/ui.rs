//! All that xtask says. Progress goes to stderr; stdout carries only what the user asked for.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the one place that prints")]

use std::{
    fmt,
    io::IsTerminal,
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::error::Error;

fn colours() -> bool {
    static COLOURS: OnceLock<bool> = OnceLock::new();
    *COLOURS.get_or_init(|| std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
}

fn paint(code: &str, text: impl fmt::Display) -> String {
    if colours() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
}

/// Something begins that may take a while.
pub(crate) fn step(text: impl fmt::Display) {
    eprintln!("{} {}", paint("1;36", "==>"), paint("1", text));
}

/// A detail of the present step.
pub(crate) fn note(text: impl fmt::Display) {
    eprintln!("    {text}");
}

/// What the user asked for: goes to stdout.
pub(crate) fn say(text: impl fmt::Display) {
    println!("{text}");
}

/// Why xtask ends with a status other than 0.
pub(crate) fn error(error: &Error) {
    eprintln!("{} {error}", paint("1;31", "error:"));
    if let Some(hint) = &error.hint {
        eprintln!("{} {hint}", paint("1;36", "hint:"));
    }
}

/// The last lines of a log.
pub(crate) fn tail(title: &str, text: &str, lines: usize) {
    let all: Vec<&str> = text.lines().collect();
    eprintln!("{}", paint("1", format_args!("--- {title}, last {} of {} lines", all.len().min(lines), all.len())));
    for line in &all[all.len().saturating_sub(lines)..] {
        eprintln!("    {line}");
    }
}

/// Steps with the time that each took, for a table at the end.
#[derive(Debug)]
pub(crate) struct Steps {
    began: Instant,
    done: Vec<(String, Duration)>,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), done: Vec::new() }
    }

    /// Runs one step and keeps its time, also when it fails.
    pub(crate) fn run<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        step(name);
        let began = Instant::now();
        let result = work();
        self.done.push((name.to_owned(), began.elapsed()));
        result
    }

    /// Prints the table.
    pub(crate) fn summary(&self) {
        let width = self.done.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(5);
        eprintln!();
        for (name, time) in &self.done {
            eprintln!("    {name:width$}  {:>9}", seconds(*time));
        }
        eprintln!("    {:width$}  {:>9}", "total", seconds(self.began.elapsed()));
    }
}

/// A duration for people: `0.24 s`, `75.1 s`, `12 min 05 s`.
pub(crate) fn seconds(time: Duration) -> String {
    let whole = time.as_secs();
    match whole {
        0..10 => format!("{:.2} s", time.as_secs_f64()),
        10..120 => format!("{:.1} s", time.as_secs_f64()),
        _ => format!("{} min {:02} s", whole / 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (millis, text) in [(240, "0.24 s"), (75_120, "75.1 s"), (725_000, "12 min 05 s")] {
            assert_eq!(seconds(Duration::from_millis(millis)), text);
        }
    }
}
