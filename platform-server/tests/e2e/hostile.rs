//! Bad input and missing things: a clear error, and nothing lost or written. Nothing is built here.

use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tar::{EntryType, Header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    app::App,
    platform::{PATIENCE, Platform, binaries, text},
};

/// A tar.gz with these entries: type, path, content.
pub(crate) fn archive(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (kind, path, content) in entries {
        let mut header = Header::new_gnu();
        // Written by hand: the builder itself refuses such names.
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        if kind.is_symlink() || kind.is_hard_link() {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

pub(crate) fn index() -> String {
    json!({"format": 1, "package": "app", "crate_name": "app", "workspace_root": "", "package_root": "", "sdk_version": "0.1.0", "cli_version": "0.1.0"}).to_string()
}

pub(crate) async fn upload(platform: &Platform, body: Vec<u8>) -> (StatusCode, Value) {
    let response = platform.api(Method::POST, "/deploy?project=app").body(body).send().await.unwrap();
    let status = response.status();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

#[tokio::test]
async fn hostile_archives_are_refused_with_the_entry_named() {
    let platform = Platform::start(&["--max-archive-bytes", "100000", "--max-unpacked-bytes", "1000000"]);
    let index = index();
    let good = [
        (EntryType::Regular, "shuttle.json", index.as_str()),
        (EntryType::Regular, "Cargo.toml", "[package]\nname = \"app\"\nversion = \"0.1.0\"\n"),
        (EntryType::Regular, "Cargo.lock", "version = 4\n"),
    ];
    let outside = platform.data().join("deployments").join("escaped");
    let absolute = outside.display().to_string();
    let with = |kind, path| archive(&[good[0], good[1], good[2], (kind, path, "")]);
    for (body, named) in [
        (with(EntryType::Regular, "a/../../escaped"), "a/../../escaped"),
        (with(EntryType::Regular, &absolute), absolute.as_str()),
        (with(EntryType::Symlink, "link"), "link"),
        (with(EntryType::Link, "hard"), "hard"),
        (with(EntryType::Char, "device"), "device"),
        (with(EntryType::Block, "block"), "block"),
        (with(EntryType::Fifo, "pipe"), "pipe"),
        (archive(&[good[0], good[1], good[2], (EntryType::Regular, "zeros", &"0".repeat(2_000_000))]), "zeros"),
        (archive(&good[1..]), "shuttle.json"),
        (b"this is no gzip at all".to_vec(), "gzip"),
        (Vec::new(), "it is empty"),
        (
            {
                let whole = archive(&good);
                whole[..whole.len() / 2].to_vec()
            },
            "",
        ),
    ] {
        let (status, error) = upload(&platform, body).await;
        assert!(status.is_client_error(), "{named}: {status} {error}");
        assert_eq!(error["code"], "bad_archive", "{error}");
        assert!(error["message"].as_str().unwrap().contains(named), "{named}: {error}");
        assert_ne!(error["request_id"], "", "{error}");
    }
    let mut random = vec![0; 200_000];
    random.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * 7919 % 251) as u8);
    assert_eq!(upload(&platform, random).await.0, StatusCode::PAYLOAD_TOO_LARGE);

    let left: Vec<_> = std::fs::read_dir(platform.data().join("deployments")).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!platform.data().join("escaped").exists() && !outside.exists());
    let projects = platform.api(Method::GET, "/projects").send().await.unwrap().text().await.unwrap();
    assert_eq!(projects, "[]", "a refused archive makes no project");
}

#[tokio::test]
async fn files_that_take_much_memory_to_read_take_none_of_the_servers() {
    let memory = (256 << 20).to_string();
    let platform = Platform::start(&["--max-manifest-memory-bytes", &memory]);
    let manifest = "[package]\nname = \"app\"\nversion = \"0.1.0\"\n";
    // 170 kB as they are sent.
    let ones = |millions: usize| format!("x = [{}]", "1,".repeat(millions * 1_000_000));
    let (many, some) = (ones(20), ones(2));
    let long = format!("{manifest}description = \"{}\"\n", "x".repeat(20_000_000));
    let (limit, limit_of_memory) = ("over the limit of 4194304", format!("more than {memory} bytes of memory"));
    let before = platform.peak_memory();
    for (manifest, lock, other, words) in [
        (manifest, many.as_str(), "", ["Cargo.lock", limit]),
        (&long, "version = 4\n", "", ["Cargo.toml", limit]),
        (manifest, &some, "", ["Cargo.lock", &limit_of_memory]),
        (manifest, "version = 4\n", &some, ["other/Cargo.toml", &limit_of_memory]),
    ] {
        let body = archive(&[
            (EntryType::Regular, "shuttle.json", &index()),
            (EntryType::Regular, "Cargo.toml", manifest),
            (EntryType::Regular, "Cargo.lock", lock),
            (EntryType::Regular, "other/Cargo.toml", other),
        ]);
        let (status, deployment) = upload(&platform, body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{deployment}");
        let told = platform.events_until(deployment["id"].as_str().unwrap(), "\"finished\"", 1).await;
        assert!(words.iter().all(|word| told.contains(word)) && told.contains("hint"), "{words:?}: {told}");
    }
    let taken = platform.peak_memory() - before;
    assert!(taken < 64 << 20, "the server has taken {taken} bytes more");
}

#[tokio::test]
async fn connections_that_ask_for_nothing_keep_nobody_out() {
    // More connections to each than the server may have files open.
    let platform = Platform::start_with_open_files("256");
    let mut held = Vec::new();
    for address in [&platform.ready.api, &platform.ready.proxy] {
        for _ in 0..300 {
            let mut stream = TcpStream::connect(address.strip_prefix("http://").unwrap()).await.unwrap();
            // Those that have been closed already are among them.
            let _ = stream.write_all(b"POST /deploy HTTP/1.1\r\nHost: app.localhost\r\n").await;
            held.push(stream);
        }
        // With the key, which the database is asked for.
        assert_eq!(platform.api(Method::GET, "/projects").send().await.unwrap().status(), 200);
        assert_eq!(platform.get("app", "/").await.0, 404);
    }
    assert!(platform.server_log().contains("256 files"), "it says that it has few descriptors");
}

#[tokio::test]
async fn a_server_without_descriptors_closes_idle_connections_and_answers() {
    // None of those below is closed for being idle alone.
    let platform = Platform::start(&["--head-timeout", "3600"]);
    let mut held = Vec::new();
    let mut connect = async |address: &str| {
        let mut stream = TcpStream::connect(address.strip_prefix("http://").unwrap()).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: app.localhost\r\n\r\n").await.unwrap();
        let mut answer = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.expect("it does not answer");
        assert!(read.unwrap() > 0);
        held.push(stream);
    };
    for address in [&platform.ready.api, &platform.ready.proxy] {
        for _ in 0..20 {
            connect(address).await;
        }
    }
    platform.use_up_open_files();
    // Each gets a descriptor that another one had.
    for _ in 0..5 {
        for address in [&platform.ready.api, &platform.ready.proxy] {
            connect(address).await;
        }
    }
    let log = platform.server_log();
    assert!(["the API", "the proxy"].iter().all(|what| log.contains(&format!("{what} cannot accept connections"))), "{log}");
}

#[tokio::test]
async fn a_body_that_is_announced_as_too_long_is_refused_before_it_comes() {
    let platform = Platform::start(&["--max-archive-bytes", "1000"]);
    for (request, length, scheme) in
        [("POST /deploy?project=app", 1001, "Bearer"), ("PUT /projects/app/secrets", 10_000_000, "bearer")]
    {
        let mut stream = TcpStream::connect(platform.ready.api.strip_prefix("http://").unwrap()).await.unwrap();
        let key = &platform.key;
        let head = format!("{request} HTTP/1.1\r\nHost: a\r\nAuthorization: {scheme} {key}\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("it waits for the body").unwrap();
        assert_eq!(std::str::from_utf8(&answer), Ok("HTTP/1.1 413"), "{request}");
    }
}

#[tokio::test]
async fn a_project_is_not_replaced_from_elsewhere_without_a_word() {
    let platform = Platform::start(&[]);
    let index = index();
    let archive = archive(&[
        (EntryType::Regular, "shuttle.json", index.as_str()),
        // Nothing of this is compiled: there is no such package.
        (EntryType::Regular, "Cargo.toml", "[package]\nname = \"other\"\nversion = \"0.1.0\"\n"),
        (EntryType::Regular, "Cargo.lock", "version = 4\n"),
    ]);
    let deploy = async |parameters: &str| {
        let request = platform.api(Method::POST, &format!("/deploy?project=app{parameters}")).body(archive.clone());
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap())
    };
    assert_eq!(deploy("&origin=git:host/me/app%23%0Afolder:m:/srv/me/app").await.0, 202);
    // Another clone of it, and a client that says nothing.
    assert_eq!(deploy("&origin=git:host/me/app%23%0Afolder:ci:/tmp/1").await.0, 202);
    let shown = platform.api(Method::GET, "/projects/app").send().await.unwrap().text().await.unwrap();
    assert!(shown.contains("folder:ci:/tmp/1"), "{shown}");
    let (status, error) = deploy("&origin=folder:m:/srv/them/app").await;
    assert_eq!((status, error["code"].as_str()), (409, Some("other_origin")), "{error}");
    let message = error["message"].as_str().unwrap();
    assert_eq!(message, "`app` was last deployed from the repository host/me/app, and this is the folder /srv/them/app");
    assert_eq!(deploy("&origin=folder:m:/srv/them/app&replace=true").await.0, 202);
    assert_eq!(deploy("&origin=folder:m:/srv/them/app").await.0, 202);
    assert_eq!(deploy("").await.0, 202);

    assert_eq!(platform.api(Method::DELETE, "/projects/app").send().await.unwrap().status(), 200);
    let gone = platform.api(Method::GET, "/projects/app").send().await.unwrap();
    assert_eq!(gone.status(), 404);
    let gone = gone.text().await.unwrap();
    assert!(gone.contains("was deleted") && gone.contains("logs --name app"), "{gone}");
    // Nothing was logged, so there is no log to be kept.
    assert_eq!(platform.api(Method::GET, "/projects/app/logs").send().await.unwrap().status(), 404);
    assert_eq!(platform.api(Method::GET, "/projects/app/logs?follow=true").send().await.unwrap().status(), 409);
    assert_eq!(deploy("&origin=folder:m:/somewhere/else").await.0, 202, "the name is free");
}

#[tokio::test]
async fn the_api_answers_every_mistake_in_its_own_form() {
    let platform = Platform::start(&[]);
    let plain = |method, path: &str| platform.client.request(method, format!("{}{path}", platform.ready.api));
    assert_eq!(plain(Method::GET, "/healthz").send().await.unwrap().status(), 200);
    for (request, status, code) in [
        (plain(Method::GET, "/projects"), 401, "unauthorized"),
        (plain(Method::GET, "/projects").bearer_auth("wrong"), 401, "unauthorized"),
        (plain(Method::POST, "/deploy?project=app"), 401, "unauthorized"),
        (platform.api(Method::GET, "/nowhere"), 404, "not_found"),
        (platform.api(Method::GET, "/projects/none"), 404, "not_found"),
        (platform.api(Method::DELETE, "/projects/none"), 404, "not_found"),
        (platform.api(Method::GET, "/deployments/none/events"), 404, "not_found"),
        (platform.api(Method::GET, "/deploy"), 405, "method_not_allowed"),
        (platform.api(Method::POST, "/deploy"), 400, "bad_request"),
        (platform.api(Method::POST, "/deploy?project=Not_A_Label"), 400, "invalid_name"),
        (platform.api(Method::POST, "/deploy?project=..%2f..%2fetc"), 400, "invalid_name"),
    ] {
        let response = request.send().await.unwrap();
        let found = response.status().as_u16();
        let error: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!((found, error["code"].as_str()), (status, Some(code)), "{error}");
    }
    // Which parameter it is, what it may be, and what it is.
    for (request, words) in [
        (platform.api(Method::POST, "/deploy"), "the query parameter `project` is missing"),
        (platform.api(Method::POST, "/deploy?project=a&project=b"), "`project` stands there more than once"),
        (platform.api(Method::POST, "/deploy?project=a&force=maybe"), "`force` has to be `true` or `false`; it is `maybe`"),
        (
            platform.api(Method::POST, "/deploy?project=a&build=slow"),
            "`build` has to be `fast`, `optimised` or `both`; it is `slow`",
        ),
        (platform.api(Method::GET, "/projects/none/logs?tail=many"), "`tail` has to be a number from 0 up; it is `many`"),
        (platform.api(Method::GET, "/projects/none/logs?tail=-1"), "`tail` has to be a number from 0 up; it is `-1`"),
        (platform.api(Method::GET, "/projects/none/logs?follow=1"), "`follow` has to be `true` or `false`; it is `1`"),
        (
            platform.api(Method::GET, "/projects/none/logs").header("last-event-id", "x"),
            "`Last-Event-ID` has to be the id of an event",
        ),
        (platform.api(Method::GET, "/projects/%ff"), "the path `/projects/%ff` has a part that is not UTF-8"),
        (platform.api(Method::PUT, "/projects/a/secrets").body(r#"{"secrets": ["hidden"]}"#), "see line 1, column"),
        (platform.api(Method::PUT, "/projects/a/secrets"), "it is empty"),
        (platform.api(Method::PATCH, "/projects/a/env").body(r#"{"set": ["hidden"]}"#), "see line 1, column"),
    ] {
        let response = request.send().await.unwrap();
        let found = response.status().as_u16();
        let error: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!((found, error["code"].as_str()), (400, Some("bad_request")), "{error}");
        assert!(error["message"].as_str().unwrap().contains(words) && !error.to_string().contains("hidden"), "{words}: {error}");
    }
}

#[test]
fn the_cli_says_what_is_missing_and_exits_as_documented() {
    let platform = Platform::start(&[]);
    let app = App::copy_of("hello-axum");
    let run = |arguments: &[&str], api: &str, key: &str| {
        let mut command = platform.command(app.path(), arguments);
        command.env("SHUTTLE_API", api).env("SHUTTLE_API_KEY", key).output().unwrap()
    };
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    for (output, status, words) in [
        (run(&["status"], &free, "k"), 4, "hint:"),
        (run(&["status"], &platform.ready.api, "wrong"), 5, "hint:"),
        (run(&["status"], &platform.ready.api, &platform.key), 6, "cargo shuttle deploy"),
        (run(&["status"], "http://192.0.2.1:8001", "k"), 2, "--insecure"),
        (run(&["deploy", "--allow-dirty", "--name", "Not_A_Label"], &free, "k"), 3, "not-a-label"),
    ] {
        let said = text(&output);
        assert!(
            output.status.code() == Some(status) && said.contains(words),
            "wanted {status} and {words:?}: {:?} {said}",
            output.status
        );
    }
    let second = "#[shuttle_service::main]\nasync fn second() -> ShuttleAxum {\n    hello().await\n}\n\n#[shuttle_service::main]";
    for (edited, words) in [("", "#[shuttle_service::main]"), (second, "more than one")] {
        app.edit("#[shuttle_service::main]", edited);
        let said = platform.deploy_fails(app.path(), 3);
        assert!(said.contains("src/lib.rs") && said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn a_full_disk_is_said_and_nothing_is_lost() {
    // Only root can mount a small disk.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let platform = Platform::start_on_disk_of("8m");
    let app = App::copy_of("hello-axum");
    let mut number = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (number >> 56) as u8
    })
    .take(12_000_000)
    .collect();
    std::fs::write(app.file("noise"), noise).unwrap();
    let said = platform.deploy_fails(app.path(), 6);
    assert!(said.contains("disk is full") && said.contains("hint: "), "{said}");
    let projects = platform.api(Method::GET, "/projects").send().await.unwrap().text().await.unwrap();
    assert_eq!(projects, "[]");
    // What was refused has left no trace: there is room again for what fits.
    std::fs::remove_file(app.file("noise")).unwrap();
    let accepted = platform.shuttle(app.path(), &["deploy", "--allow-dirty", "--no-follow"]);
    assert!(accepted.status.success(), "{}", text(&accepted));
}

#[test]
fn the_server_says_why_it_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    let serve = |data: &Path, arguments: &[&str]| {
        let mut command = std::process::Command::new(binaries().join("platform-server"));
        command.args(["serve", "--api", "127.0.0.1:0", "--proxy", "127.0.0.1:0", "--data-dir"]).arg(data).args(arguments);
        command.output().unwrap()
    };
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let said = serve(&closed.join("data"), &[]);
        assert!(
            !said.status.success() && text(&said).contains("cannot enter") && text(&said).contains("chmod o+x"),
            "{}",
            text(&said)
        );
    }
    let platform = Platform::start(&[]);
    let said = serve(&platform.data(), &[]);
    assert!(!said.status.success() && text(&said).contains("in use by another platform-server"), "{}", text(&said));
    let said = serve(&platform.data().with_file_name("other"), &["--runner", "/nonexistent"]);
    assert!(!said.status.success() && text(&said).contains("hint: "), "{}", text(&said));
}
