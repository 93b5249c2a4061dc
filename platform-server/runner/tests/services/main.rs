//! What an annotated function can return: an app of each kind, in the real runner.

#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use crate::support::{build::artifact, server::Runner};

/// More than any stop here takes.
const LONG: Duration = Duration::from_secs(60);

/// An app that serves HTTP: it answers, and stops as it should.
fn check(package: &str) {
    let mut runner = artifact(package).start([]);
    runner.expect_ready();
    assert_eq!(runner.get("/"), "Hello, world!");

    let mut held = runner.post("/hold", 4);
    assert_eq!(runner.line(), "holding");
    runner.stop(LONG);
    expect_no_more(&runner);
    held.send("held");
    assert_eq!(held.body(), "held", "a request in flight is finished");

    assert_eq!(runner.stdout(), "dropped\n");
    assert!(runner.wait().success(), "{}", runner.stderr());
}

/// Asks until there is no answer any more. The app may have taken a few connections before it hears that it has to stop.
fn expect_no_more(runner: &Runner) {
    let start = Instant::now();
    while runner.try_get("/").is_ok_and(|body| !body.is_empty()) {
        assert!(start.elapsed() < LONG, "new connections are still served");
    }
}

#[test]
fn axum_0_8() {
    check("axum-0-8");
}
