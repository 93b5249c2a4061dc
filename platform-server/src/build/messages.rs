//! What cargo says while it compiles, turned into events.
//!
//! stdout carries JSON messages, one a line; stderr carries what a terminal would show: progress, and cargo's own
//! errors. Both come from a process that runs a user's code, so nothing here trusts more than its shape.

use std::{collections::BTreeSet, path::PathBuf};

use platform_wire::Event;
use serde::Deserialize;

/// Most bytes of cargo's own stderr, and of the compiler's errors, that are kept to tell why it failed.
const MAX_ERROR: usize = 64 * 1024;

/// Most bytes of what is kept of units; a whole app takes a hundredth.
const MAX_UNITS: usize = 16 * 1024 * 1024;

/// Most packages of a build that are counted.
const MAX_PACKAGES: usize = 10_000;

/// Longest id of a package that is counted, in bytes.
const MAX_PACKAGE_ID: usize = 1024;

/// Longest name of a unit that is told, in characters.
const MAX_UNIT: usize = 100;

/// What every message has. It is read first: a message whose kind decides its form would be held as a tree of values, which
/// takes many times the memory of the text.
#[derive(Deserialize)]
struct Envelope<'a> {
    reason: &'a str,
}

#[derive(Deserialize)]
struct CompilerMessage {
    message: Diagnostic,
}

#[derive(Deserialize)]
struct Artifact {
    target: Target,
    filenames: Vec<PathBuf>,
    executable: Option<PathBuf>,
    #[serde(default)]
    package_id: String,
    #[serde(default)]
    fresh: bool,
}

#[derive(Deserialize)]
struct BuildScript {
    #[serde(default)]
    package_id: String,
    out_dir: PathBuf,
}

enum Message {
    Diagnostic(Diagnostic),
    Artifact(Artifact),
    BuildScript(BuildScript),
}

/// `None`: it is of no interest, or no message.
fn parse(line: &str) -> Option<Message> {
    match serde_json::from_str::<Envelope<'_>>(line).ok()?.reason {
        "compiler-message" => {
            serde_json::from_str::<CompilerMessage>(line).ok().map(|message| Message::Diagnostic(message.message))
        }
        "compiler-artifact" => serde_json::from_str(line).ok().map(Message::Artifact),
        "build-script-executed" => serde_json::from_str(line).ok().map(Message::BuildScript),
        _ => None,
    }
}

/// What one package's compilation left in the target folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    /// As cargo writes it: `registry+https://…#name@1.0.0`, `path+file:///…#0.1.0`.
    pub(crate) package_id: String,
    /// Files and folders, as the build saw them.
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Diagnostic {
    rendered: Option<String>,
    level: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    children: Vec<Note>,
}

#[derive(Deserialize)]
struct Note {
    message: String,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

/// Reads the messages of one build.
#[derive(Debug)]
pub(crate) struct Messages {
    crate_name: String,
    /// Whether what is built is a program, and no library.
    binary: bool,
    /// Path of the artifact, as the build saw it.
    pub(crate) artifact: Option<PathBuf>,
    /// How many messages of level `error` the compiler gave.
    pub(crate) errors: usize,
    /// cargo's own errors: without colours.
    pub(crate) cargo_error: String,
    /// The compiler's errors with their notes, one below another.
    pub(crate) compiler_error: String,
    done: u32,
    in_error: bool,
    /// Packages of the project's own, and others: those of which something was compiled now, and all.
    own: Packages,
    others: Packages,
    /// All of them, as far as there is room.
    pub(crate) units: Vec<Unit>,
    room: usize,
}

impl Messages {
    /// `crate_name` is the library, or the `binary`, that is built.
    pub(crate) fn new(crate_name: &str, binary: bool) -> Self {
        Self {
            crate_name: crate_name.to_owned(),
            binary,
            artifact: None,
            errors: 0,
            cargo_error: String::new(),
            compiler_error: String::new(),
            done: 0,
            in_error: false,
            own: Packages::default(),
            others: Packages::default(),
            units: Vec::new(),
            room: MAX_UNITS,
        }
    }

