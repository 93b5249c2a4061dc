//! Whatever lies in the server's folders, it starts, answers, and removes what is not needed any more. Nothing is built here.

use std::{
    fs,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use reqwest::Method;
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

use crate::platform::{Platform, binaries, text};

/// As many folders, one in the other, end a process that removes them by recursion.
const DEEP: usize = 20_000;

/// How long the trash may take: a disk that others use as well removes a thousand folders in a second.
const EMPTIED: Duration = Duration::from_secs(300);

/// Makes folders, one in the other.
fn nested(outermost: &Path, depth: usize) {
    fs::create_dir_all(outermost).unwrap();
    let open = |at: &OwnedFd, name: &str| openat(at, name, OFlags::DIRECTORY, Mode::empty()).unwrap();
    let mut folder = openat(CWD, outermost, OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&folder, "d", Mode::RWXU).unwrap();
        folder = open(&folder, "d");
    }
}

fn cache(data: &Path, arguments: &[&str]) -> Output {
    Command::new(binaries().join("platform-server")).arg("cache").args(arguments).arg("--data-dir").arg(data).output().unwrap()
}

/// Every file below, with its owner and its size.
fn everything(folder: &Path) -> Vec<(String, u32, u64)> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                folders.push(entry.path());
            }
            found.push((entry.path().display().to_string(), metadata.uid(), metadata.size()));
        }
    }
    found.sort();
    found
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[tokio::test]
async fn a_server_starts_and_answers_whatever_lies_in_its_folders() {
    let mut platform = Platform::start(&[]);
    let data = platform.data();

    // Beside a running server, and after it was killed.
    for _ in 0..2 {
        let before = everything(&data);
        let shown = cache(&data, &[]);
        assert!(shown.status.success() && !text(&shown).contains("numbers"), "{}", text(&shown));
        assert_eq!(everything(&data), before, "looking at the caches changes nothing");
        platform.kill();
    }

    let left = ["deployments/unknown", "archives/.tmpA1b2C3", "builds/.tmpA1b2C3", "builds/9/.tmp-dependenciesA1b2C3", "trash/a"];
    for folder in left {
        nested(&data.join(folder), 10);
    }
    for folder in ["builds/9/.tmp-dependenciesA1b2C3/deep", "trash/a/deep"] {
        nested(&data.join(folder), DEEP);
    }
    fs::write(data.join("builds/3.lock"), "").unwrap();
    fs::write(data.join(".tmpA1b2C3"), "half a key").unwrap();
    platform.start_again();
    assert_eq!(platform.api(Method::GET, "/projects").send().await.unwrap().text().await.unwrap(), "[]");
    for gone in left.iter().chain(&["builds/3.lock", ".tmpA1b2C3"]).filter(|left| !left.starts_with("trash/")) {
        assert!(!data.join(gone).exists(), "{gone} is out of its place when the server is ready");
    }
    let begun = Instant::now();
    while !is_empty(&data.join("trash")) {
        assert!(begun.elapsed() < EMPTIED, "the trash is not emptied: {}", platform.server_log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn clearing_the_caches_goes_past_what_cannot_be_removed() {
    // What root cannot remove is a place where something is mounted, and mounting is root's.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut platform = Platform::start(&[]);
    let data = platform.data();
    platform.kill();
    nested(&data.join("builds/7/target/deep"), DEEP);
    for folder in ["builds/8/target/mounted", "builds/9/target"] {
        fs::create_dir_all(data.join(folder)).unwrap();
    }
    let script = "mount -t tmpfs none \"$1/builds/8/target/mounted\" && exec \"$2\" cache --clear --data-dir \"$1\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(&data).arg(binaries().join("platform-server"));
    let said = command.output().unwrap();
    let rows = String::from_utf8_lossy(&said.stdout);
    assert_eq!(said.status.code(), Some(1), "{}", text(&said));
    assert_eq!(rows.matches("B  removed").count(), 2, "{rows}");
    assert!(rows.contains("not removed") && rows.contains("mounted in it"), "{rows}");
    assert!(text(&said).contains("1 of 3 could not be removed whole") && text(&said).contains("hint: "), "{}", text(&said));
    assert_eq!(everything(&data.join("builds")), [], "what is left is out of the way");
    // Another user's server could not open what root makes there.
    std::os::unix::fs::chown(data.join("builds"), Some(65_534), None).unwrap();
    let said = cache(&data, &["--clear"]);
    assert!(!said.status.success() && text(&said).contains("belongs to another user (uid 65534)"), "{}", text(&said));
    std::os::unix::fs::chown(data.join("builds"), Some(0), None).unwrap();
    platform.start_again();
    let begun = Instant::now();
    while !is_empty(&data.join("trash")) {
        assert!(begun.elapsed() < EMPTIED, "the trash is not emptied: {}", platform.server_log());
        std::thread::sleep(Duration::from_millis(10));
    }
}
