//! The table in `docs/FRAMEWORKS.md`: written from the cases, from what the manifests of their artifacts say, and from the
//! versions that they were built with.

use std::{fs, path::Path};

use shuttle_abi::{Listen, ServiceManifest};

use crate::{
    cases::{CASES, Case},
    support::build::{artifact, fixtures},
};

const START: &str = "<!-- frameworks -->\n";
const END: &str = "<!-- /frameworks -->\n";

#[test]
fn the_table_in_the_docs_is_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/FRAMEWORKS.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(START).expect("the table's start is marked");
    let (_, after) = rest.split_once(END).expect("the table's end is marked");
    let right = format!("{before}{START}{}{END}{after}", table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, right).unwrap();
    } else {
        assert_eq!(text, right, "docs/FRAMEWORKS.md: run the test again with UPDATE_DOCS=1");
    }
}

fn table() -> String {
    let lock = fs::read_to_string(fixtures().join("Cargo.lock")).unwrap();
    let mut table = String::from(
        "\n| Returned, in a `Result` | From | Tested with | Feature of shuttle-service | The `Result`'s name | Serves on | Stops gracefully |\n|---|---|---|---|---|---|---|\n",
    );
    for case in CASES {
        table.push_str(&row(case, &artifact(case.package).manifest.service, &lock));
    }
    let background = &artifact("background").manifest.service;
    table.push_str(&format!("| `Background` | shuttle-service | | | | {} | yes |\n\n", listens(background)));
    table
}

/// Each case's test has checked how it stops.
fn row(case: &Case, service: &ServiceManifest, lock: &str) -> String {
    let code = |name: Option<&str>| name.map(|name| format!("`{name}`")).unwrap_or_default();
    let (library, version) = match case.library {
        Some((name, versions)) => (format!("{name} {versions}"), locked(lock, name, versions)),
        None => ("shuttle-service".to_owned(), String::new()),
    };
    let (feature, alias) = (code(case.feature), code(case.alias));
    format!("| `{}` | {library} | {version} | {feature} | {alias} | {} | yes |\n", case.returns, listens(service))
}

fn listens(service: &ServiceManifest) -> &'static str {
    match service.listen {
        Listen::Unix => "a Unix socket",
        Listen::Tcp => "a TCP socket on loopback",
        Listen::Own => "a TCP port of loopback that it binds itself",
        Listen::None => "nothing",
    }
}

/// The version of the library in the lockfile.
fn locked(lock: &str, name: &str, versions: &str) -> String {
    let name = format!("name = \"{name}\"\nversion = \"{versions}.");
    let (_, rest) = lock.split_once(&name).unwrap_or_else(|| panic!("{name} is not locked"));
    let (rest, _) = rest.split_once('"').unwrap();
    format!("{versions}.{rest}")
}
