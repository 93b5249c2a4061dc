//! What cargo says of whole crates: what is said only at their build, or only by clippy.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");

/// An app in a workspace of its own, as a library and as a program.
fn app(name: &str, targets: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(folder.join("src")).unwrap();
    let manifest = format!(
        r#"
            [package]
            name = "{name}"
            version = "0.1.0"
            edition = "2024"
            license = "MIT"
            description = "Made by a test"
            repository = "none"
            readme = "none"
            keywords = ["none"]
            categories = ["development-tools"]

            [dependencies]
            shuttle-service = {{ path = {PACKAGE:?} }}

            [workspace]
        "#
    );
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    // What is downloaded already: the test has no network.
    fs::copy(Path::new(PACKAGE).join("../Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    for target in targets {
        fs::copy(Path::new(PACKAGE).join(format!("tests/crates/{name}.rs")), folder.join("src").join(target)).unwrap();
    }
    folder
}

fn cargo(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--offline", "--quiet"])
        .current_dir(folder)
        // One for all, for the dependencies they have in common.
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("crates"))
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap()
}

#[test]
fn clippy_finds_nothing_in_a_strict_crate() {
    let folder = app("strict", &["lib.rs", "main.rs"]);
    let run = cargo(&folder, &["clippy", "--lib", "--bins"]);
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && said.is_empty(), "{said}");
}

/// They do not see each other before there is one library of them.
#[test]
fn two_annotated_functions_in_different_modules_are_no_library() {
    let folder = app("two_functions", &["lib.rs"]);
    let run = cargo(&folder, &["rustc", "--lib", "--crate-type", "cdylib"]);
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success(), "it was built");
    assert!(said.contains("symbol `__shuttle_service_entry_two_functions` is already defined"), "{said}");
    assert!(said.contains("async fn second()"), "the second one is shown: {said}");
}
