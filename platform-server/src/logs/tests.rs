//! The store through its public face, on real files.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
    pin::Pin,
};

use futures_util::{FutureExt, StreamExt};
use platform_wire::{LogLevel, LogSource};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use super::*;

fn line(message: &str) -> LogLine {
    LogLine {
        time_ms: 1_700_000_000_000,
        level: LogLevel::Info,
        source: LogSource::Stdout,
        deployment: "d1".into(),
        target: String::new(),
        message: message.into(),
    }
}

fn app() -> ProjectName {
    "app".parse().unwrap()
}

/// A folder, and limits that rotate after few lines: a line of `m…` takes some 110 bytes.
fn small() -> (TempDir, LogLimits) {
    (tempfile::tempdir().unwrap(), LogLimits { segment_bytes: 400, segments: 3, max_line: 100 })
}

fn segments(dir: &TempDir) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir.path().join("app")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn ids(lines: &[(u64, LogLine)]) -> Vec<u64> {
    lines.iter().map(|(id, _)| *id).collect()
}

fn since(store: &LogStore, after: u64, max: usize) -> Vec<(u64, LogLine)> {
    read::Cursor::new(store.log_of(&app()).unwrap(), after).read(max).unwrap()
}

type Lines = Pin<Box<dyn Stream<Item = (u64, LogLine)> + Send>>;

async fn follow(store: &LogStore, after: Option<u64>) -> Lines {
    Box::pin(store.follow(&app(), after).await.unwrap())
}

async fn next(lines: &mut Lines) -> (u64, String) {
    let (id, line) = lines.next().await.unwrap();
    (id, line.message)
}

#[tokio::test]
async fn lines_come_back_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path().join("logs"), LogLimits::default()).unwrap();
    let first = LogLine { target: "app::db".into(), message: "\"quoted\"\n\u{1b}[31mé".into(), ..line("") };
    assert_eq!(store.append(&app(), first.clone()).unwrap(), 1);
    assert_eq!(store.append_all(&app(), [line("b"), line("c")]).unwrap(), 3);
    assert_eq!(store.tail(&app(), 10).await.unwrap(), [(1, first), (2, line("b")), (3, line("c"))]);
    assert_eq!(ids(&store.tail(&app(), 2).await.unwrap()), [2, 3]);
    assert_eq!(ids(&since(&store, 1, 1)), [2]);
    assert_eq!(ids(&since(&store, 3, 10)), [0; 0]);
}

#[tokio::test]
async fn the_lines_of_one_deployment_are_told_by_the_end_of_its_id() {
    let (dir, limits) = small();
    let store = LogStore::open(dir.path(), limits).unwrap();
    for number in 0..9 {
        let deployment = if number % 3 == 0 { "0193-bbbbbb" } else { "0193-aaaaaa" };
        store.append(&app(), LogLine { deployment: deployment.into(), ..line(&format!("m{number}")) }).unwrap();
    }
    let of = async |n, deployment: &str| {
        let lines = store.tail_of(&app(), n, Some(deployment.to_owned())).await.unwrap();
        lines.into_iter().map(|(_, line)| line.message).collect::<Vec<_>>()
    };
    // Not the last two lines of all, but of this one, over the border of a segment.
    assert_eq!(of(2, "bbbbbb").await, ["m3", "m6"]);
    assert_eq!(of(1, "0193-aaaaaa").await, ["m8"]);
    assert!(of(9, "cccccc").await.is_empty());
}

#[tokio::test]
async fn reading_a_log_that_is_not_there_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path(), LogLimits::default()).unwrap();
    assert_eq!(store.tail(&app(), 10).await.unwrap(), []);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn old_segments_are_removed_and_ids_go_on() {
    let (dir, limits) = small();
    let store = LogStore::open(dir.path(), limits).unwrap();
    for i in 1..=40 {
        assert_eq!(store.append(&app(), line(&format!("m{i}"))).unwrap(), i);
    }
    assert_eq!(segments(&dir).len(), 3);
    assert!(segments(&dir).iter().all(|path| fs::metadata(path).unwrap().len() <= 400));
    let kept = ids(&store.tail(&app(), 100).await.unwrap());
    assert_eq!(kept, (kept[0]..=40).collect::<Vec<_>>());
    assert!(kept.len() >= 6, "{kept:?}");
    // What is gone is skipped.
    assert_eq!(ids(&since(&store, 0, 100)), kept);
    // A batch that does not fit one segment is spread over several.
    assert_eq!(store.append_all(&app(), (41..=60).map(|i| line(&format!("m{i}")))).unwrap(), 60);
    assert_eq!(segments(&dir).len(), 3);
    assert_eq!(ids(&store.tail(&app(), 2).await.unwrap()), [59, 60]);
}

