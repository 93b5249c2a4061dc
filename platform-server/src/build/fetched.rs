//! Whether a fetch can be left out: the same manifests, lockfile and configuration were fetched for this project a short
//! while ago. Starting cargo for nothing takes as long as compiling a one-line change.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest as _, Sha256};

use super::toolchain::Toolchain;
use crate::deployment::Digest;

/// After so long cargo is asked again. It removes crates that it has not been asked for in a month.
const VALID: Duration = Duration::from_secs(24 * 60 * 60);

/// The file's name, beside the build tree.
pub(super) const FETCHED: &str = "fetched";

/// What is to be fetched, and the file that says what was.
#[derive(Debug)]
pub(super) struct Marker {
    file: PathBuf,
    key: Digest,
}

impl Marker {
    /// For the build tree at `tree`, whose fetch would be given this configuration.
    pub(super) fn of(tree: &Path, config: &str, toolchain: &Toolchain) -> io::Result<Self> {
        let mut hash = Sha256::new();
        hash.update(toolchain.identity()?);
        hash.update([0]);
        hash.update(config);
        let mut folders = vec![tree.to_path_buf()];
        while let Some(folder) = folders.pop() {
            // In order, as the digest is of all of them.
            let mut entries = fs::read_dir(&folder)?.collect::<io::Result<Vec<_>>>()?;
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else if entry.file_name() == "Cargo.toml" || entry.file_name() == "Cargo.lock" {
                    hash.update([0]);
                    hash.update(entry.path().as_os_str().as_encoded_bytes());
                    hash.update([0]);
                    io::copy(&mut File::open(entry.path())?, &mut hash)?;
                }
            }
        }
        Ok(Self { file: tree.with_file_name(FETCHED), key: Digest::new(&hash.finalize()) })
    }

    /// Whether that has been fetched.
    pub(super) fn holds(&self) -> bool {
        let fresh = fs::metadata(&self.file)
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age < VALID));
        fresh && fs::read_to_string(&self.file).is_ok_and(|text| text == self.key.as_str())
    }

    /// It has.
    pub(super) fn set(&self) -> io::Result<()> {
        fs::write(&self.file, self.key.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_fetch_is_left_out_only_while_nothing_that_it_reads_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, sysroot) = (folder.path().join("tree"), folder.path().join("toolchain"));
        for file in [tree.join("lib/Cargo.toml"), tree.join("Cargo.lock"), tree.join("src/lib.rs"), sysroot.join("bin/rustc")] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "one").unwrap();
        }
        let toolchain = Toolchain { sysroot };
        let holds = |config| Marker::of(&tree, config, &toolchain).unwrap().holds();
        assert!(!holds("config"));
        Marker::of(&tree, "config", &toolchain).unwrap().set().unwrap();
        assert!(holds("config") && !holds("another"));
        fs::write(tree.join("src/lib.rs"), "two").unwrap();
        assert!(holds("config"), "a source is not fetched");
        for file in ["lib/Cargo.toml", "Cargo.lock"] {
            fs::write(tree.join(file), "two").unwrap();
            assert!(!holds("config"), "{file}");
            fs::write(tree.join(file), "one").unwrap();
        }
        let marker = File::options().write(true).open(folder.path().join("fetched")).unwrap();
        marker.set_modified(SystemTime::now() - VALID).unwrap();
        assert!(!holds("config"), "cargo may have removed it");
    }
}
