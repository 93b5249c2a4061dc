//! The projects' names, read beside a running server or without one: no file of the database is changed, and none is made.

use std::{collections::HashMap, path::Path};

use rusqlite::{Connection, OpenFlags};

use super::{DbError, MIGRATIONS};

/// Projects that are not deleted, by their numbers. The database may be one of an earlier version.
pub(crate) fn project_names(path: &Path) -> Result<HashMap<i64, String>, DbError> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        Path::new(&name).exists()
    };
    // With these two files there, SQLite reads them; otherwise it would make them, and they would belong to whoever looks.
    // A database that was closed in order has none, and one that nobody has open does not change.
    let how = if beside("-wal") && beside("-shm") { "mode=ro&readonly_shm=1" } else { "mode=ro&immutable=1" };
    read(path, how)
}

fn read(path: &Path, how: &str) -> Result<HashMap<i64, String>, DbError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(format!("{}?{how}", uri(path)), flags)?;
    let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version as usize > MIGRATIONS.len() {
        return Err(DbError::Newer(version));
    }
    // As it has been since the first version.
    let mut statement = connection.prepare("SELECT id, name FROM project WHERE deleted_at IS NULL")?;
    let names = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(names.collect::<Result<_, _>>()?)
}

fn uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt};

    use super::*;
    use crate::db::{Db, migrate};

    /// What of a folder must not change: names, contents, owners, times.
    fn state(folder: &Path) -> BTreeMap<String, (Vec<u8>, u32, i64)> {
        let entry = |entry: fs::DirEntry| {
            let metadata = entry.metadata().unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, (fs::read(entry.path()).unwrap(), metadata.uid(), metadata.mtime_nsec()))
        };
        fs::read_dir(folder).unwrap().map(|found| entry(found.unwrap())).collect()
    }

    fn of_version(path: &Path, version: usize) -> Connection {
        let mut db = Connection::open(path).unwrap();
        db.execute_batch("PRAGMA journal_mode = WAL").unwrap();
        migrate(&mut db, &MIGRATIONS[..version]).unwrap();
        db.execute_batch("INSERT INTO project VALUES (7, 'app', 1, NULL), (8, 'gone', 1, 2)").unwrap();
        db
    }

    fn app() -> HashMap<i64, String> {
        HashMap::from([(7, "app".to_owned())])
    }

    #[test]
    fn a_database_of_any_version_is_read_and_left_as_it_is() {
        for version in 1..=MIGRATIONS.len() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("100% of? #.db");
            drop(of_version(&path, version));
            let before = state(folder.path());
            assert_eq!(before.len(), 1, "it was closed in order");
            assert_eq!(project_names(&path).unwrap(), app());
            assert_eq!(state(folder.path()), before, "version {version}");
        }
    }

    #[test]
    fn what_a_killed_server_left_is_read_with_its_log_and_left_as_it_is() {
        let (folder, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let db = of_version(&folder.path().join("a.db"), 1);
        for entry in fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), killed.path().join(entry.file_name())).unwrap();
        }
        drop(db);
        let before = state(killed.path());
        assert_eq!(before.len(), 3);
        assert_eq!(project_names(&killed.path().join("a.db")).unwrap(), app());
        assert_eq!(state(killed.path()), before);
    }

    #[tokio::test]
    async fn a_newer_one_is_refused_and_one_that_is_not_there_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("platform.db");
        assert!(project_names(&path).is_err() && state(folder.path()).is_empty());
        drop(Db::open(&path).unwrap());
        Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
        let before = state(folder.path());
        assert!(matches!(project_names(&path), Err(DbError::Newer(99))));
        assert!(matches!(Db::open(&path), Err(DbError::Newer(99))));
        assert_eq!(state(folder.path()), before);
    }
}
