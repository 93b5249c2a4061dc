//! Which files are sent: those that git would take in the workspace's folder and in the packages outside of it, without
//! what the [`rules`](super::rules) exclude, and with the assets that a package names.
//!
//! Dotfiles are sent; `include` and `exclude` of a manifest are about publishing and do not count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use ignore::{DirEntry, WalkBuilder};

use super::{
    PackError,
    assets::Assets,
    rules::{Reason, Rules, name},
    spare,
    wanted::Wanted,
};
use crate::project::{Plan, git::Repo};

/// What the system says of a link that leads to itself; `ErrorKind::FilesystemLoop` is not stable.
const ELOOP: i32 = if cfg!(target_os = "linux") { 40 } else { 62 };

/// The files of a plan.
#[derive(Debug)]
pub(crate) struct Listed {
    /// Absolute paths, foreign roots aside.
    pub(crate) files: BTreeSet<PathBuf>,
    /// What the rules took out.
    pub(crate) left_out: BTreeMap<PathBuf, Reason>,
    wanted: Vec<Arc<Wanted>>,
}

impl Listed {
    /// Whether a file of this path is sent, or would be if there was one.
    pub(crate) fn covers(&self, path: &Path) -> bool {
        let is_left_out = || path.ancestors().any(|folder| self.left_out.contains_key(folder));
        self.wanted.iter().any(|wanted| wanted.covers(path)) && !is_left_out()
    }

    /// Whether a file below this folder is sent.
    pub(crate) fn has_below(&self, folder: &Path) -> bool {
        self.files.range(folder.to_owned()..).next().is_some_and(|file| file.starts_with(folder))
    }
}

pub(super) fn files(plan: &Plan) -> Result<Listed, PackError> {
    let rules = Arc::new(Rules::new(plan));
    let mut files: BTreeSet<PathBuf> = plan.files.iter().filter(|file| file.is_file()).cloned().collect();
    let mut parts = Vec::new();
    for (start, folders) in starts(plan) {
        let shared = (start == plan.workspace_root).then(|| start.clone());
        let wanted = Arc::new(Wanted::new(folders, shared));
        // A repository that cannot be opened (another user's) still has ignore files.
        let repo = Repo::around(&start);
        let mut listing = Listing::new(&rules, if matches!(repo, Ok(None)) { Ignore::Own } else { Ignore::Parents });
        listing.walk(&start, &wanted, &mut Vec::new())?;
        let is_empty = |folder: &&PathBuf| !listing.files.iter().any(|file| file.starts_with(folder));
        let ignored: Vec<&PathBuf> = wanted.folders().iter().filter(is_empty).collect();
        for folder in ignored {
            // A package in a folder that git ignores is needed all the same; inside of it git has no say.
            listing.ignore = Ignore::Own;
            listing.walk(folder, &Arc::new(Wanted::all(folder)), &mut Vec::new())?;
        }
        if let Ok(Some(repo)) = repo {
            listing.add_tracked(repo.tracked()?, &start, &wanted);
        }
        files.append(&mut listing.files);
        parts.push(wanted);
    }
    spare::leave_out(plan, &mut files, &rules);
    for (folder, pattern) in &plan.assets {
        files.append(&mut assets(plan, folder, pattern, &rules)?);
    }
    Ok(Listed { files, left_out: rules.left_out(), wanted: parts })
}

/// Files that a package names, whatever git says of them.
fn assets(plan: &Plan, folder: &Path, pattern: &str, rules: &Arc<Rules>) -> Result<BTreeSet<PathBuf>, PackError> {
    let assets = Assets::new(folder, &plan.folders, pattern)?;
    let mut listing = Listing::new(rules, Ignore::Nothing);
    let real = fs::canonicalize(assets.start()).unwrap_or_else(|_| assets.start().to_owned());
    if let Some(reason) = rules.hides(&real, real.is_dir()) {
        let why = format!("{} {}, and is never sent", assets.start().display(), reason.text());
        return Err(PackError::BadAssets { pattern: pattern.to_owned(), why });
    }
    if assets.start().is_dir() {
        listing.walk(assets.start(), &Arc::new(Wanted::all(assets.start())), &mut Vec::new())?;
    } else if assets.start().is_file() {
        listing.single(assets.start(), &mut Vec::new())?;
    }
    listing.files.retain(|file| assets.matches(file));
    if listing.files.is_empty() {
        return Err(PackError::NoAssets { pattern: pattern.to_owned(), folder: plan.package_root.clone() });
    }
    Ok(listing.files)
}

