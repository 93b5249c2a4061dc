//! What is in the archive, and that cargo can work with it.

use std::process::Command;

use crate::support::{Archive, Project, Server, Shuttle, manifest};

/// Deploys and gives what was uploaded.
#[track_caller]
pub(crate) fn upload(project: &Project) -> Archive {
    upload_with(project, &["deploy", "--no-follow", "--allow-dirty"])
}

#[track_caller]
fn upload_with(project: &Project, arguments: &[&str]) -> Archive {
    let server = Server::start();
    Shuttle::new(project, &server, arguments).run().ended_with(0);
    server.archive()
}

/// cargo reads the unpacked project without the network and without changing the lockfile.
#[track_caller]
pub(crate) fn assert_cargo_reads(archive: &Archive) {
    let folder = tempfile::tempdir().unwrap();
    archive.unpack(folder.path());
    let manifest = folder.path().join(archive.index().package_root).join("Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version=1", "--manifest-path"])
        .arg(manifest)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_index_comes_first_and_the_rest_is_sorted() {
    let archive = upload(&Project::new());
    let names = ["shuttle.json", "app/Cargo.lock", "app/Cargo.toml", "app/src/lib.rs", "sdk/Cargo.toml", "sdk/src/lib.rs"];
    assert_eq!(archive.names(), names);
    let index = archive.index();
    assert_eq!((index.package.as_str(), index.crate_name.as_str()), ("my-app", "my_app"));
    assert_eq!((index.workspace_root.as_str(), index.package_root.as_str()), ("app", "app"));
    assert_eq!((index.format, index.sdk_version.as_str()), (1, "0.1.7"));
    assert_cargo_reads(&archive);
}

#[test]
fn the_same_files_give_the_same_bytes() {
    use std::os::unix::fs::PermissionsExt as _;

    let project = Project::new();
    project.write("app/run.sh", "#!/bin/sh\n");
    let script = project.root().join("app/run.sh");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    let first = upload(&project);
    // Written again: another time, another inode, another mode.
    for file in ["app/src/lib.rs", "app/Cargo.toml"] {
        let text = project.read(file);
        std::fs::remove_file(project.root().join(file)).unwrap();
        project.write(file, &text);
    }
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let second = upload(&project);
    assert_eq!(first.bytes, second.bytes);
    for header in first.headers() {
        assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 1));
        let executable = header.path().unwrap().ends_with("run.sh");
        assert_eq!(header.mode().unwrap(), if executable { 0o755 } else { 0o644 });
    }
}

#[test]
fn gits_rules_hold_without_a_repository_and_dotfiles_are_sent() {
    let project = Project::new();
    project
        .write("app/.gitignore", "*.log\n/dist/\n!keep.log\n")
        .write("app/a.log", "")
        .write("app/keep.log", "")
        .write("app/dist/bundle.js", "")
        .write("app/sub/dist/kept.js", "")
        .write("app/.sqlx/query.json", "{}")
        .write("app/.cargo/config.toml", "[build]\n")
        .write("app/rust-toolchain.toml", "[toolchain]\n")
        .write("app/.ignore", "*\n");
    let manifest = project.read("app/Cargo.toml").replace("[dependencies]", "exclude = [\"assets\"]\n[dependencies]");
    project.write("app/Cargo.toml", &manifest).write("app/assets/logo.svg", "");
    let names = upload(&project).names();
    for sent in [
        "keep.log",
        "sub/dist/kept.js",
        ".sqlx/query.json",
        ".cargo/config.toml",
        "rust-toolchain.toml",
        ".gitignore",
        "assets/logo.svg",
    ] {
        assert!(names.contains(&format!("app/{sent}")), "{sent} in {names:?}");
    }
    for kept in ["a.log", "dist/bundle.js"] {
        assert!(!names.contains(&format!("app/{kept}")), "{kept} in {names:?}");
    }
}

