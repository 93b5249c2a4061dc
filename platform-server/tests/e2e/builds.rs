//! What a build may and may not do. The packages here have no dependencies, so that each is built in seconds; they are
//! uploaded as archives made by hand, because the CLI would refuse them.

use std::time::Instant;

use flate2::{Compression, write::GzEncoder};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    hostile::index,
    platform::{PATIENCE, PAUSE, Platform},
};

/// A package with these sources.
fn package(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut add = |path: &str, content: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content.as_bytes()).unwrap();
    };
    // The index is the first entry.
    let index = files.iter().find(|(path, _)| *path == "shuttle.json").map_or_else(index, |(_, given)| (*given).into());
    add("shuttle.json", &index);
    for (path, content) in files.iter().filter(|(path, _)| *path != "shuttle.json") {
        add(path, content);
    }
    for (path, content) in [
        ("Cargo.toml", "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n"),
        ("Cargo.lock", "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n"),
        ("src/lib.rs", ""),
    ] {
        if !files.iter().any(|(given, _)| *given == path) {
            add(path, content);
        }
    }
    builder.into_inner().unwrap().finish().unwrap()
}

/// Uploads, waits for the end, and gives the deployment.
pub(crate) async fn deploy(platform: &Platform, files: &[(&str, &str)]) -> Value {
    deploy_as(platform, "app", files).await
}

async fn deploy_as(platform: &Platform, project: &str, files: &[(&str, &str)]) -> Value {
    end_of(platform, &send(platform, project, files).await).await
}

/// Uploads; gives the deployment's path.
async fn send(platform: &Platform, project: &str, files: &[(&str, &str)]) -> String {
    let response = platform.api(Method::POST, &format!("/deploy?project={project}")).body(package(files)).send().await.unwrap();
    assert_eq!(response.status(), 202);
    let deployment: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    format!("/deployments/{}", deployment["id"].as_str().unwrap())
}

/// Waits until it has come to rest.
async fn end_of(platform: &Platform, path: &str) -> Value {
    // The stream of events ends with the deployment's work.
    let events = platform.api(Method::GET, &format!("{path}/events")).send().await.unwrap().text().await.unwrap();
    let deployment = platform.api(Method::GET, path).send().await.unwrap().text().await.unwrap();
    let mut deployment: Value = serde_json::from_str(&deployment).unwrap();
    deployment["events"] = events.into();
    deployment
}

pub(crate) fn assert_failed(deployment: &Value, kind: &str, words: &str) {
    assert_eq!(deployment["state"], "error", "{deployment}");
    assert_eq!(deployment["failure"]["kind"], kind, "{deployment}");
    let said = deployment["failure"].to_string() + deployment["events"].as_str().unwrap();
    assert!(said.contains(words), "should say {words:?}: {deployment}");
}

#[tokio::test]
async fn a_build_that_cannot_work_is_told_apart() {
    let platform = Platform::start(&["--build-timeout", "5"]);
    let source = |url: &str| {
        format!(
            "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"b\"\nversion = \"1.0.0\"\nsource = \"{url}\"\n"
        )
    };
    for (files, kind, words) in [
        (&[("src/lib.rs", "pub fn f() {}")][..], "build", "#[shuttle_service::main]"),
        (&[("src/lib.rs", "fn")], "build", "does not compile"),
        (&[("build.rs", "fn main() { loop { std::thread::sleep(std::time::Duration::MAX) } }")], "build", "limit of 5 s"),
        (&[("build.rs", "fn main() { std::process::exit(9) }")], "build", "exit status: 9"),
        (
            &[(".cargo/config.toml", "[build]\nrustc-wrapper = \"no-sccache\"\n")],
            "build",
            "build.rustc-wrapper in .cargo/config.toml",
        ),
        (&[("Cargo.toml", "[package\n")], "fetch", "Cargo.toml"),
        (&[("rust-toolchain.toml", "[toolchain]\nchannel = \"1.2.3\"\n")], "build", "rustup toolchain install 1.2.3"),
        (&[("rust-toolchain.toml", "[toolchain]\npath = \"/tmp\"\n")], "build", "installed toolchains only"),
        (&[("Cargo.lock", &source("git+file:///etc#0123456789"))], "fetch", "git+file:///etc"),
        (&[("Cargo.lock", &source("git+ssh://git@example.invalid/b#0123456789"))], "fetch", "does not fetch from"),
    ] {
        assert_failed(&deploy(&platform, files).await, kind, words);
    }
}