    /// One line of stdout.
    pub(crate) fn stdout(&mut self, line: &str) -> Option<Event> {
        match parse(line)? {
            Message::Diagnostic(message) => {
                let is_error = message.level.starts_with("error");
                self.errors += usize::from(is_error);
                for text in std::iter::once(&message.message).chain(message.children.iter().map(|note| &note.message)) {
                    if is_error && self.compiler_error.len() < MAX_ERROR {
                        self.compiler_error.extend(text.chars().take(MAX_ERROR).chain(['\n']));
                    }
                }
                message.rendered.map(|text| Event::Output { text })
            }
            Message::Artifact(Artifact { target, filenames, executable, package_id, fresh }) => {
                let packages = if package_id.starts_with("path+") { &mut self.own } else { &mut self.others };
                packages.add(&package_id, fresh);
                self.keep(&package_id, &filenames);
                let kind = if self.binary { "bin" } else { "cdylib" };
                if target.name.replace('-', "_") == self.crate_name && target.crate_types.iter().any(|built| built == kind) {
                    let is_library = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "so");
                    self.artifact = if self.binary { executable } else { filenames.into_iter().find(is_library) };
                }
                None
            }
            Message::BuildScript(BuildScript { package_id, out_dir }) => {
                self.keep(&package_id, &[out_dir]);
                None
            }
        }
    }

    fn keep(&mut self, package_id: &str, paths: &[PathBuf]) {
        let bytes = package_id.len() + paths.iter().map(|path| path.as_os_str().len()).sum::<usize>();
        if let Some(room) = self.room.checked_sub(bytes) {
            self.room = room;
            self.units.push(Unit { package_id: package_id.to_owned(), paths: paths.to_vec() });
        }
    }

    /// How much of what there is was compiled, in one line. `apart` was compiled before this run, and for the same build.
    pub(crate) fn summary(&self, apart: &BTreeSet<String>) -> String {
        let (own, others) = (&self.own, &self.others);
        let compiled = others.all.iter().filter(|id| others.compiled.contains(*id) || apart.contains(*id)).count();
        format!(
            "    Compiled {} of {} of the project, {compiled} of {}\n",
            own.compiled.len(),
            counted(own.all.len(), "crate", "crates"),
            counted(others.all.len(), "dependency", "dependencies")
        )
    }

    /// The packages from elsewhere of which something was compiled.
    pub(crate) fn into_compiled(self) -> BTreeSet<String> {
        self.others.compiled
    }

    /// One piece of stderr: what stood between two line feeds or carriage returns.
    pub(crate) fn stderr(&mut self, piece: &str) -> Option<Event> {
        let plain = strip_ansi(piece);
        let text = plain.trim();
        if text.is_empty() {
            return None;
        }
        if let Some((done, total, unit)) = progress(text) {
            let news = done != self.done || self.done == 0;
            self.done = done;
            return news.then_some(Event::Progress { done, total: Some(total), unit });
        }
        let starts = |words: &[&str]| words.iter().any(|word| text.starts_with(word));
        if starts(&["error", "warning: "]) {
            self.in_error = text.starts_with("error");
        } else if starts(&[
            "Compiling",
            "Finished",
            "Fresh",
            "Downloading",
            "Downloaded",
            "Updating",
            "Blocking",
            "Building",
            "Locking",
            "Adding",
        ]) {
            self.in_error = false;
            return None;
        }
        if self.in_error && self.cargo_error.len() < MAX_ERROR {
            self.cargo_error.push_str(plain.trim_end());
            self.cargo_error.push('\n');
        }
        Some(Event::Output { text: format!("{}\n", piece.trim_end()) })
    }
}

/// The packages of a build, by cargo's ids.
#[derive(Debug, Default)]
struct Packages {
    compiled: BTreeSet<String>,
    all: BTreeSet<String>,
}

impl Packages {
    /// Of a package with several units, one that is compiled counts.
    fn add(&mut self, id: &str, fresh: bool) {
        let knows = self.all.contains(id);
        // The ids come from a process that runs a user's code.
        if !knows && (self.all.len() >= MAX_PACKAGES || id.len() > MAX_PACKAGE_ID) {
            return;
        }
        if !knows {
            self.all.insert(id.to_owned());
        }
        if !fresh {
            self.compiled.insert(id.to_owned());
        }
    }
}

fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// `Building [====>  ] 12/148: serde, tokio`.
fn progress(text: &str) -> Option<(u32, u32, String)> {
    let rest = text.strip_prefix("Building [")?.split_once("] ")?.1;
    let (numbers, units) = rest.split_once(':').unwrap_or((rest, ""));
    let (done, total) = numbers.trim().split_once('/')?;
    let unit = units.split(',').next().unwrap_or_default().trim();
    Some((done.parse().ok()?, total.parse().ok()?, unit.chars().take(MAX_UNIT).collect()))
}