#[test]
fn secrets_and_builds_are_never_sent() {
    let project = Project::new();
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n";
    let secret = [
        "app/.env",
        "app/.env.local",
        "app/Secrets.toml",
        "app/Secrets.dev.toml",
        "app/.cargo/credentials.toml",
        "app/deep/.env",
    ];
    let built = ["app/target/debug/app", "app/cache/blob", "app/.git/HEAD", "app/tool/target/x"];
    for file in secret.iter().chain(&built) {
        project.write(file, "# x");
    }
    project.write("app/cache/CACHEDIR.TAG", tag).write("app/tool/Cargo.toml", "not a manifest");
    // These only look like it.
    let sent = ["app/.env.example", "app/.envrc", "app/src/target/mod.rs", "app/secrets.rs", "app/tagged/CACHEDIR.TAG"];
    for file in sent {
        project.write(file, "# x");
    }
    let names = upload(&project).names();
    for file in secret.iter().chain(&built).chain(&["app/cache/CACHEDIR.TAG"]) {
        assert!(!names.iter().any(|name| name == file), "{file} in {names:?}");
    }
    for file in sent {
        assert!(names.iter().any(|name| name == file), "no {file} in {names:?}");
    }
}

#[test]
fn a_committed_file_is_sent_though_a_rule_ignores_it_and_a_committed_secret_is_not() {
    let project = Project::new();
    project
        .write("app/.gitignore", "dist\n")
        .write("app/dist/committed.js", "")
        .write("app/dist/other.js", "")
        .write("app/.env", "x");
    project.commit("app").commit_ignored("app", "dist/committed.js");
    let names = upload(&project).names();
    assert!(names.contains(&"app/dist/committed.js".to_owned()), "{names:?}");
    assert!(!names.contains(&"app/dist/other.js".to_owned()) && !names.contains(&"app/.env".to_owned()), "{names:?}");
}

#[test]
fn the_lockfile_is_made_kept_and_sent_though_it_is_ignored() {
    let project = Project::new();
    project.write("app/.gitignore", "Cargo.lock\n");
    let archive = upload(&project);
    assert_eq!(archive.text("app/Cargo.lock"), project.read("app/Cargo.lock"));
}

#[test]
fn path_dependencies_are_sent_with_what_they_need() {
    let project = Project::new();
    let manifest = project.read("app/Cargo.toml").replace(
        "[workspace]",
        "one = { path = \"../libs/one\" }\n[dev-dependencies]\ntesting = { path = \"../libs/testing\" }\n\n[workspace]",
    );
    let library =
        |name: &str, more: &str| format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2021\"\n{more}");
    project
        .write("app/Cargo.toml", &manifest)
        .write("libs/one/Cargo.toml", &library("one", "[dependencies]\ntwo = { path = \"../two\" }\n"))
        .write("libs/one/src/lib.rs", "")
        .write("libs/two/Cargo.toml", &library("two", ""))
        .write("libs/two/src/lib.rs", "")
        .write("libs/testing/Cargo.toml", &library("testing", ""))
        .write("libs/testing/src/lib.rs", "")
        .write("libs/unused/Cargo.toml", &library("unused", ""));
    let archive = upload(&project);
    let names = archive.names();
    for name in ["libs/one/src/lib.rs", "libs/two/src/lib.rs", "libs/testing/src/lib.rs"] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("unused")), "{names:?}");
    assert_cargo_reads(&archive);
}

