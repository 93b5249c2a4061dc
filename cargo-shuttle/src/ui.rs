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

/// Columns of wrapped text at most: on a wider terminal a line is to be easy to read as well.
const WIDTH: usize = 80;
/// Columns of wrapped text at least, however narrow the terminal is.
const NARROWEST: usize = 30;
/// Columns of the verb in a line of progress.
const VERB: usize = 12;
/// Last characters of a deployment's id that stand in its place: the first ones are a time, and look alike.
const SHORT_ID: usize = 6;
const GREEN: &str = "\x1b[1;32m";
const RED: &str = "\x1b[1;31m";
const CYAN: &str = "\x1b[1;36m";
const RESET: &str = "\x1b[0m";

#[derive(Debug, Clone)]
pub(crate) struct Ui {
    format: Format,
    terminal: bool,
    /// Columns after which text is wrapped. Without a terminal nobody knows how wide the reader's is, and a program that
    /// reads needs whole lines.
    width: Option<usize>,
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
        let width = terminal.then(|| {
            let columns = console::Term::stderr().size_checked().map_or(WIDTH, |(_, columns)| columns.into());
            columns.clamp(NARROWEST, WIDTH)
        });
        Self { format, terminal, width, bars: MultiProgress::with_draw_target(target) }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// A line of progress, as cargo prints them: what is done, and with what.
    pub(crate) fn status(&self, verb: &str, message: &str) {
        self.stderr(&format!("{GREEN}{verb:>VERB$}{RESET} {}\n", filled(message, VERB + 1, VERB + 1, self.width)));
    }

    /// Like [`Self::status`], for what is less than an error.
    pub(crate) fn warning(&self, message: &str) {
        self.stderr(&labelled("warning", "\x1b[1;33m", message, self.width));
    }

    /// Text that has its own line ends and colours. Colours are dropped where stderr is no terminal.
    pub(crate) fn raw(&self, text: &str) {
        self.stderr(text);
    }

    pub(crate) fn log(&self, line: &LogLine) {
        self.stderr(&format!("{}\n", coloured(line, &log_line(line))));
    }

    /// A line of data.
    pub(crate) fn data(&self, line: &str) {
        stdout(&format!("{line}\n"));
    }

    /// A line of the app's log, with the deployment that wrote it; `remark` says what became of that one.
    pub(crate) fn log_data(&self, line: &LogLine, remark: Option<&str>) {
        let remark = remark.map(|remark| format!(" ({remark})")).unwrap_or_default();
        let deployment = format!("{:SHORT_ID$}{remark} ", short_id(&line.deployment));
        stdout(&format!("{}\n", coloured(line, &log_line_of(line, &deployment))));
    }

    /// A document of data, on one line.
    pub(crate) fn json(&self, document: &impl Serialize) {
        // What is printed here are plain structs and JSON values; they cannot fail to serialise.
        let text = serde_json::to_string(document).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
        stdout(&format!("{text}\n"));
    }

    /// The end of a command that failed.
    pub(crate) fn error(&self, error: &Error) {
        let mut text = labelled("error", RED, &error.to_string(), self.width);
        for line in error.details() {
            text.push_str(&format!("  {line}\n"));
        }
        if let Some(hint) = error.hint() {
            text.push_str(&labelled("hint", CYAN, &hint, self.width));
        }
        if let Some(note) = error.note() {
            text.push_str(&labelled("note", CYAN, &note, self.width));
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
        // The last word is followed by the answer, with a space between.
        let lines: Vec<_> = question.split('\n').map(|line| filled(line, 0, 0, self.width)).collect();
        self.stderr(&lines.join("\n"));
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
        // cargo's steps: a crate with a build script has several.
        self.bar("Compiling", "{prefix:>12.bold.green} [{bar:28}] {pos}/{len} steps: {wide_msg}", total)
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
    log_line_of(line, "")
}

fn log_line_of(line: &LogLine, deployment: &str) -> String {
    let target = if line.target.is_empty() { String::new() } else { format!("{}: ", line.target) };
    format!("{} {deployment}{:5} {:8} {target}{}", time(line.time_ms), level(line.level), source(line.source), line.message)
}

/// The end of a deployment's id: enough to tell those of a project apart, and taken by `logs --deployment`.
pub(crate) fn short_id(id: &str) -> &str {
    id.char_indices().nth_back(SHORT_ID - 1).map_or(id, |(start, _)| &id[start..])
}

fn coloured(line: &LogLine, text: &str) -> String {
    let colour = match line.level {
        LogLevel::Error => RED,
        LogLevel::Warn => "\x1b[33m",
        LogLevel::Info => "",
        LogLevel::Debug | LogLevel::Trace => "\x1b[2m",
    };
    if colour.is_empty() { text.to_owned() } else { format!("{colour}{text}{RESET}") }
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
fn labelled(label: &str, colour: &str, text: &str, width: Option<usize>) -> String {
    let mut out = format!("{colour}{label}{RESET}: ");
    for (number, line) in text.lines().enumerate() {
        if number > 0 {
            out.push_str("\n  ");
        }
        let column = if number > 0 { 2 } else { label.len() + 2 };
        out.push_str(&if line.starts_with(' ') { line.to_owned() } else { filled(line, column, 2, width) });
    }
    out.push('\n');
    out
}

/// Text that begins in this column, broken between words where it would pass the width; the further lines are indented.
/// What stands between backticks is not broken: a command is to be copied as it is.
fn filled(text: &str, mut column: usize, indent: usize, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let mut out = String::new();
    for (index, word) in words(text).into_iter().enumerate() {
        let length = word.chars().count();
        if index > 0 && column + 1 + length > width {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if index > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

/// What stands between spaces, but for those between backticks.
fn words(text: &str) -> Vec<&str> {
    let (mut words, mut start, mut in_code) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            '`' => in_code = !in_code,
            ' ' if !in_code => {
                words.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    // A backtick that nothing closes begins no code.
    if in_code {
        words.extend(text[start..].split(' '));
    } else {
        words.push(&text[start..]);
    }
    words
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
        let out = labelled("error", "", &text, Some(WIDTH));
        let code = out.lines().last().unwrap();
        assert!(code.starts_with("    shuttle-service = {") && code.len() > WIDTH);
        assert!(out.lines().filter(|line| line.contains("word")).all(|line| line.len() <= WIDTH + RESET.len()));
        assert!(labelled("error", "", &text, None).lines().next().unwrap().len() > WIDTH, "nothing is wrapped for a pipe");
    }

    #[test]
    fn a_command_is_never_broken() {
        let command = "`cargo shuttle deploy -p one --name another-name-of-it`";
        let text = format!("choose one of the packages of this workspace with {command}; or all of them");
        let lines = filled(&text, 6, 2, Some(60));
        assert_eq!(
            lines,
            format!("choose one of the packages of this workspace with\n  {command};\n  or all of them"),
            "{lines}"
        );
        assert_eq!(words("a `b c` d`e"), ["a", "`b c`", "d`e"]);
        assert_eq!(words("it`s a word"), ["it`s", "a", "word"]);
    }

    #[test]
    fn the_short_id_is_the_end_of_it() {
        assert_eq!((short_id("0193a7c2b1d45e6f7a8b"), short_id("d1"), short_id("")), ("6f7a8b", "d1", ""));
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
