//! The real runner with a real artifact, from the launch to the exit status.

mod foreign;
#[path = "../support/mod.rs"]
mod support;

use std::{collections::BTreeMap, io::Write, sync::Arc, time::Duration};

use shuttle_abi::{
    FailedStage, FilesAt, Launch, Level, Listen, MAGIC, ResourceData, RunnerMessage, STATUS_FAILED, STATUS_PANICKED,
};

use crate::support::{
    build::{Artifact, artifact},
    server::Runner,
};

/// More than any stop here takes.
const LONG: Duration = Duration::from_secs(60);

fn app() -> Arc<Artifact> {
    artifact("fixture-app")
}

/// A launch of the fixture app that works; tests change what they are about.
fn launch() -> Launch {
    let note = ResourceData { kind: "redis".into(), url: "Hello, world!".into(), ..ResourceData::default() };
    Launch { resources: BTreeMap::from([("note".to_owned(), note)]), ..app().launch() }
}

/// A runner with the fixture app in the given mode.
fn start(mode: &str, launch: &Launch) -> Runner {
    app().start_with(launch, &[("MODE", mode)])
}

/// The failure that a launch ends with.
fn failure(mode: &str, launch: &Launch) -> (FailedStage, String, Option<i32>) {
    failure_of(start(mode, launch))
}

fn failure_of(mut runner: Runner) -> (FailedStage, String, Option<i32>) {
    match runner.message() {
        Some(RunnerMessage::Failed { stage, message }) => (stage, message, runner.wait().code()),
        other => panic!("{other:?}\n{}", runner.stderr()),
    }
}

#[test]
fn an_app_serves_until_it_is_told_to_stop() {
    let mut runner = start("", &launch());
    runner.expect_ready();
    assert_eq!(runner.get("/"), "Hello, world!");
    assert_eq!(runner.get("/folder"), "/");
    assert_eq!(runner.get("/panic"), "");
    assert_eq!(runner.get("/"), "Hello, world!", "a panic in a handler ends one request");
    runner.stop(LONG);
    assert!(runner.message().is_none());
    assert!(runner.wait().success());
}

#[test]
fn all_that_an_app_says_is_recorded() {
    let mut runner = start("", &launch());
    runner.expect_ready();
    assert_eq!(runner.get("/speak"), "spoken");
    runner.stop(LONG);
    assert!(runner.wait().success());

    let records = [runner.log_record(), runner.log_record(), runner.log_record()];
    let said: Vec<_> = records.iter().map(|r| (r.level, r.target.as_str(), r.message.as_str())).collect();
    assert_eq!(
        said,
        [
            (Level::Info, "fixture_app", "starting answer=42"),
            (Level::Warn, "fixture_app", "request{id=7}: spoken by tracing status=\"odd\""),
            (Level::Info, "fixture_app", "spoken by log method=\"GET\""),
        ]
    );
    assert_eq!(runner.log_rest(), "");
    assert_eq!(runner.stdout(), "spoken by println\n");
    assert_eq!(runner.stderr(), "spoken by eprintln\n");
}

#[test]
fn the_variables_of_the_launch_are_the_apps() {
    let env = BTreeMap::from([("RUST_LOG".to_owned(), "warn,fixture_app=debug".to_owned())]);
    let mut runner = start("", &Launch { env, ..launch() });
    runner.expect_ready();
    assert_eq!(runner.get("/speak"), "spoken");
    runner.stop(LONG);
    assert!(runner.wait().success());
    let said = [(); 4].map(|()| runner.log_record().message);
    assert_eq!(said.last().unwrap(), "not spoken", "as `RUST_LOG` says: {said:?}");
}

#[test]
fn an_app_keeps_its_own_loggers() {
    let mut runner = start("loggers", &launch());
    runner.expect_ready();
    assert_eq!(runner.get("/speak"), "spoken");
    runner.stop(LONG);
    assert!(runner.wait().success());
    assert_eq!(runner.log_record().message, "starting answer=42");
    assert_eq!(runner.log_rest(), "");
    let stdout = runner.stdout();
    assert!(stdout.contains("own log: spoken by log") && stdout.contains("spoken by tracing"), "{stdout}");
}

#[test]
fn a_request_in_flight_is_finished_when_stopping() {
    let mut runner = start("", &launch());
    runner.expect_ready();
    let mut held = runner.post("/hold", 4);
    runner.expect_records(["starting answer=42", "holding"]);
    runner.stop(LONG);
    held.send("held");
    assert_eq!(held.body(), "held");
    assert!(runner.wait().success());
}

#[test]
fn what_is_not_finished_in_time_is_cut_off() {
    let mut runner = start("", &launch());
    runner.expect_ready();
    let held = runner.post("/hold", 4);
    runner.expect_records(["starting answer=42", "holding"]);
    runner.stop(Duration::from_millis(50));
    assert_eq!(held.body(), "");
    assert!(runner.wait().success());
}

#[test]
fn an_app_that_keeps_its_thread_busy_is_ended_all_the_same() {
    let mut runner = start("block", &launch());
    assert_eq!(runner.log_record().message, "starting answer=42");
    runner.stop(Duration::ZERO);
    assert!(runner.wait().success());
}