/// Without escape sequences, which cargo uses for colours and to clear a line.
fn strip_ansi(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            plain.push(c);
        } else if chars.next() == Some('[') {
            // A control sequence ends with a character from `@` to `~`.
            let _ = chars.find(|c| ('@'..='~').contains(c));
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_from_cargos_own_line_and_told_once() {
        let mut messages = Messages::new("app", false);
        let line = "\u{1b}[1m\u{1b}[96m    Building\u{1b}[0m [==>     ] 12/148: serde, tokio(build)...";
        assert_eq!(messages.stderr(line), Some(Event::Progress { done: 12, total: Some(148), unit: "serde".into() }));
        assert_eq!(messages.stderr(line), None);
        assert_eq!(messages.stderr("   Compiling serde v1.0.0"), None);
    }

    #[test]
    fn the_compilers_own_output_is_passed_on_with_its_colours() {
        let mut messages = Messages::new("my_app", false);
        let text = "\u{1b}[31merror\u{1b}[0m: no";
        let line = serde_json::json!({"reason": "compiler-message", "message": {"rendered": text, "level": "error"}});
        assert_eq!(messages.stdout(&line.to_string()), Some(Event::Output { text: text.into() }));
        assert_eq!(messages.errors, 1);
    }

    #[test]
    fn the_artifact_is_the_cdylib_of_the_crate_and_no_other() {
        let mut messages = Messages::new("my_app", false);
        for (name, kind, file) in [
            ("other", "cdylib", "/t/libother.so"),
            ("my-app", "cdylib", "/t/libmy_app.so"),
            ("my_app", "rlib", "/t/libmy_app.rlib"),
        ] {
            let line = serde_json::json!({"reason": "compiler-artifact", "target": {"name": name, "crate_types": [kind]}, "filenames": [file]});
            assert_eq!(messages.stdout(&line.to_string()), None);
        }
        assert_eq!(messages.artifact.as_deref(), Some(std::path::Path::new("/t/libmy_app.so")));
        assert_eq!(messages.stdout("a build script's chatter"), None);

        let mut messages = Messages::new("my_app", true);
        for (kind, executable) in [("lib", None), ("bin", Some("/t/my-app"))] {
            let target = serde_json::json!({"name": "my-app", "crate_types": [kind]});
            let line = serde_json::json!({"reason": "compiler-artifact", "target": target, "filenames": ["/t/x"], "executable": executable});
            messages.stdout(&line.to_string());
        }
        assert_eq!(messages.artifact.as_deref(), Some(std::path::Path::new("/t/my-app")));
    }

    #[test]
    fn a_package_is_counted_once_whichever_run_compiled_it() {
        let unit = |package: &str, fresh: bool| {
            let target = serde_json::json!({"name": "x", "crate_types": ["lib"]});
            let id = if package == "app" { "path+file:///t#app@1.0.0".to_owned() } else { format!("registry+u#{package}@1.0.0") };
            serde_json::json!({"reason": "compiler-artifact", "target": target, "filenames": ["/t/x"], "executable": null,
                "package_id": id, "fresh": fresh})
            .to_string()
        };
        let told = |units: &[(&str, bool)]| {
            let mut messages = Messages::new("other", false);
            for (package, fresh) in units {
                messages.stdout(&unit(package, *fresh));
            }
            messages
        };
        // A build script and the library of a package, and one that an earlier build left.
        let apart = told(&[("a", false), ("a", false), ("b", true)]).into_compiled();
        let messages = told(&[("a", true), ("a", true), ("b", true), ("c", false), ("app", false)]);
        assert_eq!(messages.summary(&apart), "    Compiled 1 of 1 crate of the project, 2 of 3 dependencies\n");
        assert_eq!(messages.summary(&BTreeSet::new()), "    Compiled 1 of 1 crate of the project, 1 of 3 dependencies\n");
    }

    #[test]
    fn cargos_own_error_is_kept_with_its_causes() {
        let mut messages = Messages::new("app", false);
        for line in
            ["error: failed to parse lock file", "", "Caused by:", "  it is wrong", "   Compiling a v1.0.0", "note: later"]
        {
            messages.stderr(line);
        }
        assert_eq!(messages.cargo_error, "error: failed to parse lock file\nCaused by:\n  it is wrong\n");
    }
}