#[tokio::test]
async fn ids_go_on_after_a_restart() {
    let (dir, limits) = small();
    for start in 0..5 {
        let store = LogStore::open(dir.path(), limits).unwrap();
        for i in 1..=3 {
            assert_eq!(store.append(&app(), line("m")).unwrap(), start * 3 + i);
        }
    }
    let store = LogStore::open(dir.path(), limits).unwrap();
    assert_eq!(ids(&since(&store, 9, 100)), [10, 11, 12, 13, 14, 15]);
}

#[tokio::test]
async fn a_line_that_a_crash_cut_off_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    LogStore::open(dir.path(), LogLimits::default()).unwrap().append(&app(), line("whole")).unwrap();
    let segment = segments(&dir).remove(0);
    for torn in [&br#"{"id":2,"time_ms":17000"#[..], &[0; 100]] {
        let length = fs::metadata(&segment).unwrap().len();
        OpenOptions::new().append(true).open(&segment).unwrap().write_all(torn).unwrap();
        let store = LogStore::open(dir.path(), LogLimits::default()).unwrap();
        assert_eq!(ids(&store.tail(&app(), 10).await.unwrap()), [1]);
        assert_eq!(fs::metadata(&segment).unwrap().len(), length);
    }
    let store = LogStore::open(dir.path(), LogLimits::default()).unwrap();
    assert_eq!(store.append(&app(), line("next")).unwrap(), 2);
    assert_eq!(ids(&store.tail(&app(), 10).await.unwrap()), [1, 2]);
}

#[tokio::test]
async fn a_long_line_is_cut_within_no_character() {
    let (dir, limits) = small();
    let store = LogStore::open(dir.path(), limits).unwrap();
    store.append(&app(), line(&format!("x{}", "é".repeat(100)))).unwrap();
    let lines = store.tail(&app(), 1).await.unwrap();
    assert_eq!(lines[0].1.message, format!("x{} … (102 bytes cut)", "é".repeat(49)));
}

