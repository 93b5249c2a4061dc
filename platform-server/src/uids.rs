//! The user ids that code of others runs under.
//!
//! Where the server is root, it has a range of uids of its own, which no other server on the machine has: chosen when
//! its data directory is made, held by a lock while it runs. Within it, each project has one uid for its builds, one for
//! its app and one for its Redis, and the platform one each for fetching and for Postgres.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    ops::Range,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use crate::data_dir::private_file;

/// First uid of the first range: above what distributions, containers and systemd give out.
const FIRST: u32 = 1_879_048_192;
/// Uids in a range: room for 16,000 projects.
const SIZE: u32 = 65_536;
/// Ranges on one machine.
const RANGES: u32 = 3_000;
/// Projects begin here in a range; below are the platform's own.
const PROJECTS: u32 = 16;

/// The server's uids; all `None` where it is not root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Uids {
    base: Option<u32>,
}

impl Uids {
    /// For a server that is not root.
    pub(crate) const fn none() -> Self {
        Self { base: None }
    }

    pub(crate) fn range(self) -> Option<Range<u32>> {
        self.base.map(|base| base..base + SIZE)
    }

    pub(crate) fn fetch(self) -> Option<u32> {
        self.base.map(|base| base + 1)
    }

    pub(crate) fn postgres(self) -> Option<u32> {
        self.base.map(|base| base + 2)
    }

    pub(crate) fn app(self, project_id: i64) -> Option<u32> {
        self.of_project(project_id, 0)
    }

    pub(crate) fn build(self, project_id: i64) -> Option<u32> {
        self.of_project(project_id, 1)
    }

    pub(crate) fn redis(self, project_id: i64) -> Option<u32> {
        self.of_project(project_id, 2)
    }

    /// Wraps around after 16,000 projects; row numbers are never used twice, so that is after as many creations.
    fn of_project(self, project_id: i64, offset: u32) -> Option<u32> {
        let slots = (SIZE - PROJECTS) / 4;
        let slot = u32::try_from(project_id.rem_euclid(i64::from(slots))).unwrap_or(0);
        self.base.map(|base| base + PROJECTS + slot * 4 + offset)
    }
}

/// A range that this server holds; another server can take it once this is dropped.
#[derive(Debug)]
pub(crate) struct UidRange {
    pub(crate) number: u32,
    _lock: File,
}

impl UidRange {
    /// Takes the range `known` (from an earlier start), or the first that no data directory on this machine has.
    pub(crate) fn take(locks: &Path, data_dir: &Path, known: Option<u32>) -> io::Result<Self> {
        fs::create_dir_all(locks)?;
        if let Some(number) = known {
            return Self::lock(locks, number, data_dir, true)?.ok_or_else(|| {
                io::Error::other(format!(
                    "the uid range {number} of this data directory is in use by another server; was the directory copied?"
                ))
            });
        }
        for number in 0..RANGES {
            if let Some(range) = Self::lock(locks, number, data_dir, false)? {
                return Ok(range);
            }
        }
        Err(io::Error::other("every uid range is taken by some server on this machine"))
    }

    fn lock(locks: &Path, number: u32, data_dir: &Path, known: bool) -> io::Result<Option<Self>> {
        let path = locks.join(format!("uids-{number}"));
        let mut file = private_file(&path)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        let mut owner = String::new();
        file.read_to_string(&mut owner)?;
        // A range whose server is stopped still belongs to its data directory, as long as that exists.
        let free = owner.is_empty() || Path::new(&owner) == data_dir || !Path::new(&owner).exists();
        if !known && !free {
            return Ok(None);
        }
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(data_dir.as_os_str().as_encoded_bytes())?;
        Ok(Some(Self { number, _lock: file }))
    }

    pub(crate) fn uids(&self) -> Uids {
        Uids { base: Some(FIRST + self.number * SIZE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_servers_never_share_a_range_and_each_keeps_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::create_dir_all(&a).unwrap();
        fs::create_dir_all(&b).unwrap();
        let first = UidRange::take(folder.path(), &a, None).unwrap();
        let second = UidRange::take(folder.path(), &b, None).unwrap();
        assert_ne!(first.number, second.number);
        assert!(UidRange::take(folder.path(), &b, Some(first.number)).is_err());
        let number = first.number;
        drop(first);
        // Stopped, but its data is still there.
        assert_ne!(UidRange::take(folder.path(), &folder.path().join("c"), None).unwrap().number, number);
        assert_eq!(UidRange::take(folder.path(), &a, Some(number)).unwrap().number, number);
    }

    #[test]
    fn uids_of_a_project_are_its_own() {
        let uids = Uids { base: Some(FIRST) };
        let mut all: Vec<u32> = (1..=100).flat_map(|id| [uids.app(id), uids.build(id), uids.redis(id)]).flatten().collect();
        all.extend(uids.fetch().into_iter().chain(uids.postgres()));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(all.iter().all(|uid| uids.range().unwrap().contains(uid)));
    }
}
