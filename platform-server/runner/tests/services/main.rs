//! What an annotated function can return: an app of each kind, in the real runner.

mod cases;
mod matrix;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use shuttle_abi::{FailedStage, Kind, Listen, RunnerMessage, STATUS_FAILED};

use crate::support::{build::artifact, server::Runner};

/// More than any stop here takes.
const LONG: Duration = Duration::from_secs(60);

/// The body of a request in two parts. Some servers want to see the beginning of one before they call a handler.
const FIRST: &str = "a first part of more than a few bytes, ";
const SECOND: &str = "and a second part";

/// An app that serves HTTP: it answers, and stops as it should.
fn check(package: &str) {
    let artifact = artifact(package);
    assert_eq!(artifact.manifest.service.kind, Kind::Http);
    let mut runner = artifact.start([]);
    runner.expect_ready();
    assert_eq!(runner.touch(), "", "a connection that ends without a word is ended without one");
    assert_eq!(runner.get("/"), "Hello, world!");

    let idle = runner.keep("/");
    let mut held = runner.post("/hold", FIRST.len() + SECOND.len());
    held.send(FIRST);
    runner.expect_line("holding");
    runner.stop(LONG);
    expect_no_more(&runner);
    held.send(SECOND);
    assert_eq!(held.body(), [FIRST, SECOND].concat(), "a request in flight is finished");
    assert_eq!(idle.rest(), "", "a connection without a request is closed");

    runner.expect_line("dropped");
    assert!(runner.wait().success(), "{}", runner.stderr());
}

/// Asks until there is no answer any more. The app may have taken a few connections before it hears that it has to stop.
fn expect_no_more(runner: &Runner) {
    let start = Instant::now();
    while runner.try_get("/").is_ok_and(|body| !body.is_empty()) {
        assert!(start.elapsed() < LONG, "new connections are still served");
    }
}

/// The failure that a background service ends with in this mode.
fn background_failure(mode: &str) -> (FailedStage, String) {
    let artifact = artifact("background");
    let mut runner = artifact.start_with(&artifact.launch(), &[("MODE", mode)]);
    runner.expect_ready();
    let Some(RunnerMessage::Failed { stage, message }) = runner.message() else { panic!("it goes on") };
    assert_eq!(runner.wait().code(), Some(STATUS_FAILED));
    (stage, message)
}

/// What the proxy takes from a client (docs/PROXY.md), and its own four.
#[test]
fn an_app_on_hyper_takes_all_header_fields_that_the_proxy_passes_on() {
    for package in ["axum-0-8", "axum-0-7", "tower-hyper-1", "salvo-1"] {
        let mut runner = artifact(package).start([]);
        runner.expect_ready();
        assert_eq!(runner.get_with_fields("/", 128 + 4), "Hello, world!", "{package}");
    }
}

/// Those that docs/PROXY.md names.
#[test]
fn other_frameworks_take_fewer_header_fields() {
    for (package, most) in
        [("warp-0-4", 100), ("poem-3", 100), ("rocket-0-5", 100), ("thruster-1", 100), ("actix-web-4", 96), ("tide-0-16", 128)]
    {
        let mut runner = artifact(package).start([]);
        runner.expect_ready();
        let answers = [most, most + 1].map(|fields| runner.get_with_fields("/", fields) == "Hello, world!");
        assert_eq!(answers, [true, false], "{package}");
    }
}

#[test]
fn a_background_service_runs_until_it_is_told_to_stop() {
    let artifact = artifact("background");
    let service = &artifact.manifest.service;
    assert_eq!((service.kind, service.listen), (Kind::Background, Listen::None));
    let mut runner = artifact.start([]);
    runner.expect_ready();
    runner.expect_line("working");
    runner.stop(LONG);
    assert_eq!(runner.stdout(), "tidying up\ndropped\n");
    assert!(runner.wait().success());
}

#[test]
fn a_background_service_that_does_not_listen_is_dropped() {
    let artifact = artifact("background");
    let mut runner = artifact.start_with(&artifact.launch(), &[("MODE", "deaf")]);
    runner.expect_ready();
    runner.expect_line("working");
    runner.stop(Duration::ZERO);
    assert_eq!(runner.stdout(), "dropped\n");
    assert!(runner.wait().success());
}

#[test]
fn a_background_service_that_ends_by_itself_has_failed() {
    let untold = "the service ended without having been told to stop".to_owned();
    assert_eq!(background_failure("end"), (FailedStage::Serve, untold));
    assert_eq!(background_failure("fail"), (FailedStage::Serve, "out of messages".to_owned()));
}

#[test]
fn two_majors_of_axum_are_in_one_app() {
    check("axum-both");
}

#[test]
fn the_error_of_anyhow_is_told_with_its_sources() {
    check("anyhow-1");

    let artifact = artifact("anyhow-1");
    let mut runner = artifact.start_with(&artifact.launch(), &[("PORT", "x")]);
    let Some(RunnerMessage::Failed { stage, message }) = runner.message() else { panic!("it goes on") };
    assert_eq!((stage, message.as_str()), (FailedStage::Start, "the port is wrong: invalid digit found in string"));
}