/// Programs that cargo would start for an uploaded configuration: never in the step that has the network.
#[tokio::test]
async fn an_uploaded_cargo_configuration_runs_nothing_while_dependencies_are_fetched() {
    let platform = Platform::start(&[]);
    let config = "[build]\nrustc = \"/build/tree/evil\"\nrustc-wrapper = \"/build/tree/evil\"\n[alias]\nfetch = \"run\"\n";
    let deployment = deploy(&platform, &[(".cargo/config.toml", config), ("src/lib.rs", "pub fn f() {}")]).await;
    // It fails in the build, which is confined, and not before.
    assert_failed(&deployment, "build", "evil");
}

#[tokio::test]
async fn vendored_dependencies_are_found_through_the_uploaded_configuration() {
    let platform = Platform::start(&[]);
    let checksum = "0".repeat(64);
    let lock = format!(
        "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\ndependencies = [\n \"vendored\",\n]\n\n\
         [[package]]\nname = \"vendored\"\nversion = \"1.0.0\"\n\
         source = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"{checksum}\"\n"
    );
    let files = [
        (
            "Cargo.toml",
            "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dependencies]\nvendored = \"1\"\n[workspace]\n",
        ),
        ("Cargo.lock", &lock),
        ("src/lib.rs", "pub fn f() { vendored::f() }"),
        (".cargo/config.toml", "[source.crates-io]\nreplace-with = \"v\"\n[source.v]\ndirectory = \"vendor\"\n"),
        ("vendor/vendored/Cargo.toml", "[package]\nname = \"vendored\"\nversion = \"1.0.0\"\nedition = \"2024\"\n"),
        ("vendor/vendored/src/lib.rs", "pub fn f() {}"),
        ("vendor/vendored/.cargo-checksum.json", &format!(r#"{{"files":{{}},"package":"{checksum}"}}"#)),
    ];
    // It compiles; only then is it seen to be no service.
    assert_failed(&deploy(&platform, &files).await, "build", "#[shuttle_service::main]");
}

#[tokio::test]
async fn a_build_sees_nothing_of_the_server() {
    let platform = Platform::start(&[]);
    let health = platform.api(Method::GET, "/healthz").send().await.unwrap().text().await.unwrap();
    // A machine without namespaces cannot promise this, and its server says so.
    if !health.contains("namespace") || health.contains("no user namespaces") {
        return;
    }
    let secret = platform.ready.admin_key_file.display().to_string();
    let api = platform.ready.api.strip_prefix("http://").unwrap();
    let outside = std::path::PathBuf::from(format!("/tmp/shuttle-escape-{}", std::process::id()));
    let script = format!(
        r#"fn main() {{
            let closed = |what: &str, open: bool| assert!(!open, "the build could {{what}}");
            closed("read the key", std::fs::read({secret:?}).is_ok());
            closed("reach the API", std::net::TcpStream::connect({api:?}).is_ok());
            closed("write to the toolchain", std::fs::write("/build/toolchain/x", "").is_ok());
            closed("write to the registry", std::fs::write("/build/cargo/x", "").is_ok());
            closed("write to the system", std::fs::write("/usr/x", "").is_ok() || std::fs::write("/etc/x", "").is_ok());
            closed("see other processes", std::fs::read_dir("/proc").unwrap().flatten().filter(|e| e.file_name().to_str().unwrap().parse::<u32>().is_ok()).count() > 20);
            closed("see a home folder", std::fs::read_dir("/root").is_ok() || std::fs::read_dir("/home").is_ok());
            for (name, _) in std::env::vars() {{
                closed(&format!("see the variable {{name}}"), ["CURL_CA_BUNDLE", "CARGO_HTTP_CAINFO", "HTTPS_PROXY", "https_proxy", "SHUTTLE_API_KEY", "SHUTTLE_TEST_REPO"].contains(&name.as_str()));
            }}
            assert_eq!(std::fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim(), "900");
            std::fs::write({outside:?}, "only in its own /tmp").unwrap();
            panic!("all closed");
        }}"#
    );
    assert_failed(&deploy(&platform, &[("build.rs", &script)]).await, "build", "all closed");
    assert!(!outside.exists());
}

