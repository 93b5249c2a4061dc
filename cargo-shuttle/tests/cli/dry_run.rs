//! `deploy --dry-run`: what would be sent, without a server.

use crate::support::{Project, Server, Shuttle};

fn project() -> Project {
    let project = Project::new();
    project
        .write("app/.env", "s3cret")
        .write("app/Secrets.toml", "A = \"s3cret\"\n")
        .write("app/target/debug/app", "")
        .write("app/data.txt", &"x".repeat(2048));
    project
}

#[test]
fn files_are_listed_with_their_sizes_and_nothing_is_written() {
    let project = project();
    let run = Shuttle::bare(&project, &["deploy", "--dry-run", "--name", "another"]).run().ended_with(0);
    let lines: Vec<_> = run.stdout.lines().collect();
    assert!(lines.contains(&"   2.00 KiB  app/data.txt"), "{}", run.stdout);
    assert!(lines.iter().any(|line| line.ends_with(" B  sdk/src/lib.rs")), "{}", run.stdout);
    assert!(!run.stdout.contains("Secrets") && !run.stdout.contains(".env") && !run.stderr.contains("s3cret"), "{}", run.stdout);
    run.says(&[
        "Secrets 1 from Secrets.toml",
        "Left out .env, which holds secrets",
        "Left out Secrets.toml, which holds secrets",
        "Left out target, which is built",
        "Cargo.lock would be made",
        "Would send 6 files,",
        "As project another; nothing was sent",
    ]);
    for file in ["Cargo.lock", "Shuttle.toml"] {
        assert!(!project.app().join(file).exists(), "{file}");
    }
}

#[test]
fn json_says_what_is_uploaded_then() {
    let (project, server) = (project(), Server::start());
    Shuttle::new(&project, &server, &["deploy", "--no-follow"]).run().ended_with(0);
    let run = Shuttle::bare(&project, &["deploy", "--dry-run", "--output", "json"]).run().ended_with(0);
    let json = run.json();
    let listed: Vec<_> = json["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    let archive = server.archive();
    assert_eq!(listed, archive.names()[1..]);
    assert_eq!(json["archive_bytes"], archive.bytes.len());
    assert_eq!(json["project"], "my-app");
    let left_out: Vec<_> = json["left_out"].as_array().unwrap().iter().map(|one| (&one["path"], &one["reason"])).collect();
    let expected =
        [(".env", "secret"), ("Secrets.toml", "secret"), ("target", "built")].map(|(path, why)| (path.into(), why.into()));
    assert_eq!(left_out, expected.each_ref().map(|(path, why): &(serde_json::Value, serde_json::Value)| (path, why)));
}

#[test]
fn a_refusal_is_foretold() {
    let project = project();
    project.write("app/.gitignore", "/target\n").commit("app");
    project.write("app/data.txt", "changed");
    let run = Shuttle::bare(&project, &["deploy", "--dry-run"]).run().ended_with(0);
    run.says(&["warning: this would be refused", "data.txt", "--allow-dirty"]);
    project.write("app/src/lib.rs", "");
    Shuttle::bare(&project, &["deploy", "--dry-run"]).run().ended_with(3).says(&["no function under"]);
}

#[test]
fn what_differs_on_the_server_is_foretold() {
    let project = project();
    project.write(
        "app/.cargo/config.toml",
        "[build]\nrustc-wrapper = \"sccache\"\ntarget = \"x86_64-unknown-linux-musl\"\nrustflags = [\"-Clink-arg=-fuse-ld=mold\"]\n\
         [target.x86_64-unknown-linux-gnu]\nlinker = \"clang\"\n",
    );
    project.write("app/build.rs", "fn main() { std::process::Command::new(\"git\").arg(\"describe\"); }");
    let run = Shuttle::bare(&project, &["deploy", "--dry-run"]).run().ended_with(0);
    run.says(&[
        "build.rustc-wrapper = \"sccache\"",
        "target.x86_64-unknown-linux-gnu.linker = \"clang\"",
        "the linker `mold`",
        "build.target = \"x86_64-unknown-linux-musl\"",
        "build.rs runs git",
        "SHUTTLE_GIT_COMMIT",
    ]);
    let json = Shuttle::bare(&project, &["deploy", "--dry-run", "--output", "json"]).run().ended_with(0).json();
    assert_eq!(json["warnings"].as_array().unwrap().len(), 5, "{json}");
}

#[test]
fn features_that_the_program_requires_have_to_be_chosen() {
    let project = project();
    let manifest = project.read("app/Cargo.toml")
        + "[features]\ndefault = [\"all\"]\nall = [\"web\"]\nweb = []\ntls = []\n\
           [[bin]]\nname = \"app\"\npath = \"src/main.rs\"\nrequired-features = [\"web\", \"tls\"]\n";
    project.write("app/Cargo.toml", &manifest).write("app/src/main.rs", &project.read("app/src/lib.rs"));
    std::fs::remove_file(project.app().join("src/lib.rs")).unwrap();
    let run = Shuttle::bare(&project, &["deploy", "--dry-run"]).run().ended_with(3);
    run.says(&["requires the feature `tls`", "features = [\"tls\"]"]);
    project.write("app/Shuttle.toml", "[build]\nfeatures = [\"tls\"]\n");
    Shuttle::bare(&project, &["deploy", "--dry-run"]).run().ended_with(0);
}
