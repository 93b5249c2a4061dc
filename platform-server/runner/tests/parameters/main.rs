//! What a parameter of an annotated function can be: an app for each type, in the real runner, with a real Postgres and Redis.

mod cases;
mod matrix;
mod servers;
#[path = "../support/mod.rs"]
mod support;

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use shuttle_abi::{FailedStage, Launch, ResourceData, ResourceManifest, RunnerMessage};
use tempfile::TempDir;

use crate::support::{
    build::{Artifact, artifact},
    server::Runner,
};

const SECRETS: &[(&str, &str)] = &[("API_KEY", "k3y"), ("MAIL_KEY", "k3y"), ("RETRIES", "3"), ("SENDER", "ada")];

/// An app that answers what it has got through its parameters.
fn check(package: &str, path: &str, answer: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut runner = start(&artifact(package), &source(package), &folder, SECRETS);
    runner.expect_ready();
    assert_eq!(runner.get(path), answer);
}

/// What the annotated crate is made from.
fn source(package: &str) -> String {
    format!("{}/tests/fixtures/parameters/{package}", env!("CARGO_MANIFEST_DIR"))
}

/// A runner whose app gets all that its manifest asks for.
fn start(artifact: &Artifact, workdir: &str, folder: &TempDir, secrets: &[(&str, &str)]) -> Runner {
    let give = |resource: &ResourceManifest| (resource.name.clone(), provide(&resource.kind, folder, secrets));
    let resources = artifact.manifest.resources.iter().map(give).collect();
    artifact.start_with(&Launch { resources, workdir: workdir.to_owned(), ..artifact.launch() }, &[])
}

/// What a server provides for this type of resource.
fn provide(kind: &str, folder: &TempDir, secrets: &[(&str, &str)]) -> ResourceData {
    let url = match kind {
        "postgres" => servers::postgres(),
        "redis" => servers::redis(),
        "persist" => folder.path().display().to_string(),
        "secrets" | "metadata" => String::new(),
        other => panic!("nobody provides {other}"),
    };
    let values = match kind {
        "secrets" => secrets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        _ => BTreeMap::new(),
    };
    ResourceData { kind: kind.to_owned(), url, values }
}

/// How an app ends that does not come to serve.
fn failure(package: &str, workdir: &str, secrets: &[(&str, &str)]) -> (FailedStage, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut runner = start(&artifact(package), workdir, &folder, secrets);
    let Some(RunnerMessage::Failed { stage, message }) = runner.message() else { panic!("it serves") };
    (stage, message)
}

/// The resources of the manifest with their options.
fn needs(package: &str) -> Vec<(String, String, String)> {
    let resources = &artifact(package).manifest.resources;
    resources.iter().map(|r| (r.name.clone(), r.kind.clone(), serde_json::to_string(&r.options).unwrap())).collect()
}

fn owned(needs: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    needs.iter().map(|(name, kind, options)| ((*name).to_owned(), (*kind).to_owned(), (*options).to_owned())).collect()
}

