//! One archive for each thing that is refused, written block by block, as no honest program writes it.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use tar::{EntryType, Header};

use super::{error::PathFault, *};

const INDEX: &str = r#"{"format":1,"package":"app","crate_name":"app","workspace_root":"","package_root":"",
    "sdk_version":"0.1.0","cli_version":"0.1.0"}"#;

/// Writes tar blocks.
struct Tar(Vec<u8>);

impl Tar {
    /// An archive that has what each needs.
    fn new() -> Self {
        Self(Vec::new()).file(INDEX_NAME, INDEX).file("Cargo.toml", "").file("Cargo.lock", "")
    }

    fn entry(mut self, kind: EntryType, name: &[u8], mode: u32, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_link_name_literal("/etc/passwd").unwrap();
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, name.as_bytes(), 0o644, content.as_bytes())
    }

    fn folder(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name.as_bytes(), 0o755, b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        gzip(&self.0)
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn pax(record: &str) -> String {
    // The length counts itself; all records here are below 100 bytes.
    format!("{} {record}\n", record.len() + 4)
}

/// Unpacks into a folder of its own, and checks that nothing else appears.
fn unpack_with(archive: &[u8], limits: &ArchiveLimits) -> Result<(tempfile::TempDir, ArchiveIndex), ArchiveError> {
    let outside = tempfile::tempdir().unwrap();
    let into = outside.path().join("files");
    let unpacked = unpack(archive, &into, limits);
    let there: Vec<_> = fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    match unpacked {
        Ok(index) => {
            assert_eq!(there, ["files"]);
            Ok((outside, index))
        }
        Err(error) => {
            assert!(there.iter().all(|name| name == "files"), "{error}: {there:?}");
            Err(error)
        }
    }
}

fn refusal(archive: &[u8]) -> (String, Refusal) {
    refusal_with(archive, &ArchiveLimits::default())
}

fn refusal_with(archive: &[u8], limits: &ArchiveLimits) -> (String, Refusal) {
    match unpack_with(archive, limits) {
        Err(ArchiveError::Refused { entry, refusal, .. }) => (entry, refusal),
        other => panic!("not refused: {other:?}"),
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn files_and_folders_are_unpacked_with_plain_modes() {
    let long = format!("{}/{}.rs", "d".repeat(120), "f".repeat(120));
    let archive = Tar::new()
        .folder("empty/")
        .entry(EntryType::Regular, b"run.sh", 0o6711, b"#!/bin/sh")
        .file("src/lib.rs", "//! x")
        .folder("src/")
        .entry(EntryType::GNULongName, b"././@LongLink", 0o644, format!("{long}\0").as_bytes())
        .file("cut", "long")
        .entry(EntryType::XHeader, b"PaxHeaders/x", 0o644, (pax("path=by/pax") + &pax("mtime=1.5")).as_bytes())
        .file("cut", "pax")
        .end();
    let (folder, index) = unpack_with(&archive, &ArchiveLimits::default()).unwrap();
    assert_eq!(index.package, "app");
    let files = folder.path().join("files");
    assert!(!files.join(INDEX_NAME).exists());
    assert!(!files.join("cut").exists());
    assert_eq!(fs::read_to_string(files.join("src/lib.rs")).unwrap(), "//! x");
    assert_eq!(fs::read_to_string(files.join(&long)).unwrap(), "long");
    assert_eq!(fs::read_to_string(files.join("by/pax")).unwrap(), "pax");
    for (path, wanted) in [("", 0o755), ("empty", 0o755), ("src", 0o755), ("src/lib.rs", 0o644), ("run.sh", 0o755)] {
        assert_eq!(mode(&files.join(path)), wanted, "{path}");
    }
}

#[test]
fn what_the_tar_crate_writes_is_read() {
    let long = format!("{}/{}/lib.rs", "ü".repeat(100), "d".repeat(250));
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in [(INDEX_NAME, INDEX), ("Cargo.toml", ""), ("Cargo.lock", ""), (long.as_str(), "//! x")] {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    let (folder, _) = unpack_with(&gzip(&tar.into_inner().unwrap()), &ArchiveLimits::default()).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("files").join(long)).unwrap(), "//! x");
}

#[test]
fn a_workspace_in_a_folder_is_found_by_its_index() {
    let index = INDEX
        .replace(r#""workspace_root":"""#, r#""workspace_root":"ws""#)
        .replace(r#""package_root":"""#, r#""package_root":"ws/app""#);
    let archive = Tar(Vec::new()).file(INDEX_NAME, &index).file("ws/Cargo.toml", "").file("ws/Cargo.lock", "");
    let whole = Tar(archive.0.clone()).file("ws/app/Cargo.toml", "").file(INDEX_NAME, "the user's own").end();
    let (folder, _) = unpack_with(&whole, &ArchiveLimits::default()).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("files").join(INDEX_NAME)).unwrap(), "the user's own");
    assert_eq!(refusal(&archive.end()), (INDEX_NAME.into(), Refusal::Missing { path: "ws/app/Cargo.toml".into() }));
}

#[test]
fn what_is_no_whole_gzip_file_is_refused() {
    assert_eq!(refusal(b"PK\x03\x04 something else").1, Refusal::NotGzip);
    assert_eq!(refusal(b""), (String::new(), Refusal::Empty));
    assert_eq!(refusal(&gzip(b"")).1, Refusal::NoEntries);
    assert_eq!(refusal(&gzip(&[7; 2048])).1, Refusal::Checksum);
    let whole = Tar::new().file("a", &"text ".repeat(1000)).end();
    for cut in 1..whole.len() {
        let (_, refusal) = refusal(&whole[..cut]);
        assert!(matches!(refusal, Refusal::Truncated | Refusal::NotGzip), "cut at {cut}: {refusal:?}");
    }
    let mut damaged = whole.clone();
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    assert!(matches!(refusal(&damaged).1, Refusal::Damaged(_)));
}

#[test]
fn an_archive_without_its_end_is_refused() {
    assert_eq!(refusal(&gzip(&Tar::new().0)).1, Refusal::Truncated);
    let cut = Tar::new().file("a", "content").0;
    assert_eq!(refusal(&gzip(&cut[..cut.len() - 1])), ("a".into(), Refusal::Truncated));
    let name_of_nothing = Tar::new().entry(EntryType::GNULongName, b"l", 0o644, b"name").end();
    assert_eq!(refusal(&name_of_nothing).1, Refusal::Truncated);
}

#[test]
fn what_follows_the_end_is_refused_unless_it_is_padding() {
    let mut padded = Tar::new().0;
    padded.resize(padded.len() + 10_240, 0);
    assert!(unpack_with(&gzip(&padded), &ArchiveLimits::default()).is_ok());
    padded.push(1);
    assert_eq!(refusal(&gzip(&padded)).1, Refusal::TrailingData);
    assert_eq!(refusal(&[Tar::new().end(), b"x".to_vec()].concat()).1, Refusal::TrailingData);
    assert_eq!(refusal(&[Tar::new().end(), Tar::new().end()].concat()).1, Refusal::TrailingData);
    let bomb = [Tar::new().0, vec![0; 2 << 20]].concat();
    assert_eq!(refusal(&gzip(&bomb)).1, Refusal::TrailingData);
}

#[test]
fn paths_that_leave_the_folder_or_are_not_plain_are_refused() {
    for (path, fault) in [
        (&b"../evil"[..], PathFault::Parent),
        (b"a/../../evil", PathFault::Parent),
        (b"/etc/evil", PathFault::Absolute),
        (b"./a", PathFault::NotPlain),
        (b"a\\b", PathFault::Backslash),
        (b"a\x1b[2J", PathFault::Control),
        (b"a\xff", PathFault::NotUtf8),
    ] {
        for kind in [EntryType::Regular, EntryType::Directory] {
            assert_eq!(refusal(&Tar::new().entry(kind, path, 0o644, b"").end()).1, Refusal::Path(fault), "{path:?}");
        }
        let long = Tar::new().entry(EntryType::GNULongName, b"l", 0o644, path).file("harmless", "").end();
        assert_eq!(refusal(&long).1, Refusal::Path(fault), "{path:?} as a long name");
    }
    let by_pax = Tar::new().entry(EntryType::XHeader, b"x", 0o644, pax("path=../evil").as_bytes()).file("harmless", "").end();
    assert_eq!(refusal(&by_pax), ("../evil".into(), Refusal::Path(PathFault::Parent)));
    let nameless = Tar::new().entry(EntryType::GNULongName, b"l", 0o644, b"\0").file("harmless", "").end();
    assert_eq!(refusal(&nameless).1, Refusal::Path(PathFault::Empty));
}

#[test]
fn a_refused_name_is_shown_without_its_control_characters() {
    let (entry, _) = refusal(&Tar::new().file("a\x1b[2Jb", "").end());
    assert_eq!(entry, r"a\u{1b}[2Jb");
}

#[test]
fn links_devices_and_the_rest_are_refused() {
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::GNUSparse,
        EntryType::GNULongLink,
        EntryType::new(b'Z'),
    ] {
        let (entry, refusal) = refusal(&Tar::new().entry(kind, b"thing", 0o644, b"").end());
        assert_eq!(entry, "thing");
        assert!(matches!(refusal, Refusal::EntryType(_)), "{kind:?}: {refusal:?}");
    }
}

#[test]
fn extended_headers_that_change_what_an_entry_is_are_refused() {
    for record in ["size=1", "linkpath=/etc", "GNU.sparse.major=1", "SCHILY.xattr.security.capability=x"] {
        let archive = Tar::new().entry(EntryType::XHeader, b"x", 0o644, pax(record).as_bytes()).file("a", "").end();
        assert!(matches!(refusal(&archive).1, Refusal::Extension(_)), "{record}");
    }
    let global = Tar::new().entry(EntryType::XGlobalHeader, b"g", 0o644, pax("path=b").as_bytes()).file("a", "").end();
    assert_eq!(refusal(&global).1, Refusal::Extension("path".into()));
    let malformed = Tar::new().entry(EntryType::XHeader, b"x", 0o644, b"rubbish").file("a", "").end();
    assert_eq!(refusal(&malformed).1, Refusal::ExtendedHeader);
}

#[test]
fn a_field_that_is_no_number_is_named_with_the_entry_and_its_place() {
    for (field, at) in [("mode", 100..107), ("size", 124..135)] {
        let mut tar = Tar::new().file("a", "").file("src/lib.rs", "").file("z", "").0;
        let header = &mut tar[512 * 5..512 * 6];
        header[at].fill(b'x');
        let mut right = Header::from_byte_slice(header).clone();
        right.set_cksum();
        header.copy_from_slice(right.as_bytes());
        let error = unpack_with(&gzip(&tar), &ArchiveLimits::default()).unwrap_err().to_string();
        let wanted = format!(
            "the archive was refused at its entry number 5, `src/lib.rs`: the field `{field}` of its header is no number"
        );
        assert_eq!(error, wanted);
    }
}

#[test]
fn a_small_archive_that_implies_many_folders_is_refused_before_they_are_made() {
    // 62 folders each; what cargo-shuttle packs of a project has fewer folders than files.
    let deep = |number: u32| format!("{number}/{}file", "d/".repeat(61));
    let tar = (0..2_900)
        .fold(Tar::new(), |tar, number| tar.entry(EntryType::GNULongName, b"l", 0o644, deep(number).as_bytes()).file("x", ""));
    let archive = tar.end();
    assert!(archive.len() < 100_000, "{} bytes imply 180,000 folders", archive.len());
    let folder = tempfile::tempdir().unwrap();
    let limits = ArchiveLimits { folders: 500, ..ArchiveLimits::default() };
    let error = unpack(archive.as_slice(), &folder.path().join("files"), &limits).unwrap_err();
    assert!(matches!(&error, ArchiveError::Refused { refusal: Refusal::TooManyFolders { limit: 500 }, .. }), "{error}");
    assert!(error.is_over_limit() && error.limit_flag() == Some("--max-archive-folders"));
    let (mut made, mut next) = (0, vec![folder.path().join("files")]);
    while let Some(folder) = next.pop() {
        let inner = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
        let before = next.len();
        next.extend(inner);
        made += next.len() - before;
    }
    assert_eq!(made, 500);
    assert!(ArchiveLimits::default().folders * 2 < 180_000);
}

#[test]
fn one_name_for_two_things_is_refused() {
    assert_eq!(refusal(&Tar::new().file("a", "1").file("a", "2").end()), ("a".into(), Refusal::Duplicate));
    assert_eq!(refusal(&Tar::new().file("a", "").file("a/b", "").end()), ("a/b".into(), Refusal::Conflict));
    assert_eq!(refusal(&Tar::new().file("a/b", "").file("a", "").end()), ("a".into(), Refusal::Conflict));
    assert_eq!(refusal(&Tar::new().file("a", "").folder("a/").end()), ("a/".trim_end_matches('/').into(), Refusal::Conflict));
    assert_eq!(refusal(&Tar::new().folder("a/").file("a", "").end()), ("a".into(), Refusal::Conflict));
    // Folders may be named again, and names that differ in case only are different.
    assert!(unpack_with(&Tar::new().folder("a/").folder("a/").file("A", "").end(), &ArchiveLimits::default()).is_ok());
}

#[test]
fn a_file_that_is_also_a_folder_is_refused() {
    assert_eq!(refusal(&Tar::new().file("a/", "x").end()), ("a/".into(), Refusal::FileNamedAsFolder));
    assert_eq!(
        refusal(&Tar::new().entry(EntryType::Directory, b"a/", 0o755, b"x").end()).1,
        Refusal::FolderWithContent { bytes: 1 }
    );
}

#[test]
fn a_wrong_checksum_is_refused() {
    let mut tar = Tar::new().0;
    tar[512 * 2] ^= 1;
    let error = unpack_with(&gzip(&tar), &ArchiveLimits::default()).unwrap_err();
    let wanted =
        "the archive was refused at its entry number 2: the checksum of its header is wrong; it is damaged, or no tar archive";
    assert_eq!(error.to_string(), wanted);
}

#[test]
fn each_limit_holds() {
    let limits = ArchiveLimits {
        entries: 8,
        folders: 6,
        unpacked_bytes: 100,
        file_bytes: 60,
        index_bytes: 4096,
        path_bytes: 40,
        path_depth: 4,
    };
    let of = |tar: Tar| refusal_with(&tar.end(), &limits);
    let many = (0..6).fold(Tar::new(), |tar, i| tar.file(&format!("f{i}"), ""));
    assert_eq!(of(many), ("f5".into(), Refusal::TooManyEntries { limit: 8 }));
    assert_eq!(of(Tar::new().file("1/2/3/4", "").file("5/6/7", "")).1, Refusal::TooManyEntries { limit: 8 });
    let fewer = ArchiveLimits { folders: 3, entries: 100, ..limits.clone() };
    let folders = |tar: Tar| refusal_with(&tar.end(), &fewer).1;
    assert_eq!(folders(Tar::new().file("1/2/3/a", "").folder("4/")), Refusal::TooManyFolders { limit: 3 });
    assert_eq!(
        folders(Tar::new().folder("1/").folder("1/").folder("2/").file("3/4/a", "")),
        Refusal::TooManyFolders { limit: 3 }
    );
    assert!(unpack_with(&Tar::new().folder("1/").folder("1/").file("2/3/a", "").file("2/3/b", "").end(), &fewer).is_ok());
    assert_eq!(of(Tar::new().file("a", &"x".repeat(61))), ("a".into(), Refusal::FileTooLarge { limit: 60 }));
    let much = Tar::new().file("a", &"x".repeat(60)).file("b", &"x".repeat(41));
    assert_eq!(of(much), ("b".into(), Refusal::UnpacksToTooMuch { limit: 100 }));
    assert_eq!(of(Tar::new().file("1/2/3/4/5", "")).1, Refusal::Path(PathFault::TooDeep(4)));
    assert_eq!(of(Tar::new().file(&"x".repeat(41), "")).1, Refusal::Path(PathFault::TooLong(40)));
    assert_eq!(of(Tar(Vec::new()).file(INDEX_NAME, &"x".repeat(4097))).1, Refusal::IndexTooLarge { limit: 4096 });
    let longest = Tar::new().entry(EntryType::GNULongName, b"l", 0o644, &[b'x'; 65 * 1024]).file("a", "");
    assert_eq!(of(longest).1, Refusal::Path(PathFault::TooLong(40)));
}

#[test]
fn a_size_that_is_a_lie_is_refused_before_anything_is_reserved() {
    let mut tar = Tar::new().0;
    let mut header = Header::new_gnu();
    header.set_path("a").unwrap();
    header.set_mode(0o644);
    header.set_size(u64::MAX);
    header.set_cksum();
    tar.extend_from_slice(header.as_bytes());
    assert!(matches!(refusal(&gzip(&tar)).1, Refusal::FileTooLarge { .. }));
}

#[test]
fn the_index_has_to_come_first_and_make_sense() {
    assert_eq!(refusal(&Tar(Vec::new()).file("a", "").end()).1, Refusal::NoIndex);
    assert_eq!(refusal(&Tar(Vec::new()).folder(INDEX_NAME).end()).1, Refusal::NoIndex);
    for (from, to) in [
        (r#""format":1"#, r#""form":1"#),
        (r#""package":"app""#, r#""package":"--config""#),
        (r#""package":"app""#, r#""package":"file:///etc""#),
        (r#""crate_name":"app""#, r#""crate_name":"a/../b""#),
        (r#""crate_name":"app""#, r#""crate_name":"""#),
        (r#""workspace_root":"""#, r#""workspace_root":"..""#),
        (r#""package_root":"""#, r#""package_root":"/etc""#),
        (r#""sdk_version":"0.1.0""#, r#""sdk_version":"\u001b""#),
        ("{", "["),
    ] {
        let index = INDEX.replacen(from, to, 1);
        let (entry, refusal) = refusal(&Tar(Vec::new()).file(INDEX_NAME, &index).file("Cargo.toml", "").end());
        assert_eq!(entry, INDEX_NAME);
        assert!(matches!(refusal, Refusal::BadIndex(_)), "{to}: {refusal:?}");
    }
}

#[test]
fn another_format_says_which_side_to_update() {
    for (found, side) in [(2, "update the server"), (0, "update cargo-shuttle")] {
        let index = format!(r#"{{"format":{found}}}"#);
        let (_, refusal) = refusal(&Tar(Vec::new()).file(INDEX_NAME, &index).end());
        assert_eq!(refusal, Refusal::Format { found, known: 1 });
        assert!(refusal.to_string().contains(side), "{refusal}");
    }
}

#[test]
fn an_existing_folder_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("precious"), "").unwrap();
    let error = unpack(Tar::new().end().as_slice(), folder.path(), &ArchiveLimits::default()).unwrap_err();
    assert!(!error.is_refusal());
    assert!(folder.path().join("precious").exists());
}

#[test]
fn a_broken_source_is_no_refusal() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let archive = Tar::new().end();
    let reader = archive[..40].chain(Broken);
    let error = unpack(reader, &folder.path().join("files"), &ArchiveLimits::default()).unwrap_err();
    assert!(matches!(error, ArchiveError::Read(error) if error.kind() == io::ErrorKind::ConnectionReset));
}

proptest! {
    /// `unpack_with` checks that only the folder appears.
    #[test]
    fn no_bytes_write_elsewhere(bytes in proptest::collection::vec(any::<u8>(), 0..2048), packed: bool) {
        let _ = unpack_with(&if packed { gzip(&bytes) } else { bytes }, &ArchiveLimits::default());
    }

    #[test]
    fn no_change_of_an_archive_writes_elsewhere(
        changes in proptest::collection::vec((0usize..7000, any::<u8>()), 1..8),
        names in proptest::collection::vec("[a./\\\\]{1,12}", 1..6),
        kinds in proptest::collection::vec(proptest::sample::select(&b"0125LxKSg7"[..]), 1..6),
    ) {
        let mut tar = names.iter().zip(&kinds).fold(Tar::new(), |tar, (name, kind)| {
            tar.entry(EntryType::new(*kind), name.as_bytes(), 0o7777, b"../up")
        });
        for (at, value) in changes {
            let length = tar.0.len();
            tar.0[at % length] = value;
        }
        // Wrong checksums would hide all but the first check.
        for block in tar.0.chunks_exact_mut(512) {
            if block[257..262] == *b"ustar" {
                let mut header = Header::from_byte_slice(block).clone();
                header.set_cksum();
                block.copy_from_slice(header.as_bytes());
            }
        }
        let _ = unpack_with(&tar.end(), &ArchiveLimits::default());
    }
}
