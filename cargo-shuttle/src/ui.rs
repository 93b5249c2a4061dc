//! The one owner of all output: data to stdout, everything else to stderr. Never decides what happens.

use std::io::{self, IsTerminal as _, Write};

use anstream::ColorChoice;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use platform_wire::{LogLevel, LogLine, LogSource};
use serde::Serialize;

use crate::{
    cli::{Color, Format},
    error::Error,
};

/// Columns of wrapped text; a terminal's real width matters less than a line that is easy to read.
const WIDTH: usize = 80;
const GREEN: &str = "\x1b[1;32m";
const RED: &str = "\x1b[1;31m";
const CYAN: &str = "\x1b[1;36m";
const RESET: &str = "\x1b[0m";

#[derive(Debug, Clone)]
pub(crate) struct Ui {
    format: Format,
    terminal: bool,
    bars: MultiProgress,
}

impl Ui {
    pub(crate) fn new(format: Format, color: Color) -> Self {
        match color {
            Color::Auto => {}
            Color::Always => ColorChoice::Always.write_global(),
            Color::Never => ColorChoice::Never.write_global(),
        }
        let terminal = io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { format, terminal, bars: MultiProgress::with_draw_target(target) }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// A line of progress, as cargo prints them: what is done, and with what.
    pub(crate) fn status(&self, verb: &str, message: &str) {
        self.stderr(&format!("{GREEN}{verb:>12}{RESET} {message}\n"));
    }

    /// Like [`Self::status`], for what is less than an error.
    pub(crate) fn warning(&self, message: &str) {
        self.stderr(&wrapped("warning", "\x1b[1;33m", message));
    }

    /// Text that has its own line ends and colours. Colours are dropped where stderr is no terminal.
    pub(crate) fn raw(&self, text: &str) {
        self.stderr(text);
    }

    pub(crate) fn log(&self, line: &LogLine) {
        self.stderr(&format!("{}\n", coloured_log_line(line)));
    }

    /// A line of data.
    pub(crate) fn data(&self, line: &str) {
        stdout(&format!("{line}\n"));
    }

    pub(crate) fn log_data(&self, line: &LogLine) {
        stdout(&format!("{}\n", coloured_log_line(line)));
    }

    /// A document of data, on one line.
    pub(crate) fn json(&self, document: &impl Serialize) {
        // What is printed here are plain structs and JSON values; they cannot fail to serialise.
        let text = serde_json::to_string(document).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
        stdout(&format!("{text}\n"));
    }

    /// The end of a command that failed.
    pub(crate) fn error(&self, error: &Error) {
        let mut text = wrapped("error", RED, &error.to_string());
        for line in error.details() {
            text.push_str(&format!("  {line}\n"));
        }
        if let Some(hint) = error.hint() {
            text.push_str(&wrapped("hint", CYAN, &hint));
        }
        self.stderr(&text);
        if self.is_json() {
            self.json(&error.to_json());
        }
    }

    /// Whether somebody sees a question, and can answer it.
    pub(crate) fn can_ask(&self) -> bool {
        self.terminal && io::stdin().is_terminal()
    }

    /// Asks on stderr, reads a line from stdin. `None` where nobody can answer.
    pub(crate) fn ask(&self, question: &str) -> io::Result<Option<String>> {
        if !self.can_ask() {
            return Ok(None);
        }
        // A bar would be drawn again behind the question.
        let _ = self.bars.clear();
        self.bars.set_draw_target(ProgressDrawTarget::hidden());
        self.stderr(question);
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer);
        self.bars.set_draw_target(ProgressDrawTarget::stderr());
        read?;
        Ok(Some(answer.trim().to_owned()))
    }

    /// Reads a secret: typed without echo on a terminal, otherwise the first line of stdin.
    pub(crate) fn secret(&self, question: &str) -> io::Result<String> {
        if io::stdin().is_terminal() && self.terminal {
            self.stderr(question);
            return console::Term::stderr().read_secure_line();
        }
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        Ok(line)
    }

    pub(crate) fn upload(&self, total: u64) -> Bar {
        let template = "{prefix:>12.bold.green} [{bar:28}] {bytes}/{total_bytes} ({bytes_per_sec})";
        self.bar("Uploading", template, total)
    }