/// Where walks begin, and the folders of packages that are wanted below. The workspace's packages share a walk from its
/// root, so that the root's ignore rules hold for them outside of git as well.
fn starts(plan: &Plan) -> BTreeMap<PathBuf, Vec<PathBuf>> {
    let mut starts = BTreeMap::from([(plan.workspace_root.clone(), Vec::new())]);
    for folder in &plan.folders {
        let start = if folder.starts_with(&plan.workspace_root) { &plan.workspace_root } else { folder };
        starts.entry(start.clone()).or_default().push(folder.clone());
    }
    starts
}

/// Which ignore files count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ignore {
    /// Those of the walk, and those above it.
    Parents,
    /// Those of the walk.
    Own,
    Nothing,
}

struct Listing<'a> {
    rules: &'a Arc<Rules>,
    files: BTreeSet<PathBuf>,
    ignore: Ignore,
}

impl<'a> Listing<'a> {
    fn new(rules: &'a Arc<Rules>, ignore: Ignore) -> Self {
        Self { rules, files: BTreeSet::new(), ignore }
    }

    /// `chain` holds the real folders in which the links stand that led here.
    fn walk(&mut self, start: &Path, wanted: &Arc<Wanted>, chain: &mut Vec<PathBuf>) -> Result<(), PackError> {
        let (rules, on_the_way) = (Arc::clone(self.rules), Arc::clone(wanted));
        // Behind a link, what stands around a file has other names.
        let (from, real) = (start.to_owned(), fs::canonicalize(start).map_err(PackError::io(start))?);
        let mut walk = WalkBuilder::new(start);
        let git = self.ignore != Ignore::Nothing;
        walk.hidden(false).ignore(false).git_ignore(git).git_exclude(git).git_global(git).require_git(false);
        walk.parents(self.ignore == Ignore::Parents).filter_entry(move |entry| {
            let path = entry.path();
            if entry.depth() == 0 {
                return true;
            }
            if !on_the_way.reaches(path) {
                return false;
            }
            let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
            let real = path.strip_prefix(&from).map_or_else(|_| path.to_owned(), |below| real.join(below));
            let reason = rules.excludes(&real, is_folder);
            let reason = reason.or_else(|| (is_folder && on_the_way.is_other(path)).then_some(Reason::OtherWorkspace));
            let Some(reason) = reason else { return true };
            if reason != Reason::OtherWorkspace || !on_the_way.leads_to_package(path) {
                rules.leave_out(path, reason);
                return false;
            }
            true
        });
        for entry in walk.build() {
            let entry = entry.map_err(|error| PackError::walking(error, start))?;
            // The start itself is a folder, though it may be reached by a link.
            if entry.depth() > 0 && wanted.covers(entry.path()) {
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
            self.single(path, chain)?;
        }
        // Sockets, pipes and devices are no source code; git ignores them as well.
        Ok(())
    }

    /// A link, or a file that no walk has led to.
    fn single(&mut self, link: &Path, chain: &mut Vec<PathBuf>) -> Result<(), PackError> {
        let metadata = match fs::metadata(link) {
            Ok(metadata) => metadata,
            // An editor's lock, which is meant to point nowhere.
            Err(_) if name(link).starts_with(".#") => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(PackError::DanglingLink(link.to_owned())),
            Err(error) if error.raw_os_error() == Some(ELOOP) => return Err(PackError::LinkLoop(link.to_owned())),
            Err(source) => return Err(PackError::Io { path: link.to_owned(), source }),
        };
        let target = fs::canonicalize(link).map_err(PackError::io(link))?;
        let hidden = self.rules.excludes(link, metadata.is_dir()).or_else(|| self.rules.hides(&target, metadata.is_dir()));
        if let Some(reason) = hidden {
            self.rules.leave_out(link, reason);
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
        self.walk(link, &Arc::new(Wanted::all(link)), chain)?;
        chain.pop();
        Ok(())
    }

    /// A file that is committed belongs to the project, even where an ignore rule matches it.
    fn add_tracked(&mut self, tracked: Vec<PathBuf>, start: &Path, wanted: &Wanted) {
        for file in tracked {
            if self.files.contains(&file) || !wanted.covers(&file) || !file.is_file() {
                continue;
            }
            let around = file.ancestors().skip(1).take_while(|folder| *folder != start);
            if around.into_iter().any(|folder| self.rules.excludes(folder, true).is_some()) {
                continue;
            }
            let real = fs::canonicalize(&file).ok();
            let hidden = self.rules.excludes(&file, false).or_else(|| self.rules.hides(real.as_deref()?, false));
            match hidden {
                Some(reason) => self.rules.leave_out(&file, reason),
                None if real.is_some() => drop(self.files.insert(file)),
                None => {}
            }
        }
    }
}
