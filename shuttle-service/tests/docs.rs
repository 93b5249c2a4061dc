//! Every public item of the SDK has an example in its docs. That the examples compile is what doctests are for.
//!
//! The sources are read as text, so that what a macro declares is seen as well.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

#[test]
fn every_public_item_has_an_example() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let root = fs::read_to_string(src.join("lib.rs")).unwrap();
    let exported = exported(&root);
    let (mut seen, mut without) = (BTreeSet::new(), Vec::new());
    for file in sources(&src) {
        let text = fs::read_to_string(&file).unwrap();
        let module = format!("pub mod {};", file.file_stem().unwrap().display());
        let all = root.lines().any(|line| line == module);
        for item in items(&text) {
            // A macro's `$name` is a name that the macro is called with, and its docs stand there.
            let public = match item.owner {
                Some(owner) => owner == "$name" || exported.contains(owner),
                None => exported.contains(item.name),
            };
            if (public || all) && !item.example {
                without.push(format!("{}:{}: {}", file.display(), item.line, item.name));
            }
            if item.owner.is_none() {
                seen.insert(item.name.to_owned());
            }
        }
    }
    assert!(without.is_empty(), "no example in the docs of\n{}", without.join("\n"));
    let unseen: Vec<_> = exported.iter().filter(|name| !seen.contains(**name)).collect();
    assert!(unseen.is_empty(), "declared in a way that this test does not know: {unseen:?}");
}

#[test]
fn what_has_no_example_is_found() {
    let text = "
/// ```
/// with();
/// ```
#[must_use]
pub fn with() {}

/// ```text
/// not code
/// ```
pub fn text() {}

impl<T> Thing<T> {
    /// Nothing is shown.
    pub const fn method() {}
    fn private() {}
}
pub struct Bare;
";
    let items: Vec<_> = items(text).map(|item| (item.owner, item.name, item.example)).collect();
    let expected = [(None, "with", true), (None, "text", false), (Some("Thing"), "method", false), (None, "Bare", false)];
    assert_eq!(items, expected);
}

/// The names in the root's `pub use`, but for those that only the macro's expansion uses.
fn exported(root: &str) -> BTreeSet<&str> {
    let public = root.split("#[doc(hidden)]").next().unwrap();
    let paths = public.split("\npub use ").skip(1).map(|rest| rest.split(';').next().unwrap());
    let names = paths.flat_map(|path| path.rsplit("::").next().unwrap().split(|c| !in_name(c)));
    names.filter(|name| !name.is_empty()).collect()
}

/// All but what is inside the entry, whose `main` is another than the macro.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| !path.ends_with("src/entry"));
    paths.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

struct Item<'a> {
    line: usize,
    /// The type whose method it is.
    owner: Option<&'a str>,
    name: &'a str,
    example: bool,
}

fn items(text: &str) -> impl Iterator<Item = Item<'_>> {
    let (mut docs, mut implemented) = (String::new(), "");
    text.lines().enumerate().filter_map(move |(index, line)| {
        let code = line.trim_start();
        if code.starts_with("///") || code.starts_with("#[doc") {
            docs.push_str(code);
            docs.push('\n');
            return None;
        }
        if let Some(header) = code.strip_prefix("impl") {
            let after = header.split_once("> ").filter(|_| header.starts_with('<'));
            implemented = first_name(after.map_or(header, |(_, after)| after).trim_start());
        }
        let item = declared(code, &docs).map(|name| Item {
            line: index + 1,
            owner: (code.contains("fn ") && code != line).then_some(implemented),
            name,
            example: has_example(&docs),
        });
        // An attribute of several lines can stand between docs and item.
        if item.is_some() || code.is_empty() || code.ends_with(['{', '}', ';']) {
            docs.clear();
        }
        item
    })
}

/// What this line declares for others.
fn declared<'a>(code: &'a str, docs: &str) -> Option<&'a str> {
    if let Some((name, _)) = code.split_once(", ") {
        // A macro is called with it.
        if !docs.is_empty() && name.chars().all(in_name) {
            return Some(name);
        }
    }
    if let Some(path) = code.strip_prefix("pub use shuttle_") {
        return path.rsplit("::").next().map(first_name);
    }
    let rest = code.strip_prefix("pub ")?.trim_start_matches("const ").trim_start_matches("async ");
    let kinds = ["fn ", "struct ", "enum ", "trait ", "type "];
    kinds.iter().find_map(|kind| rest.strip_prefix(kind)).map(first_name)
}

/// Whether the first block of code is one that is compiled.
fn has_example(docs: &str) -> bool {
    docs.contains("include_str!") || docs.split_once("```").is_some_and(|(_, block)| block.starts_with('\n'))
}

fn first_name(text: &str) -> &str {
    text.split(|c| !in_name(c)).next().unwrap_or(text)
}

fn in_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}