    pub(crate) fn compile(&self, total: u64) -> Bar {
        self.bar("Compiling", "{prefix:>12.bold.green} [{bar:28}] {pos}/{len} {wide_msg}", total)
    }

    fn bar(&self, verb: &'static str, template: &str, total: u64) -> Bar {
        let bar = self.bars.add(ProgressBar::new(total));
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(verb);
        Bar { bar }
    }

    /// Bars only move on a terminal; elsewhere the same is said in lines.
    pub(crate) fn has_bars(&self) -> bool {
        self.terminal
    }

    fn stderr(&self, text: &str) {
        // Nobody is left to be told that nobody reads stderr.
        self.bars.suspend(|| {
            let mut stderr = anstream::stderr().lock();
            let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
        });
    }
}

/// A progress bar that goes away when it is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    pub(crate) fn advance(&self, by: u64) {
        self.bar.inc(by);
    }

    pub(crate) fn set(&self, done: u64, total: u64, message: &str) {
        self.bar.set_message(message.to_owned());
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn stdout(text: &str) {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // `cargo shuttle logs | head`: the reader has what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Ok(()) | Err(_) => {}
    }
}

/// One line of a log: time, level, source, message.
pub(crate) fn log_line(line: &LogLine) -> String {
    let target = if line.target.is_empty() { String::new() } else { format!("{}: ", line.target) };
    format!("{} {:5} {:8} {target}{}", time(line.time_ms), level(line.level), source(line.source), line.message)
}

fn coloured_log_line(line: &LogLine) -> String {
    let colour = match line.level {
        LogLevel::Error => RED,
        LogLevel::Warn => "\x1b[33m",
        LogLevel::Info => "",
        LogLevel::Debug | LogLevel::Trace => "\x1b[2m",
    };
    format!("{colour}{}{RESET}", log_line(line))
}

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| ms.to_string(), |time| format!("{time:.3}"))
}

fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "ERROR",
        LogLevel::Warn => "WARN",
        LogLevel::Info => "INFO",
        LogLevel::Debug => "DEBUG",
        LogLevel::Trace => "TRACE",
    }
}

fn source(source: LogSource) -> &'static str {
    match source {
        LogSource::Stdout => "stdout",
        LogSource::Stderr => "stderr",
        LogSource::App => "app",
        LogSource::Platform => "platform",
    }
}

/// `label: text`, wrapped. Lines that begin with a space are code and stay as they are.
fn wrapped(label: &str, colour: &str, text: &str) -> String {
    let mut out = format!("{colour}{label}{RESET}: ");
    let mut column = label.len() + 2;
    for (number, line) in text.lines().enumerate() {
        if number > 0 {
            out.push_str("\n  ");
            column = 2;
        }
        if line.starts_with(' ') {
            out.push_str(line);
            continue;
        }
        for (index, word) in line.split(' ').enumerate() {
            let length = word.chars().count();
            if index > 0 && column + 1 + length > WIDTH {
                out.push_str("\n  ");
                column = 2;
            } else if index > 0 {
                out.push(' ');
                column += 1;
            }
            out.push_str(word);
            column += length;
        }
    }
    out.push('\n');
    out
}

/// `1.2 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_wrapped_and_code_is_not() {
        let text = format!("{}\n  shuttle-service = {{ path = \"{}\" }}", "word ".repeat(30).trim(), "x".repeat(90));
        let out = wrapped("error", "", &text);
        let code = out.lines().last().unwrap();
        assert!(code.starts_with("    shuttle-service = {") && code.len() > WIDTH);
        assert!(out.lines().filter(|line| line.contains("word")).all(|line| line.len() <= WIDTH + RESET.len()));
    }

    #[test]
    fn a_log_line_has_time_level_source_and_message() {
        let line = LogLine {
            time_ms: 1_767_225_600_123,
            level: LogLevel::Info,
            source: LogSource::Stdout,
            deployment: "d".into(),
            target: String::new(),
            message: "hello".into(),
        };
        assert_eq!(log_line(&line), "2026-01-01T00:00:00.123Z INFO  stdout   hello");
    }
}