#[test]
fn manifests_say_what_is_needed() {
    let pool = owned(&[("pool", "postgres", r#"{"max_connections":3}"#)]);
    assert_eq!(needs("sqlx-0-9"), pool, "the rest of the options is the app's");
    let database = r#"{"extensions":["pgcrypto"],"name":"analytics"}"#;
    assert_eq!(needs("plain-postgres"), owned(&[("database", "postgres", database)]));
    assert_eq!(needs("secrets"), owned(&[("secrets", "secrets", r#"{"required":["API_KEY"]}"#)]));
    // What is made of its options alone needs no more than the secrets that these refer to.
    let parts = [
        ("mailer.0", "secrets", "{}"),
        ("mailer.1", "metadata", "{}"),
        ("mailer.secrets", "secrets", "{}"),
        ("personal.secrets", "secrets", "{}"),
    ];
    assert_eq!(needs("own-type"), owned(&parts));
}

#[test]
fn a_missing_secret_is_named_with_its_file() {
    let (stage, message) = failure("secrets", "/", &[("RETRIES", "3")]);
    assert_eq!(stage, FailedStage::Start);
    assert!(message.starts_with("the secret `API_KEY` is missing: add `API_KEY = \"…\"` to Secrets.toml"), "{message}");

    let (stage, message) = failure("own-type", "/", &[("MAIL_KEY", "k3y")]);
    assert_eq!(stage, FailedStage::Resource);
    assert!(message.starts_with("parameter `mailer`: the secret `SENDER` is missing"), "{message}");
}

#[test]
fn a_secret_of_another_type_is_told_without_its_value() {
    let (stage, message) = failure("secrets", "/", &[("API_KEY", "k3y"), ("RETRIES", "hidden")]);
    let expected = "the secret `RETRIES` is not a valid u8: invalid digit found in string";
    assert_eq!((stage, message.as_str()), (FailedStage::Start, expected));
}

#[test]
fn a_persistent_folder_is_there_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let artifact = artifact("persist");
    for starts in ["I", "II"] {
        let mut runner = start(&artifact, "/", &folder, &[]);
        runner.expect_ready();
        assert_eq!(runner.get("/"), starts);
    }
}

#[test]
fn migrations_that_cannot_be_run_fail_the_deployment() {
    for package in ["sqlx-0-9", "sqlx-0-8", "sea-orm-2"] {
        let parameter = if package == "sea-orm-2" { "connection" } else { "pool" };
        let files = tempfile::tempdir().unwrap();
        let workdir = files.path().to_str().unwrap();
        let (stage, message) = failure(package, workdir, &[]);
        assert_eq!(stage, FailedStage::Resource);
        let missing = format!("parameter `{parameter}`: the option `migrations` names the folder `migrations`, which is not");
        assert!(message.starts_with(&missing), "{message}");

        fs::create_dir(files.path().join("migrations")).unwrap();
        fs::write(files.path().join("migrations/1_broken.sql"), "CREATE TABEL notes ();").unwrap();
        let (_, message) = failure(package, workdir, &[]);
        assert!(message.starts_with(&format!("parameter `{parameter}`: the migrations in `migrations` failed: ")), "{message}");
        assert!(message.contains("migration 1:") && message.contains("syntax error at or near \"TABEL\""), "{message}");
    }
}

#[test]
fn migrations_are_run_once_and_newer_ones_are_left_alone() {
    let artifact = artifact("sqlx-0-9");
    let data = provide("postgres", &tempfile::tempdir().unwrap(), &[]);
    let answer = |workdir: &str| {
        let resources = [("pool".to_owned(), data.clone())].into();
        let mut runner = artifact.start_with(&Launch { resources, workdir: workdir.to_owned(), ..artifact.launch() }, &[]);
        runner.expect_ready();
        runner.get("/")
    };
    let newest = source("sqlx-0-9");
    assert_eq!((answer(&newest), answer(&newest)), ("migrated, at most 3".to_owned(), "migrated, at most 3".to_owned()));

    let older = tempfile::tempdir().unwrap();
    fs::create_dir(older.path().join("migrations")).unwrap();
    fs::copy(Path::new(&newest).join("migrations/1_notes.sql"), older.path().join("migrations/1_notes.sql")).unwrap();
    assert_eq!(answer(older.path().to_str().unwrap()), "migrated, at most 3", "a deployment from before the second one");
}

/// `links = "sqlite3"` is for one package in a lockfile, and an app may have its own.
#[test]
fn no_feature_locks_an_apps_sqlite() {
    let lock = fs::read_to_string(support::build::fixtures().join("Cargo.lock")).unwrap();
    assert!(lock.contains("name = \"sqlx-postgres\"") && !lock.contains("name = \"libsqlite3-sys\""));
}

/// As the docs of shuttle-service say: `cargo test` in the app's folder, without the platform.
#[test]
fn cargo_test_in_an_apps_crate_needs_no_platform() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures");
    let tested = Command::new(env!("CARGO"))
        .args(["test", "--quiet", "--locked", "--package", "cargo-test", "--lib", "--target-dir"])
        .arg(target)
        .env("DATABASE_URL", servers::postgres())
        .current_dir(source("cargo-test"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&tested.stdout);
    assert!(tested.status.success() && said.contains("2 passed"), "{said}{}", String::from_utf8_lossy(&tested.stderr));
}
