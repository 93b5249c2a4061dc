//! Rules for single files.

use super::{
    Complaint,
    lexer::{self, Kind},
};

/// A file near this is usually two files.
const MAX_LINES: usize = 500;

/// Where `unsafe` has to be: the ABI's two sides, the macro that writes one of them, the loader, and the sandbox.
const UNSAFE_ALLOWED: [&str; 4] =
    ["shuttle-service/", "shuttle-codegen/", "platform-server/runner/", "platform-server/src/sandbox"];

/// Users' homes; in two halves, as this file is checked as well.
const HOMES: [&str; 2] = [concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// Whether any rule looks into this file.
pub(super) fn is_read(path: &str) -> bool {
    path.ends_with(".rs") || path.ends_with(".toml") || path.ends_with(".ci/run")
}

pub(super) fn check(path: &str, text: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    if path.ends_with(".rs") {
        complaints.extend(module_docs(path, text));
        complaints.extend(length(path, text));
        complaints.extend(no_unsafe(path, text));
    }
    complaints.extend(no_homes(path, text));
    complaints
}

/// One mistake a file, kept small and free of anything else: the macro's fixtures.
fn is_fixture(path: &str) -> bool {
    path.contains("tests/ui/")
}

/// Whoever opens a file reads first what it owns.
fn module_docs(path: &str, text: &str) -> Option<Complaint> {
    if is_fixture(path) || path.starts_with("examples/") || text.starts_with("//!") {
        return None;
    }
    Some(Complaint::new(path, 1, "begins with no module docs: `//!` says what the module owns"))
}

fn length(path: &str, text: &str) -> Option<Complaint> {
    let lines = text.lines().count();
    (lines > MAX_LINES)
        .then(|| Complaint::new(path, 0, format!("has {lines} lines, more than {MAX_LINES}: it is usually two files")))
}

/// The lint `unsafe_code` can be allowed by an attribute anywhere; this cannot.
fn no_unsafe(path: &str, text: &str) -> Vec<Complaint> {
    if UNSAFE_ALLOWED.iter().any(|start| path.starts_with(start)) {
        return Vec::new();
    }
    let code = lexer::only(text, &[Kind::Code]);
    let has_word = |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
    lines(&code, has_word)
        .map(|line| Complaint::new(path, line, format!("`unsafe` is only for {}", UNSAFE_ALLOWED.join(", "))))
        .collect()
}

/// A path that exists on one machine only. Comments may show one.
fn no_homes(path: &str, text: &str) -> Vec<Complaint> {
    let code = if path.ends_with(".rs") {
        lexer::only(text, &[Kind::Code, Kind::Text])
    } else {
        text.lines().map(|line| line.split('#').next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
    };
    lines(&code, |line| HOMES.iter().any(|home| line.contains(home)))
        .map(|line| Complaint::new(path, line, "names a folder in a user's home"))
        .collect()
}

/// Numbers of the lines that match.
fn lines(text: &str, matches: impl Fn(&str) -> bool) -> impl Iterator<Item = usize> {
    text.lines().enumerate().filter(move |(_, line)| matches(line)).map(|(index, _)| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    /// Line numbers of the complaints about `text` as the file `path`.
    fn found(path: &str, text: &str) -> Vec<usize> {
        check(path, text).iter().map(|complaint| complaint.line).collect()
    }

    #[test]
    fn a_file_begins_with_its_docs() {
        assert_eq!(found("a/src/lib.rs", "//! Docs.\nfn a() {}\n"), NONE);
        assert_eq!(found("a/src/lib.rs", "fn a() {}\n"), [1]);
        assert_eq!(found("a/src/lib.rs", "// no docs\n"), [1]);
        assert_eq!(found("shuttle-codegen/tests/ui/generic.rs", "fn a() {}\n"), NONE);
        assert_eq!(found("examples/a/src/lib.rs", "fn a() {}\n"), NONE);
    }

    #[test]
    fn long_files_are_split() {
        let lines = |count: usize| format!("//! Docs.\n{}", "\n".repeat(count - 1));
        assert_eq!(found("a.rs", &lines(MAX_LINES)), NONE);
        assert_eq!(found("a.rs", &lines(MAX_LINES + 1)), [0]);
    }

    #[test]
    fn unsafe_stays_where_it_belongs() {
        let text = "//! An unsafe thing.\nfn a() { unsafe { b() } }\n";
        assert_eq!(found("platform-server/src/app.rs", text), [2]);
        assert_eq!(found("platform-server/runner/src/main.rs", text), NONE);
        assert_eq!(found("shuttle-service/abi/src/lib.rs", text), NONE);
        assert_eq!(found("a.rs", "//! D.\n#![deny(unsafe_code)]\nconst A: &str = \"unsafe\";\n"), NONE);
    }

    #[test]
    fn homes_are_not_named() {
        for home in HOMES {
            assert_eq!(found("a.rs", &format!("//! D.\nconst A: &str = \"{home}me\";\n")), [2]);
            assert_eq!(found("a.rs", &format!("//! D.\n// for example {home}me\n")), NONE);
            assert_eq!(found("a/Cargo.toml", &format!("a = 1\nb = {{ path = \"{home}me\" }}\n# {home}me\n")), [2]);
        }
    }
}
