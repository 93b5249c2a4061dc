//! Uploads that break off, and what they leave.

use std::fs;

use crate::support::{Break, Project, Server, Shuttle};

const DEPLOY: [&str; 3] = ["deploy", "--no-follow", "--allow-dirty"];

/// Random enough not to shrink: far more than the buffers between the two ends hold.
fn blob() -> Vec<u8> {
    let mut seed = 1_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    };
    (0..24 * 1024 * 1024).map(|_| next()).collect()
}

#[test]
fn an_upload_that_breaks_off_begins_again() {
    let (project, server) = (Project::new(), Server::start());
    fs::write(project.app().join("blob"), blob()).unwrap();
    server.breaks_uploads(&[Break::Midway]);
    let run = Shuttle::new(&project, &server, &DEPLOY).run().ended_with(0);
    assert_eq!(server.uploads(), 1);
    // All of it, from its beginning.
    assert!(server.archive().names().contains(&"app/blob".to_owned()));
    assert!(!run.stderr.contains("another digest"), "{}", run.stderr);
    run.says(&["Retrying the upload: cannot reach the server", "Uploaded as deployment d1"]);
}

#[test]
fn an_upload_whose_answer_is_lost_is_not_sent_again() {
    let (project, server) = (Project::new(), Server::start());
    server.breaks_uploads(&[Break::BeforeTheAnswer]);
    Shuttle::new(&project, &server, &DEPLOY).run().ended_with(0).says(&["Retrying", "Uploaded as deployment d1"]);
    assert_eq!(server.uploads(), 1);
}

#[test]
fn the_archive_has_no_name_while_it_is_sent() {
    let (project, server) = (Project::new(), Server::start());
    let temp = tempfile::tempdir().unwrap();
    server.streams_on("");
    let mut child = Shuttle::new(&project, &server, &["deploy"]).env("TMPDIR", temp.path()).start();
    server.wait_for_upload();
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    child.kill().unwrap();
    child.wait().unwrap();
}
