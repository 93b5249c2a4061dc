//! Connections to databases: of one that hangs, of strangers, of instances that were replaced. Parts of the test of resources,
//! with its app.

use std::{fs, io::Write, os::unix::net::UnixStream, path::Path, time::Instant};

use reqwest::{Method, Response};
use rustix::process::Signal;

use crate::{
    platform::{PATIENCE, PAUSE, Platform},
    resources::{json_of, persistent},
};

async fn restart(platform: &Platform) -> Response {
    platform.api(Method::POST, "/projects/resources/restart").send().await.unwrap()
}

/// What serves goes on, and whoever wanted a new instance is told why there is none.
pub(crate) async fn a_database_that_hangs_is_not_waited_for(platform: &Platform) {
    let before = platform.get("resources", "/asked").await;
    platform.signal_program("postgres", Signal::STOP);
    let refused = restart(platform).await;
    platform.signal_program("postgres", Signal::CONT);
    assert_eq!(refused.status(), 422);
    let error = json_of(refused).await;
    let (message, hint) = (error["message"].as_str().unwrap(), error["hint"].as_str().unwrap());
    assert!(message.starts_with("the Postgres at /") && message.ends_with("gave no answer within 15 s"), "{error}");
    assert!(hint.contains("--database-timeout"), "{error}");
    assert_eq!(platform.get("resources", "/asked").await, before, "it is the same instance");
    assert_eq!(restart(platform).await.status(), 200);
    assert_eq!(platform.get("resources", "/said").await.0, 200);
    appears(&persistent(platform).join("last")).await;
}

/// Waits until an app has written this file, and removes it.
async fn appears(path: &Path) {
    let begun = Instant::now();
    while fs::remove_file(path).is_err() {
        assert!(begun.elapsed() < PATIENCE, "{} is not there", path.display());
        tokio::time::sleep(PAUSE).await;
    }
}

/// Opens as many connections to Postgres as no server takes, under a uid that has no app, and keeps them.
fn crowd(postgres: &Path) -> Vec<UnixStream> {
    let wish = b"\0\x03\0\0user\0app_01\0database\0app_01\0\0";
    let wish = [&u32::try_from(wish.len() + 4).unwrap().to_be_bytes(), wish.as_slice()].concat();
    let connect = || {
        let mut stream = UnixStream::connect(postgres).unwrap();
        let _ = stream.write_all(&wish);
        stream
    };
    (0..1200).map(|_| connect()).collect()
}

/// A user without a database does not get to Redis at all, and keeps nobody from Postgres.
pub(crate) async fn strangers_take_no_place_of_an_app(platform: &Platform) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sockets = platform.get("resources", "/sockets").await.1;
    let (redis, postgres) = sockets.split_once(' ').unwrap();
    let (redis, postgres) = (redis.to_owned(), Path::new(postgres).join(".s.PGSQL.5432"));
    let stranger = std::thread::spawn(move || {
        let (user, group) = (rustix::process::Uid::from_raw(1_800_000_003), rustix::process::Gid::from_raw(1_800_000_003));
        rustix::thread::set_thread_res_gid(group, group, group).unwrap();
        rustix::thread::set_thread_res_uid(user, user, user).unwrap();
        (UnixStream::connect(redis).map_err(|error| error.kind()).err(), crowd(&postgres))
    });
    let (redis, held) = tokio::task::spawn_blocking(move || stranger.join().unwrap()).await.unwrap();
    assert_eq!(redis, Some(std::io::ErrorKind::PermissionDenied));
    assert_eq!(platform.get("resources", "/fill").await, (200, "full".to_owned()));
    drop(held);
}

/// Each instance has its pool full, and a request that keeps it from ending when it is replaced.
pub(crate) async fn restarts_do_not_run_out_of_connections(platform: &Platform) {
    let folder = persistent(platform);
    assert_eq!(restart(platform).await.status(), 200);
    let mut slow = Vec::new();
    for number in 0..4 {
        assert_eq!(platform.get("resources", "/fill").await, (200, "full".to_owned()), "the pool of instance {number}");
        slow.push(tokio::spawn(platform.request(Method::GET, "resources", "/slow").send()));
        appears(&folder.join("here")).await;
        assert_eq!(restart(platform).await.status(), 200, "after instance {number}");
    }
    assert_eq!(platform.get("resources", "/fill").await, (200, "full".to_owned()));
    fs::write(folder.join("go"), "").unwrap();
    let mut done = Vec::new();
    for request in slow {
        done.push(request.await.unwrap().is_ok_and(|response| response.status() == 200));
    }
    assert_eq!(done, [false, false, true, true], "of those that were replaced, two may finish at a time");
    fs::remove_file(folder.join("go")).unwrap();
}
