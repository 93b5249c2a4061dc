//! Which files of a package's folder are sent: those that git would take, without what is secret, built, or git's own.
//!
//! Never sent, whatever git says: `.env` files, `Secrets*.toml`, cargo's credentials, build folders, `.git`; nor through a
//! link with another name. Dotfiles are sent; `include` and `exclude` of a manifest are about publishing and do not count.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use ignore::{DirEntry, WalkBuilder};

use super::PackError;
use crate::project::{Plan, git::Repo};

const REPOSITORIES: [&str; 4] = [".git", ".hg", ".jj", ".svn"];
/// What each file named `CACHEDIR.TAG` begins with.
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";
/// What the system says of a link that leads to itself; `ErrorKind::FilesystemLoop` is not stable.
const ELOOP: i32 = if cfg!(target_os = "linux") { 40 } else { 62 };
/// Endings of `.env` files that are made for others to see.
const SHOWN_ENV: [&str; 4] = ["example", "sample", "template", "dist"];

/// All files of a plan, foreign roots aside.
pub(super) fn files(plan: &Plan) -> Result<BTreeSet<PathBuf>, PackError> {
    let rules = Arc::new(Rules::new(plan));
    let mut files: BTreeSet<PathBuf> = plan.files.iter().filter(|file| file.is_file()).cloned().collect();
    for (start, folders) in starts(plan) {
        let folders = Arc::new(folders);
        // A repository that cannot be opened (another user's) still has ignore files.
        let repo = Repo::around(&start);
        let in_git = !matches!(repo, Ok(None));
        let mut listing = Listing { rules: &rules, files: BTreeSet::new(), in_git };
        listing.walk(&start, &folders, &mut Vec::new())?;
        let is_empty = |folder: &&PathBuf| !listing.files.iter().any(|file| file.starts_with(folder));
        let ignored: Vec<&PathBuf> = folders.iter().filter(is_empty).collect();
        for folder in ignored {
            // A package in a folder that git ignores is needed all the same; inside of it git has no say.
            listing.in_git = false;
            listing.walk(folder, &Arc::new(vec![folder.clone()]), &mut Vec::new())?;
        }
        if let Ok(Some(repo)) = repo {
            listing.add_tracked(repo.tracked()?, &start, &folders);
        }
        files.append(&mut listing.files);
    }
    Ok(files)
}

/// Where walks begin, and the folders that are wanted below. The workspace's packages share a walk from its root, so that
/// the root's ignore rules hold for them outside of git as well.
fn starts(plan: &Plan) -> BTreeMap<PathBuf, Vec<PathBuf>> {
    let mut starts: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for folder in &plan.folders {
        let start = if folder.starts_with(&plan.workspace_root) { &plan.workspace_root } else { folder };
        starts.entry(start.clone()).or_default().push(folder.clone());
    }
    starts
}

struct Listing<'a> {
    rules: &'a Arc<Rules>,
    files: BTreeSet<PathBuf>,
    in_git: bool,
}