/// As tonic, sqlx' and many others' generators do. The file is the build's alone: the next one does not find it, and makes it anew.
#[tokio::test]
async fn a_build_script_may_write_into_the_projects_own_folder() {
    let platform = Platform::start(&[]);
    let health = platform.api(Method::GET, "/healthz").send().await.unwrap().text().await.unwrap();
    let script = r#"fn main() {
        println!("cargo::rerun-if-changed=build.rs");
        assert!(!std::path::Path::new("src/generated.rs").exists(), "of another build");
        std::fs::write("src/generated.rs", "pub const N: u8 = 1;").unwrap();
        std::fs::remove_file("notes").unwrap();
    }"#;
    for source in ["mod generated; pub use generated::N;", "mod generated; pub use generated::N; pub fn edited() {}"] {
        let files = [("build.rs", script), ("src/lib.rs", source), ("notes", "")];
        // Namespaces, but no layer over the tree.
        if health.contains("private mount") && !health.contains("shared by overlay mounts") {
            return assert_failed(&deploy(&platform, &files).await, "build", "and so is the project's own folder");
        }
        // It compiles; only then is it seen to be no service.
        assert_failed(&deploy(&platform, &files).await, "build", "#[shuttle_service::main]");
    }
    let other = [
        ("build.rs", "fn main() { assert!(!std::path::Path::new(\"src/generated.rs\").exists()) }"),
        ("src/lib.rs", "mod generated;"),
    ];
    assert_failed(&deploy(&platform, &other).await, "build", "does not compile");
}

