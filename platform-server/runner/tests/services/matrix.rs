//! The table in `docs/FRAMEWORKS.md`: written from the cases, from what the manifests of their artifacts say, and from the
//! versions that they were built with.

use shuttle_abi::{Listen, ServiceManifest};

use crate::{
    cases::{CASES, Case},
    support::{build::artifact, docs},
};

#[test]
fn the_table_in_the_docs_is_right() {
    docs::check("FRAMEWORKS.md", "frameworks", &table());
}

fn table() -> String {
    let mut table = String::from(
        "\n| Returned, in a `Result` | From | Tested with | Feature of shuttle-service | The `Result`'s name | Serves on | Stops gracefully |\n|---|---|---|---|---|---|---|\n",
    );
    for case in CASES {
        table.push_str(&row(case, &artifact(case.package).manifest.service));
    }
    let background = &artifact("background").manifest.service;
    table.push_str(&format!("| `Background` | shuttle-service | | | | {} | yes |\n\n", listens(background)));
    table
}

/// Each case's test has checked how it stops.
fn row(case: &Case, service: &ServiceManifest) -> String {
    let code = |name: Option<&str>| name.map(|name| format!("`{name}`")).unwrap_or_default();
    let (library, version) = docs::library(case.library);
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