#[test]
fn of_a_foreign_workspace_only_the_member_and_what_it_inherits_are_sent() {
    let project = Project::empty().at("repo/examples/app");
    let root = "[package]\nname = \"root\"\nversion = \"1.0.0\"\n[workspace]\nmembers = [\"sdk\", \"other\"]\nexclude = [\"examples\"]\n\
                [workspace.package]\nversion = \"0.4.2\"\nedition = \"2021\"\n[workspace.lints.rust]\nunsafe_code = \"deny\"\n";
    let sdk =
        "[package]\nname = \"shuttle-service\"\nversion.workspace = true\nedition.workspace = true\n[lints]\nworkspace = true\n";
    let app = "[package]\nname = \"app\"\nversion = \"0.1.0\"\n[dependencies]\nshuttle-service = { path = \"../../sdk\" }\n[workspace]\n";
    project
        .write("repo/Cargo.toml", root)
        .write("repo/src/lib.rs", "")
        .write("repo/sdk/Cargo.toml", sdk)
        .write("repo/sdk/src/lib.rs", "")
        .write("repo/other/Cargo.toml", "[package]\nname = \"other\"\nversion = \"1.0.0\"\n")
        .write("repo/other/src/lib.rs", "")
        .write("repo/examples/app/Cargo.toml", app)
        .write("repo/examples/app/src/lib.rs", "#[shuttle_service::main]\nasync fn app() {}\n");
    let archive = upload(&project);
    let expected = [
        "shuttle.json",
        "Cargo.toml",
        "examples/app/Cargo.lock",
        "examples/app/Cargo.toml",
        "examples/app/src/lib.rs",
        "sdk/Cargo.toml",
        "sdk/src/lib.rs",
    ];
    assert_eq!(archive.names(), expected);
    assert!(!archive.text("Cargo.toml").contains("[package]"));
    assert_eq!(archive.index().sdk_version, "0.4.2");
    assert_cargo_reads(&archive);
}

#[test]
fn every_member_of_the_workspace_is_sent() {
    let project = Project::empty().at("ws/app");
    project
        .write("ws/Cargo.toml", "[workspace]\nmembers = [\"app\", \"crates/*\"]\nresolver = \"2\"\n")
        .write("ws/.gitignore", "*.tmp\n")
        .write("ws/.cargo/config.toml", "[net]\n")
        .write("ws/.sqlx/q.json", "{}")
        .write("ws/app/Cargo.toml", &Project::member("app", "../../sdk"))
        .write("ws/app/src/lib.rs", "#[shuttle_service::main]\nasync fn app() {}\n")
        .write("ws/app/x.tmp", "")
        .write("ws/crates/b/Cargo.toml", "[package]\nname = \"b\"\nversion = \"1.0.0\"\n")
        .write("ws/crates/b/src/lib.rs", "");
    let archive = upload(&project);
    let names = archive.names();
    for name in ["ws/Cargo.toml", "ws/Cargo.lock", "ws/.cargo/config.toml", "ws/.sqlx/q.json", "ws/crates/b/src/lib.rs"] {
        assert!(names.contains(&name.to_owned()), "no {name} in {names:?}");
    }
    assert!(!names.contains(&"ws/app/x.tmp".to_owned()), "{names:?}");
    let index = archive.index();
    assert_eq!((index.workspace_root.as_str(), index.package_root.as_str()), ("ws", "ws/app"));
    assert_cargo_reads(&archive);
}

#[test]
fn absolute_paths_become_relative_ones() {
    let project = Project::new();
    let sdk = project.root().join("sdk");
    project.write("app/Cargo.toml", &project.read("app/Cargo.toml").replace("../sdk", sdk.to_str().unwrap()));
    let archive = upload(&project);
    let manifest = archive.text("app/Cargo.toml");
    assert!(manifest.contains("path = \"../sdk\""), "{manifest}");
    assert!(project.read("app/Cargo.toml").contains(sdk.to_str().unwrap()), "the user's own file stays");
    assert_cargo_reads(&archive);
}

#[test]
fn patches_by_path_are_sent() {
    let project = Project::new();
    let patch = "[patch.crates-io]\nunused = { path = \"../patched\" }\n";
    project
        .write("app/Cargo.toml", &(project.read("app/Cargo.toml") + patch))
        .write("patched/Cargo.toml", "[package]\nname = \"unused\"\nversion = \"9.0.0\"\n")
        .write("patched/src/lib.rs", "");
    let archive = upload(&project);
    assert!(archive.names().contains(&"patched/src/lib.rs".to_owned()), "{:?}", archive.names());
    assert_cargo_reads(&archive);
}