/// The libraries' as well, whose dependencies are compiled apart.
#[tokio::test]
async fn build_scripts_find_the_commit() {
    let platform = Platform::start(&[]);
    let commit = "c0ffee".repeat(6) + "c0ff";
    let mut index: Value = serde_json::from_str(&index()).unwrap();
    index["git_commit"] = commit.as_str().into();
    let index = index.to_string();
    let lock = lock_with_library();
    let script = r#"fn main() {
        println!("cargo::rerun-if-changed=build.rs");
        println!("cargo::rustc-env=FOUND={}", std::env::var("SHUTTLE_GIT_COMMIT").unwrap_or("none".into()));
    }"#;
    let app = format!(
        "const _: () = assert!(matches!(lib::FOUND.as_bytes(), b{commit:?}));
         const _: () = assert!(matches!(env!(\"FOUND\").as_bytes(), b{commit:?}));"
    );
    let files = [
        ("shuttle.json", index.as_str()),
        ("Cargo.lock", &lock),
        ("Cargo.toml", MANIFEST),
        ("build.rs", script),
        ("src/lib.rs", &app),
        ("lib/Cargo.toml", LIBRARY),
        ("lib/build.rs", script),
        ("lib/src/lib.rs", "pub const FOUND: &str = env!(\"FOUND\");"),
    ];
    // It compiles; only then is it seen to be no service.
    assert_failed(&deploy(&platform, &files).await, "build", "#[shuttle_service::main]");
}

#[tokio::test]
async fn deleting_a_project_ends_its_build() {
    let platform = Platform::start(&[]);
    let endless = [("build.rs", "fn main() { loop { std::thread::sleep(std::time::Duration::MAX) } }")];
    let deploying = deploy(&platform, &endless);
    let deleting = async {
        // Deleted once the build script runs.
        until_a_build_script_runs(&platform).await;
        platform.api(Method::DELETE, "/projects/app").send().await.unwrap().status()
    };
    let (deployment, status) = tokio::join!(deploying, deleting);
    assert_eq!((deployment["state"].as_str(), status.as_u16()), (Some("deleted"), 200), "{deployment}");
    assert!(deployment["events"].as_str().unwrap().contains(r#""result":"deleted""#), "{deployment}");
    platform.assert_no_process_left();
}

/// Waits for it as long as an optimised build may take to get there: its compiler is at the lowest priority.
pub(crate) async fn until_a_build_script_runs(platform: &Platform) {
    let begun = Instant::now();
    let is_build_script = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains("build-script-build"))
    };
    while !platform.processes().iter().any(is_build_script) {
        assert!(begun.elapsed() < PATIENCE * 3, "no build script runs: {}", platform.server_log());
        tokio::time::sleep(PAUSE).await;
    }
}

/// The entry of a package of version 1 in this repository's own lockfile, whose content is in every registry.
fn locked(name: &str) -> String {
    let lock: toml::Table = include_str!("../../../Cargo.lock").parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let is_wanted = |package: &&toml::Value| {
        package["name"].as_str() == Some(name) && package["version"].as_str().is_some_and(|version| version.starts_with("1."))
    };
    let package = packages.iter().find(is_wanted).unwrap();
    let field = |key: &str| format!("{key} = {}\n", package[key]);
    ["name", "version", "source", "checksum"].map(field).concat()
}

/// An app that depends on `itoa` and on its own library `lib`.
const MANIFEST: &str = "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n
    [dependencies]\nitoa = \"1\"\nlib = { path = \"lib\" }\n";
const LIBRARY: &str = "[package]\nname = \"lib\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";

/// Its lockfile.
fn lock_with_library() -> String {
    format!(
        "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\ndependencies = [\"itoa\", \"lib\"]\n\n
         [[package]]\nname = \"lib\"\nversion = \"0.1.0\"\n\n[[package]]\n{}",
        locked("itoa")
    )
}

/// An app without the SDK, so that it is compiled in a second: it answers with what `itoa` makes of 42 and with its library's
/// number.
const APP: &str = r##"
use std::{io::{BufRead, BufReader, Read, Write}, os::{fd::FromRawFd, unix::net::{UnixListener, UnixStream}}};

#[repr(C)]
pub struct Header { magic: [u8; 8], abi: u32, size: u32, sdk: *const u8, len: usize, run: unsafe extern "C" fn(*const u8, usize) -> i32 }
unsafe impl Sync for Header {}
#[unsafe(no_mangle)]
pub static __shuttle_service_entry_app: Header =
    Header { magic: *b"SHUTTLE\x01", abi: 1, size: size_of::<Header>() as u32, sdk: "0.1.0".as_ptr(), len: 5, run };

const JSON: &[u8] = br#"{"manifest":2,"sdk":"0.1.0","crate":"app","service":{"framework":"std","kind":"http","listen":"unix"},"resources":[]}"#;
#[unsafe(no_mangle)]
#[unsafe(link_section = ".shuttle.manifest")]
pub static RECORD: [u8; 8 + JSON.len()] = {
    let mut record = [0; 8 + JSON.len()];
    let (mut at, head) = (0, [b'S', b'H', b'M', b'F', JSON.len() as u8, 0, 0, 0]);
    while at < record.len() {
        record[at] = if at < 8 { head[at] } else { JSON[at - 8] };
        at += 1;
    }
    record
};

unsafe extern "C" fn run(launch: *const u8, len: usize) -> i32 {
    let launch = str::from_utf8(unsafe { std::slice::from_raw_parts(launch, len) }).unwrap();
    let fd = |name: &str| -> i32 {
        let rest = launch.split(&format!("\"{name}\":")).nth(1).unwrap();
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let (mut control, listener) =
        unsafe { (UnixStream::from_raw_fd(fd("control_fd")), UnixListener::from_raw_fd(fd("listener_fd"))) };
    listener.set_nonblocking(false).unwrap();
    control.set_nonblocking(false).unwrap();
    let ready = br#"{"type":"ready","listen":null}"#;
    control.write_all(&[&(ready.len() as u32).to_le_bytes()[..], ready].concat()).unwrap();
    // The one message that there is says to stop.
    std::thread::spawn(move || { let _ = control.read(&mut [0]); std::process::exit(0) });
    for stream in listener.incoming().flatten() {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|read| read > 2) { line.clear(); }
        let body = format!("{} {}", itoa::Buffer::new().format(42), lib::N);
        let _ = write!(reader.get_mut(), "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    }
    0
}
"##;

/// A manifest that is a program as well: what it says begins and ends with a comment, in both languages. The program puts
/// another crate in the place of each compiled `itoa` that it finds in the target folder.
fn manifest_that_is_a_program(manifest: &str) -> String {
    let program = r#"fn main() {
        use std::{env, fs, process::Command};
        let deps = "/build/target/release/deps";
        let source = env::var("OUT_DIR").unwrap() + "/evil.rs";
        fs::write(&source, "pub struct Buffer; impl Buffer { pub fn new() -> Self { Self }
            pub fn format(&mut self, _: i32) -> &str { \"evil\" } }").unwrap();
        let compiled = || fs::read_dir(deps).unwrap().flatten().filter_map(|file| {
            let name = file.file_name().into_string().unwrap();
            Some(name.strip_prefix("libitoa-")?.strip_suffix(".rlib")?.to_owned())
        }).collect::<Vec<_>>();
        let begun = std::time::Instant::now();
        while compiled().is_empty() && begun.elapsed().as_secs() < 20 { std::thread::yield_now(); }
        for hash in compiled() {
            let status = Command::new(env::var("RUSTC").unwrap())
                .args(["--crate-name", "itoa", "--edition", "2021", "--crate-type", "lib", "--emit", "metadata,link", "--out-dir", deps])
                .args(["-C".to_owned(), format!("extra-filename=-{hash}"), "-C".to_owned(), format!("metadata={hash}"), source.clone()])
                .status().unwrap();
            assert!(status.success());
        }
    }"#;
    let program = program.split_whitespace().collect::<Vec<_>>().join(" ");
    let manifest = manifest.replace("[workspace]", "build = \"Cargo.toml\"\n[workspace]");
    format!("#![allow(unused)] /*\n{manifest}\n# */ {program}\n")
}

#[tokio::test]
async fn dependencies_are_compiled_once_for_all_projects_and_no_project_changes_them() {
    let platform = Platform::start(&[]);
    let lock = lock_with_library();
    let evil = manifest_that_is_a_program(MANIFEST);
    let project = |lib, manifest| {
        [
            ("Cargo.lock", lock.as_str()),
            ("Cargo.toml", manifest),
            ("lib/Cargo.toml", LIBRARY),
            ("lib/src/lib.rs", lib),
            ("src/lib.rs", APP),
        ]
    };
    let (lib, other) = ("pub const N: u8 = 1;", "pub const N: u8 = 2;");
    for (name, files, answer) in [
        // It may change what it has itself; nobody else gets anything of it.
        ("poisoner", project(lib, &evil), "evil 1"),
        ("first", project(lib, MANIFEST), "42 1"),
        ("second", project(lib, MANIFEST), "42 1"),
        ("third", project(other, MANIFEST), "42 2"),
    ] {
        let deployment = deploy_as(&platform, name, &files).await;
        assert_eq!(deployment["state"], "deployed", "{name}: {deployment}");
        let events = deployment["events"].as_str().unwrap();
        let compiled_for_all = if name == "poisoner" { 1 } else { 0 };
        let said = format!(" of the project, {compiled_for_all} of 1 dependency");
        assert_eq!(events.matches("Compiled ").count(), 1, "{name}: {events}");
        assert!(events.contains(&said), "{name}: {events}");
        assert_eq!(platform.get(name, "/").await, (200, answer.to_owned()), "{name}");
    }
    nothing_is_copied(&platform).await;
    what_builds_left_is_shown_and_cleared(&platform);
    let anew = deploy_as(&platform, "second", &project(other, MANIFEST)).await;
    let events = anew["events"].as_str().unwrap();
    assert!(events.contains(" of the project, 1 of 1 dependency"), "{events}");
}

async fn nothing_is_copied(platform: &Platform) {
    let Some(bytes) = platform.own_build_bytes("second").await else { return };
    assert!(bytes < 4_000_000, "{bytes}");
    // By their names: which units of the crate there are in each folder of builds.
    let mut found = std::collections::BTreeMap::<String, usize>::new();
    let mut folders = vec![platform.data().join("builds")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if name.starts_with("libitoa-") && name.ends_with(".rlib") {
                let below = entry.path().strip_prefix(platform.data().join("builds")).unwrap().display().to_string();
                *found.entry(below.split(['/', '-']).next().unwrap().to_owned()).or_default() += 1;
            }
        }
    }
    // Three sets of the poisoner's and the others' manifests, with and without the libraries; and what the poisoner changed.
    assert!(found.remove("dependencies").is_some(), "{found:?}");
    assert_eq!(found.into_values().collect::<Vec<_>>(), [1], "only the poisoner has its own");
}

fn what_builds_left_is_shown_and_cleared(platform: &Platform) {
    let rows = |cache: &Value| cache["folders"].as_array().unwrap().clone();
    let shown = rows(&platform.cache(&[]));
    for what in ["project first", "project third", "compiled dependencies, shared", "downloaded crates"] {
        assert!(shown.iter().any(|row| row["what"] == what && row["bytes"].as_u64() > Some(0)), "{what}: {shown:?}");
    }
    let cleared = rows(&platform.cache(&["--clear"]));
    assert!(cleared.len() == shown.len() && cleared.iter().all(|row| row["removed"] == true), "{cleared:?}");
    assert_eq!(platform.cache(&[]), json!({"folders": [], "bytes": 0}));
}

#[tokio::test]
async fn what_waits_is_superseded_and_what_is_under_way_can_be_cancelled() {
    let platform = Platform::start(&["--max-builds", "1"]);
    let endless = [("build.rs", "fn main() { loop { std::thread::sleep(std::time::Duration::MAX) } }")];
    let busy = send(&platform, "busy", &endless).await;
    let (older, newer) = (send(&platform, "app", &[]).await, send(&platform, "app", &[]).await);
    let ended = end_of(&platform, &older).await;
    assert_failed(&ended, "superseded", "\"result\":\"superseded\"");
    let other = send(&platform, "other", &[]).await;

    let cancel = async |path: &str| platform.api(Method::POST, &format!("{path}/cancel")).send().await.unwrap().status();
    // One that waits, and the one that is being built: the next one's turn comes.
    assert_eq!((cancel(&other).await, cancel(&busy).await), (200.try_into().unwrap(), 200.try_into().unwrap()));
    for path in [&other, &busy] {
        assert_failed(&end_of(&platform, path).await, "cancelled", "it was cancelled");
        assert_eq!(cancel(path).await, 409);
    }
    assert_failed(&end_of(&platform, &newer).await, "build", "#[shuttle_service::main]");
    assert_eq!(cancel("/deployments/none").await, 404);
}
