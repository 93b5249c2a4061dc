//! Tables in the docs that are written from what the tests have seen.

use std::{fs, path::Path};

use super::build::fixtures;

/// Compares the table between `<!-- MARK -->` and `<!-- /MARK -->` of a file in docs/, or writes it where `UPDATE_DOCS` is set.
pub(crate) fn check(file: &str, mark: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
    let text = fs::read_to_string(&path).unwrap();
    let (start, end) = (format!("<!-- {mark} -->\n"), format!("<!-- /{mark} -->\n"));
    let (before, rest) = text.split_once(&start).expect("the table's start is marked");
    let (_, after) = rest.split_once(&end).expect("the table's end is marked");
    let right = format!("{before}{start}{table}{end}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, right).unwrap();
    } else {
        assert_eq!(text, right, "docs/{file}: run the test again with UPDATE_DOCS=1");
    }
}

/// What the fixtures were built with: the library and its version, or the SDK and none.
pub(crate) fn library(library: Option<(&str, &str)>) -> (String, String) {
    match library {
        Some((name, versions)) => (format!("{name} {versions}"), locked(name, versions)),
        None => ("shuttle-service".to_owned(), String::new()),
    }
}

/// The version of a library in the fixtures' lockfile.
fn locked(name: &str, versions: &str) -> String {
    let lock = fs::read_to_string(fixtures().join("Cargo.lock")).unwrap();
    let name = format!("name = \"{name}\"\nversion = \"{versions}.");
    let (_, rest) = lock.split_once(&name).unwrap_or_else(|| panic!("{name} is not locked"));
    let (rest, _) = rest.split_once('"').unwrap();
    format!("{versions}.{rest}")
}
