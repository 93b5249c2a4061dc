//! Where a deployment is from: the repository and the folder of its package, by what does not change from checkout to
//! checkout. Never fails: what cannot be found out is left out.

use std::{fs, path::Path};

use platform_wire::Origin;
use sha2::{Digest as _, Sha256};

use super::git::Repo;

/// Where Linux keeps what tells machines apart.
const MACHINE_ID: &str = "/etc/machine-id";

pub(crate) fn origin(package: &Path) -> Origin {
    let real = fs::canonicalize(package).unwrap_or_else(|_| package.to_owned());
    let mut ids = Vec::new();
    if let Ok(Some(repo)) = Repo::around(&real) {
        let folder = repo.folder_in_it();
        ids.extend(repo.remotes().iter().filter_map(|url| Some(format!("git:{}#{folder}", place(url)?))));
        ids.extend(repo.first_commit().map(|commit| format!("commit:{commit}#{folder}")));
    }
    ids.push(format!("folder:{}:{}", machine(), real.display()));
    Origin::new(ids)
}

/// The host and path of a remote, whichever of its addresses is used: without scheme, credentials, port and `.git`.
fn place(url: &str) -> Option<String> {
    let url = url.trim();
    let (host, path) = match url.split_once("://") {
        Some(("file", path)) => ("", path),
        Some((_, rest)) => rest.split_once('/')?,
        // `git@host:path`; a path on this machine has no host.
        None => match url.split_once(':') {
            Some((host, path)) if !host.contains('/') => (host, path),
            _ => ("", url),
        },
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    let path = path.split(['?', '#']).next().unwrap_or(path).trim_end_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path).trim_end_matches('/');
    if host.is_empty() {
        return (!path.is_empty()).then(|| path.to_owned());
    }
    // Hosts of repositories know no difference between `Me/App` and `me/app`.
    let path = path.trim_start_matches('/');
    (!path.is_empty()).then(|| format!("{host}/{path}").to_lowercase())
}

/// Tells machines apart; the id itself stays here, as systemd asks of programs. Empty where there is none.
fn machine() -> String {
    let Ok(id) = fs::read_to_string(MACHINE_ID) else { return String::new() };
    let id = id.trim();
    if id.is_empty() {
        return String::new();
    }
    let digest = Sha256::digest(format!("cargo-shuttle {id}"));
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_a_repository_is_one_place() {
        for url in [
            "https://github.com/me/App.git",
            "https://github.com/me/app/",
            "https://user:token@github.com/me/app.git",
            "http://github.com:8080/me/app",
            "ssh://git@github.com:22/me/app.git",
            "git@github.com:me/app.git",
            "github.com:/me/app",
        ] {
            assert_eq!(place(url).as_deref(), Some("github.com/me/app"), "{url}");
        }
        assert_eq!(place("/srv/git/App.git").as_deref(), Some("/srv/git/App"));
        assert_eq!(place("file:///srv/git/App.git").as_deref(), Some("/srv/git/App"));
        assert_eq!(place("../other").as_deref(), Some("../other"));
        assert_eq!(place("https://token@host/"), None);
        assert_eq!(place(""), None);
    }

    #[test]
    fn a_folder_without_a_repository_is_itself_on_this_machine() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert!(origin(one.path()).is_same(&origin(one.path())));
        assert!(!origin(one.path()).is_same(&origin(other.path())));
        let real = fs::canonicalize(one.path()).unwrap();
        assert_eq!(origin(one.path()).to_string(), format!("the folder {}", real.display()));
    }
}