#[test]
fn an_app_ends_with_its_server() {
    let mut runner = start("", &launch());
    runner.expect_ready();
    runner.control.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(runner.wait().code(), Some(STATUS_FAILED));
}

#[test]
fn a_panic_is_told_with_its_place() {
    let (stage, message, status) = failure("panic", &launch());
    assert_eq!((stage, status), (FailedStage::Start, Some(STATUS_PANICKED)));
    assert!(message.starts_with("panicked at app/src/lib.rs:") && message.ends_with(": no way"), "{message}");
}

#[test]
fn an_error_is_told() {
    assert_eq!(failure("error", &launch()), (FailedStage::Start, "no luck".to_owned(), Some(STATUS_FAILED)));
}

#[test]
fn an_app_that_exits_says_nothing_and_has_its_status() {
    let mut runner = start("exit", &launch());
    assert!(runner.message().is_none());
    assert_eq!(runner.wait().code(), Some(7));
}

#[test]
fn a_resource_that_is_missing_or_wrong_is_named() {
    let missing = Launch { resources: BTreeMap::new(), ..launch() };
    let (stage, message, _) = failure("", &missing);
    assert_eq!((stage, message.as_str()), (FailedStage::Resource, "parameter `note`: the platform gave no redis for it"));

    let mut bad = launch();
    bad.resources.get_mut("note").unwrap().url = "bad".into();
    let (stage, message, _) = failure("", &bad);
    assert_eq!((stage, message.as_str()), (FailedStage::Resource, "parameter `note`: a bad note"));
}

#[test]
fn an_artifact_without_the_entry_is_refused() {
    let (stage, message, status) = failure("", &Launch { crate_name: "other".into(), ..launch() });
    assert_eq!((stage, status), (FailedStage::Load, Some(STATUS_FAILED)));
    assert!(message.contains("no entry `__shuttle_service_entry_other`"), "{message}");
}

#[test]
fn what_is_no_artifact_is_refused() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"not an ELF file").unwrap();
    let (stage, message, _) = failure_of(Runner::start(file.path(), Listen::Unix, &launch(), &[]));
    assert_eq!(stage, FailedStage::Load);
    assert!(message.starts_with("the artifact cannot be loaded"), "{message}");
}

#[test]
fn another_abi_is_refused_and_says_which_side_to_update() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = Launch { crate_name: "foreign".into(), ..launch() };
    for (magic, version, advice) in [
        (MAGIC, 999, "update the platform"),
        (MAGIC, 0, "update shuttle-service"),
        (*b"NOTHING\0", 1, "not made by shuttle-service"),
    ] {
        let artifact = foreign::with_header(folder.path(), &magic, version);
        let (stage, message, status) = failure_of(Runner::start(&artifact, Listen::Unix, &foreign, &[]));
        assert_eq!((stage, status), (FailedStage::Abi, Some(STATUS_FAILED)));
        assert!(message.contains(advice), "{message}");
    }
}

#[test]
fn a_server_of_another_version_is_refused() {
    let (stage, message, _) = failure("", &Launch { abi_version: 999, ..launch() });
    assert_eq!(stage, FailedStage::Abi);
    assert!(message.contains("install both from one version"), "{message}");
}

#[test]
fn a_process_is_confined() {
    // Only root can give an app a user of its own; the rest holds for everybody.
    let uid = rustix::process::geteuid().is_root().then_some(64_999);
    let mut runner = start("", &Launch { uid, ..launch() });
    runner.expect_ready();
    let status = runner.get("/status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Umask"), "0077");
    if let Some(uid) = uid {
        let all = format!("{uid} {uid} {uid} {uid}");
        assert_eq!((field("Uid"), field("Gid"), field("Groups")), (all.clone(), all, String::new()));
        assert_eq!(field("CapEff"), "0000000000000000");
    }
}

#[test]
fn each_process_sees_its_own_files_at_the_path_that_was_compiled_in() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let at = folder.path().join("seen");
    std::fs::create_dir(&at).unwrap();
    let uid = rustix::process::geteuid().is_root().then_some(64_999);
    let mut runners = Vec::new();
    for name in ["old", "new"] {
        let from = folder.path().join(name);
        std::fs::create_dir(&from).unwrap();
        std::fs::write(from.join("page"), name).unwrap();
        let files = FilesAt { from: from.display().to_string(), at: at.display().to_string() };
        let mut runner = start("", &Launch { uid, files: Some(files), ..launch() });
        runner.expect_ready();
        runners.push((name, runner));
    }
    for (name, runner) in &runners {
        assert_eq!(runner.get(&format!("/file?{}/page", at.display())), *name);
        // Elsewhere everything is as it is.
        assert_eq!(runner.get(&format!("/file?{}/new/page", folder.path().display())), "new");
        let status = runner.get("/status");
        assert!(status.contains("CapEff:\t0000000000000000") && status.contains("CapPrm:\t0000000000000000"), "{status}");
    }
    assert_eq!(std::fs::read_dir(&at).unwrap().count(), 0, "nobody else sees it");
}