impl Listing<'_> {
    /// `chain` holds the real folders in which the links stand that led here.
    fn walk(&mut self, start: &Path, wanted: &Arc<Vec<PathBuf>>, chain: &mut Vec<PathBuf>) -> Result<(), PackError> {
        let (rules, on_the_way) = (Arc::clone(self.rules), Arc::clone(wanted));
        // Behind a link, what stands around a file has other names.
        let (from, real) = (start.to_owned(), fs::canonicalize(start).map_err(PackError::io(start))?);
        let mut walk = WalkBuilder::new(start);
        walk.hidden(false).ignore(false).require_git(false).parents(self.in_git).filter_entry(move |entry| {
            let path = entry.path();
            let is_wanted = on_the_way.iter().any(|folder| path.starts_with(folder) || folder.starts_with(path));
            let real = path.strip_prefix(&from).map_or_else(|_| path.to_owned(), |below| real.join(below));
            entry.depth() == 0 || (is_wanted && !rules.excludes(&real, entry.file_type().is_some_and(|kind| kind.is_dir())))
        });
        for entry in walk.build() {
            let entry = entry.map_err(|error| PackError::List(error.to_string()))?;
            // The start itself is a folder, though it may be reached by a link.
            if entry.depth() > 0 && wanted.iter().any(|folder| entry.path().starts_with(folder)) {
                self.entry(&entry, chain)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &DirEntry, chain: &mut Vec<PathBuf>) -> Result<(), PackError> {
        let path = entry.path();
        let Some(kind) = entry.file_type() else { return Ok(()) };
        if kind.is_file() {
            self.files.insert(path.to_owned());
        } else if kind.is_symlink() {
            self.link(path, chain)?;
        }
        // Sockets, pipes and devices are no source code; git ignores them as well.
        Ok(())
    }

    fn link(&mut self, link: &Path, chain: &mut Vec<PathBuf>) -> Result<(), PackError> {
        let metadata = match fs::metadata(link) {
            Ok(metadata) => metadata,
            // An editor's lock, which is meant to point nowhere.
            Err(_) if name(link).starts_with(".#") => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(PackError::DanglingLink(link.to_owned())),
            Err(error) if error.raw_os_error() == Some(ELOOP) => return Err(PackError::LinkLoop(link.to_owned())),
            Err(source) => return Err(PackError::Io { path: link.to_owned(), source }),
        };
        let target = fs::canonicalize(link).map_err(PackError::io(link))?;
        if self.rules.excludes(link, metadata.is_dir()) || self.rules.hides(&target, metadata.is_dir()) {
            return Ok(());
        }
        if metadata.is_file() {
            self.files.insert(link.to_owned());
        }
        if !metadata.is_dir() {
            return Ok(());
        }
        let parent = link.parent().unwrap_or(link);
        chain.push(fs::canonicalize(parent).map_err(PackError::io(parent))?);
        if chain.iter().any(|folder| folder.starts_with(&target)) {
            return Err(PackError::LinkLoop(link.to_owned()));
        }
        self.walk(link, &Arc::new(vec![link.to_owned()]), chain)?;
        chain.pop();
        Ok(())
    }

    /// A file that is committed belongs to the project, even where an ignore rule matches it.
    fn add_tracked(&mut self, tracked: Vec<PathBuf>, start: &Path, wanted: &[PathBuf]) {
        let rules = Arc::clone(self.rules);
        let files = tracked.into_iter().filter(|file| {
            wanted.iter().any(|folder| file.starts_with(folder))
                && !self.files.contains(file)
                && file.is_file()
                && !rules.excludes(file, false)
                && fs::canonicalize(file).is_ok_and(|real| !rules.hides(&real, false))
                && !file.ancestors().skip(1).take_while(|folder| *folder != start).any(|folder| rules.excludes(folder, true))
        });
        let files: Vec<_> = files.collect();
        self.files.extend(files);
    }
}

/// Rules for real paths.
#[derive(Debug)]
struct Rules {
    build_folders: Vec<PathBuf>,
    /// The folders that are sent.
    roots: Vec<PathBuf>,
}

impl Rules {
    fn new(plan: &Plan) -> Self {
        let real = |path: &PathBuf| fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        Self {
            build_folders: plan.build_folders.iter().flat_map(|folder| [folder.clone(), real(folder)]).collect(),
            roots: plan.folders.iter().chain([&plan.workspace_root]).map(real).collect(),
        }
    }

    /// Whether what a link leads to is excluded, or lies in a folder that is. Outside of what is sent only folders of
    /// repositories count: a link there is meant.
    fn hides(&self, real: &Path, is_folder: bool) -> bool {
        self.excludes(real, is_folder)
            || real.ancestors().skip(1).any(|folder| {
                let is_inside = self.roots.iter().any(|root| folder.starts_with(root));
                let is_around = self.roots.iter().any(|root| root.starts_with(folder));
                !is_around && (is_repository(folder) || (is_inside && self.excludes(folder, true)))
            })
    }

    fn excludes(&self, path: &Path, is_folder: bool) -> bool {
        let name = name(path);
        if is_repository(path) {
            return true;
        }
        if is_folder {
            let parent = path.parent().unwrap_or(path);
            return self.build_folders.iter().any(|folder| folder == path)
                || (name == "target" && parent.join("Cargo.toml").is_file())
                || is_cache(path);
        }
        is_secret(&name)
            || (name.starts_with("credentials") && path.parent().and_then(Path::file_name) == Some(OsStr::new(".cargo")))
    }
}

fn is_repository(folder: &Path) -> bool {
    REPOSITORIES.contains(&name(folder).as_ref())
}

fn is_secret(name: &str) -> bool {
    if name.starts_with("Secrets") && name.ends_with(".toml") {
        return true;
    }
    match name.strip_prefix(".env") {
        Some("") => true,
        Some(rest) => rest.strip_prefix('.').is_some_and(|ending| !SHOWN_ENV.contains(&ending)),
        None => false,
    }
}

fn is_cache(folder: &Path) -> bool {
    let mut start = [0; CACHE_SIGNATURE.len()];
    let read = File::open(folder.join("CACHEDIR.TAG")).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == CACHE_SIGNATURE
}

fn name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}