#[test]
fn links_are_sent_as_what_they_point_at() {
    let project = Project::new();
    project
        .write("shared/text.txt", "shared")
        .write("shared/.env", "secret")
        .link("../../shared/text.txt", "app/assets/file.txt")
        .link(project.root().join("shared"), "app/folder")
        .write("app/.gitignore", "result\n")
        .link("nowhere", "app/result")
        .link("someone@host", "app/src/.#lib.rs");
    let archive = upload(&project);
    assert_eq!(archive.text("app/assets/file.txt"), "shared");
    assert_eq!(archive.text("app/folder/text.txt"), "shared");
    assert!(archive.headers().iter().all(|header| header.entry_type().is_file()));
    assert!(!archive.names().iter().any(|name| name.ends_with(".env")), "{:?}", archive.names());
}

#[test]
fn what_is_never_sent_is_not_sent_through_a_link() {
    let project = Project::new();
    let secret = "s3cret";
    for file in [
        "app/.env",
        "shared/.env",
        "shared/.git/config",
        "app/.git/config",
        "app/.cargo/credentials.toml",
        "app/target/debug/app",
    ] {
        project.write(file, secret);
    }
    project
        .write("app/.cargo/config.toml", "[registry]\ntoken = \"s3cret\"\n[registries.a]\ntoken = \"s3cret\"\n[net]\nretry = 1\n")
        .link(".env", "app/settings")
        .link(project.root().join("shared/.env"), "app/more")
        .link("../shared/.git", "app/repository")
        .link("../shared/.git/config", "app/repository-config")
        .link(".git", "app/own-repository")
        .link(".git/config", "app/own-repository-config")
        .link(".cargo", "app/cargo")
        .link(".cargo/credentials.toml", "app/credentials")
        .link(".cargo/config.toml", "app/cargo-config")
        .link("target", "app/built")
        .link("target/debug/app", "app/binary");
    let archive = upload(&project);
    let mut app: Vec<_> = archive.names().into_iter().filter_map(|name| Some(name.strip_prefix("app/")?.to_owned())).collect();
    app.retain(|name| !matches!(name.as_str(), "Cargo.toml" | "Cargo.lock" | "src/lib.rs"));
    assert_eq!(app, [".cargo/config.toml", "cargo-config", "cargo/config.toml"]);
    for name in app {
        let text = archive.text(&format!("app/{name}"));
        assert!(text.contains("retry = 1") && !text.contains(secret), "{name}: {text}");
    }
}

#[test]
fn links_that_cannot_be_followed_are_named() {
    let server = Server::start();
    for (target, part) in [("nowhere", "points at nothing"), ("..", "leads back"), ("link", "leads back")] {
        let project = Project::new();
        project.link(target, "app/assets/link");
        let run = Shuttle::new(&project, &server, &["deploy"]).run().ended_with(3);
        run.says(&["assets/link", part, ".gitignore"]);
    }
    let project = Project::new();
    project.link("../b", "app/a/to-b").link("../a", "app/b/to-a");
    Shuttle::new(&project, &server, &["deploy"]).run().ended_with(3).says(&["leads back"]);
}

#[test]
fn a_file_with_the_indexs_name_moves_out_of_the_way() {
    let project = Project::empty().at("app");
    project
        .write("app/Cargo.toml", &manifest("app", "sdk"))
        .write("app/src/lib.rs", "#[shuttle_service::main]\nasync fn app() {}\n")
        .write("app/sdk/Cargo.toml", "[package]\nname = \"shuttle-service\"\nversion = \"0.1.0\"\n")
        .write("app/sdk/src/lib.rs", "")
        .write("app/shuttle.json", "{\"mine\": true}");
    let archive = upload(&project);
    assert_eq!(archive.index().package_root, "app");
    assert_eq!(archive.text("app/shuttle.json"), "{\"mine\": true}");
    assert_cargo_reads(&archive);
}

#[test]
fn a_name_that_is_not_utf8_is_refused() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

    let (project, server) = (Project::new(), Server::start());
    std::fs::write(project.app().join(OsStr::from_bytes(b"bad-\xff")), "").unwrap();
    Shuttle::new(&project, &server, &["deploy"]).run().ended_with(3).says(&["not UTF-8", "rename it"]);
}