#[tokio::test]
async fn following_neither_loses_nor_doubles_a_line() {
    let (dir, limits) = small();
    let limits = LogLimits { segments: 1000, ..limits };
    let store = LogStore::open(dir.path(), limits).unwrap();
    for _ in 0..20 {
        store.append(&app(), line("before")).unwrap();
    }
    let mut followers = Vec::new();
    for after in [0, 7, 20] {
        followers.push((after, follow(&store, Some(after)).await));
    }
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for i in 21..=500 {
                store.append(&app(), line("while")).unwrap();
                if i % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    for (after, mut lines) in followers {
        for wanted in after + 1..=500 {
            assert_eq!(next(&mut lines).await.0, wanted);
        }
        assert!(lines.next().now_or_never().is_none(), "more than was written");
    }
    writer.await.unwrap();
}

#[tokio::test]
async fn following_without_a_place_begins_now() {
    let (dir, limits) = small();
    let store = LogStore::open(dir.path(), limits).unwrap();
    store.append(&app(), line("old")).unwrap();
    let mut lines = follow(&store, None).await;
    assert!(lines.next().now_or_never().is_none());
    store.append(&app(), line("new")).unwrap();
    assert_eq!(next(&mut lines).await, (2, "new".into()));
}

#[tokio::test]
async fn a_follower_that_sleeps_through_rotations_goes_on_with_what_is_left() {
    let (dir, limits) = small();
    let store = LogStore::open(dir.path(), limits).unwrap();
    let mut lines = follow(&store, Some(0)).await;
    store.append(&app(), line("m")).unwrap();
    assert_eq!(next(&mut lines).await.0, 1);
    for _ in 0..50 {
        store.append(&app(), line("m")).unwrap();
    }
    let mut last = 1;
    while last < 51 {
        let (id, _) = next(&mut lines).await;
        assert!(id > last);
        last = id;
    }
}

#[tokio::test]
async fn an_id_of_another_log_is_taken_for_now() {
    let (dir, limits) = small();
    let store = LogStore::open(dir.path(), limits).unwrap();
    let mut lines = follow(&store, Some(1000)).await;
    store.append(&app(), line("m")).unwrap();
    assert_eq!(next(&mut lines).await.0, 1);
}

async fn lines_of(bytes: &[u8], max: usize, too_long: TooLong) -> Vec<String> {
    let mut reader = LineReader::new(bytes, max, too_long);
    let mut lines = Vec::new();
    while let Some(line) = reader.next_line().await.unwrap() {
        lines.push(line);
    }
    assert_eq!(reader.next_line().await.unwrap(), None);
    lines
}

#[tokio::test]
async fn a_pipe_is_read_as_lines_whatever_its_bytes() {
    let split = |bytes: &'static [u8]| lines_of(bytes, 8, TooLong::Split);
    assert_eq!(split(b"").await, [""; 0]);
    assert_eq!(split(b"a\n\nb\r\nc").await, ["a", "", "b", "c"]);
    assert_eq!(split(b"a\xffb\n").await, ["a\u{fffd}b"]);
    assert_eq!(split(b"12345678\n").await, ["12345678"]);
    assert_eq!(split(b"123456789\n").await, ["12345678", "9"]);
    assert_eq!(split("1234567éx\n".as_bytes()).await, ["1234567", "éx"]);
    assert_eq!(split(&[0x80; 10]).await, ["\u{fffd}".repeat(8), "\u{fffd}".repeat(2)]);
    assert_eq!(lines_of(b"1234567890\nb\n123456789", 8, TooLong::Drop).await, ["12345678", "b", "12345678"]);
    let long = "x".repeat(100_000);
    assert_eq!(lines_of(long.as_bytes(), 1000, TooLong::Split).await.concat(), long);
    assert_eq!(lines_of("\n".repeat(20_000).as_bytes(), 1000, TooLong::Drop).await.len(), 20_000);
}

#[tokio::test]
async fn a_line_is_given_out_as_soon_as_it_is_there() {
    let (mut app, pipe) = tokio::io::duplex(64);
    let mut reader = LineReader::new(pipe, 8, TooLong::Split);
    app.write_all(b"one\ntw").await.unwrap();
    assert_eq!(reader.next_line().await.unwrap().as_deref(), Some("one"));
    assert!(reader.next_line().now_or_never().is_none());
    app.write_all(b"o\n").await.unwrap();
    assert_eq!(reader.next_line().await.unwrap().as_deref(), Some("two"));
}

#[tokio::test]
async fn output_and_records_reach_the_log() {
    let (dir, _) = small();
    let store = LogStore::open(dir.path(), LogLimits::default()).unwrap();
    for (source, bytes) in [(LogSource::Stdout, &b"to stdout\n"[..]), (LogSource::Stderr, b"to stderr")] {
        pump_output(store.clone(), app(), "d1".into(), source, bytes).await.unwrap();
    }
    let records = [
        r#"{"time_us":1,"level":"error","target":"app::db","message":"record"}"#.to_owned(),
        "no record".to_owned(),
        "x".repeat(shuttle_abi::log::MAX_RECORD + 1),
        String::new(),
    ];
    pump_records(store.clone(), app(), "d1".into(), records.join("\n").as_bytes()).await.unwrap();
    let lines: Vec<_> = store.tail(&app(), 10).await.unwrap().into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines.len(), 5);
    assert!(lines.iter().all(|line| line.deployment == "d1" && line.time_ms > 1_600_000_000_000));
    let said: Vec<_> = lines[..4].iter().map(|l| (l.source, l.level, l.target.as_str(), l.message.as_str())).collect();
    assert_eq!(
        said,
        [
            (LogSource::Stdout, LogLevel::Info, "", "to stdout"),
            (LogSource::Stderr, LogLevel::Warn, "", "to stderr"),
            (LogSource::App, LogLevel::Error, "app::db", "record"),
            (LogSource::App, LogLevel::Info, "", "no record"),
        ]
    );
    assert!(lines[4].message.ends_with("bytes cut)"));
}

#[tokio::test]
async fn followers_of_a_deleted_project_get_what_was_said_and_then_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path(), LogLimits::default()).unwrap();
    let (mut behind, mut waiting) = (follow(&store, Some(0)).await, follow(&store, None).await);
    assert!(waiting.next().now_or_never().is_none());
    store.append(&app(), line("last words")).unwrap();
    store.end(&app());
    for lines in [&mut behind, &mut waiting] {
        assert_eq!(next(lines).await, (1, "last words".to_owned()));
        assert!(lines.next().await.is_none());
    }
    // Deployed again, it can be followed again.
    let mut again = follow(&store, Some(1)).await;
    store.append(&app(), line("back")).unwrap();
    assert_eq!(next(&mut again).await, (2, "back".to_owned()));

    store.remove(&app()).await.unwrap();
    assert!(again.next().await.is_none());
    assert!(!dir.path().join("app").exists());
    assert_eq!(store.append(&app(), line("anew")).unwrap(), 1);
    store.remove(&"other".parse().unwrap()).await.unwrap();
}