#[test]
fn a_name_that_the_server_refuses_is_refused_before_the_upload() {
    for name in ["app/unit-a\\x2db.mount", "app/two\nlines"] {
        let (project, server) = (Project::new(), Server::start());
        project.write(name, "");
        Shuttle::new(&project, &server, &["deploy"])
            .run()
            .ended_with(3)
            .says(&["a backslash or a control character", "rename it"]);
    }
}

#[test]
fn another_folders_manifest_can_be_named() {
    let project = Project::new().at("sdk");
    let archive = upload_with(&project, &["deploy", "--no-follow", "--manifest-path", "../app/Cargo.toml"]);
    assert_eq!(archive.index().package, "my-app");
}

#[test]
fn an_annotated_binary_is_named_unless_the_library_is_annotated() {
    let project = Project::new();
    let service = "#[shuttle_service::main]\nasync fn main() {}\n";
    project.write("app/src/main.rs", "fn main() {}\n").write("app/src/bin/my-tool.rs", service);
    let index = upload(&project).index();
    assert_eq!((index.crate_name.as_str(), index.binary), ("my_app", None));
    project.write("app/src/lib.rs", "pub fn helper() {}\n");
    let index = upload(&project).index();
    assert_eq!((index.crate_name.as_str(), index.binary.as_deref()), ("my_tool", Some("my-tool")));
    std::fs::remove_file(project.app().join("src/lib.rs")).unwrap();
    project.write("app/src/main.rs", service).write("app/src/bin/my-tool.rs", "fn main() {}\n");
    let index = upload(&project).index();
    assert_eq!((index.crate_name.as_str(), index.binary.as_deref()), ("my_app", Some("my-app")));
}

#[test]
fn a_package_with_the_name_of_a_dependency_is_told_apart_by_its_version() {
    let project = Project::new();
    let dependencies = "[dependencies]\nother = { package = \"my-app\", path = \"../other\" }\n";
    project.write("app/Cargo.toml", &project.read("app/Cargo.toml").replace("[dependencies]\n", dependencies));
    project.write("other/Cargo.toml", "[package]\nname = \"my-app\"\nversion = \"2.0.0\"\nedition = \"2021\"\n");
    project.write("other/src/lib.rs", "");
    assert_eq!(upload(&project).index().package, "my-app@0.1.0");
}

#[test]
fn the_sdk_under_another_name_or_by_a_patch_is_found() {
    let project = Project::new();
    let by_path = "shuttle-service = { path = \"../sdk\" }";
    let manifest = project.read("app/Cargo.toml");
    project.write("app/Cargo.toml", &manifest.replace(by_path, "svc = { package = \"shuttle-service\", path = \"../sdk\" }"));
    project.write("app/src/lib.rs", "#[svc::main]\nasync fn app() {}\n");
    assert_eq!(upload(&project).index().sdk_version, "0.1.7");

    let patched =
        manifest.replace(by_path, "shuttle-service = \"0.1\"") + "[patch.crates-io]\nshuttle-service = { path = \"../sdk\" }\n";
    project.write("app/Cargo.toml", &patched).write("app/src/lib.rs", "#[shuttle_service::main]\nasync fn app() {}\n");
    let archive = upload(&project);
    assert!(archive.names().contains(&"sdk/src/lib.rs".to_owned()));
    assert_cargo_reads(&archive);
}

#[test]
fn a_lockfile_that_is_behind_is_brought_up_to_date() {
    let project = Project::new();
    upload(&project);
    let manifest = project.read("app/Cargo.toml").replace("version = \"0.1.0\"", "version = \"0.2.0\"");
    project.write("app/Cargo.toml", &manifest);
    assert_cargo_reads(&upload(&project));
}

#[test]
fn the_commit_is_sent_where_a_source_asks_for_it() {
    let project = Project::new();
    upload(&project);
    project.commit("app");
    assert_eq!(upload(&project).index().git_commit, None);
    project.write("app/build.rs", "fn main() { println!(\"{:?}\", std::env::var(\"SHUTTLE_GIT_COMMIT\")); }").commit("app");
    let head = git2::Repository::open(project.app()).unwrap().head().unwrap().target().unwrap().to_string();
    assert_eq!(upload(&project).index().git_commit, Some(head));
}
