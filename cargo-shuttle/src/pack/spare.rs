//! What a path dependency has for itself and no build reads: its tests, benches and examples, and what it excludes from
//! publishing. Most of what is sent for a small app would be such files of the SDK's.
//!
//! In doubt a file is sent. So a package keeps all of these where it has a build script or asks for its own folder, as what
//! those read cannot be seen; a folder or file stays where any source that is sent has its name in it. The members of the
//! app's own workspace keep everything: those are what a user works on.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::rules::{Reason, Rules, name};
use crate::project::{PathDependency, Plan};

/// Folders in which cargo looks for targets that a dependency is not built for.
const FOLDERS: [&str; 3] = ["tests", "benches", "examples"];
/// What a source says that reads files of its package by their full path, or all of them.
const OWN_FOLDER: [&str; 4] = ["env!(\"CARGO_MANIFEST_DIR", "$CARGO_MANIFEST_DIR", "folder = \".\"", "folder = \"./\""];

/// Takes them out of what is listed, and notes why.
pub(super) fn leave_out(plan: &Plan, files: &mut BTreeSet<PathBuf>, rules: &Rules) {
    for dependency in &plan.dependencies {
        let spare = spare(plan, dependency, files);
        for file in &spare {
            files.remove(file);
        }
        for file in &spare {
            let folder = folder_of(file, &dependency.root).filter(|folder| !has_below(files, folder));
            rules.leave_out(folder.as_deref().unwrap_or(file), Reason::Unread);
        }
    }
}

fn spare(plan: &Plan, dependency: &PathDependency, files: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let PathDependency { root, needed, reads_anything, exclude } = dependency;
    if *reads_anything {
        return BTreeSet::new();
    }
    let excluded = patterns(root, exclude);
    let is_needed = |file: &PathBuf| {
        needed.contains(file) || plan.files.contains(file) || file.parent() == Some(root) && name(file) == "Cargo.toml"
    };
    let is_of_another =
        |file: &Path| plan.folders.iter().any(|folder| folder.starts_with(root) && folder != root && file.starts_with(folder));
    let is_spare = |file: &&PathBuf| {
        let is_source = file.extension().is_some_and(|extension| extension == "rs");
        let is_apart = folder_of(file, root).is_some();
        (is_apart || !is_source && excluded.matched_path_or_any_parents(file, false).is_ignore())
            && !is_needed(file)
            && !is_of_another(file)
    };
    let mut spare: BTreeSet<PathBuf> = below(files, root).filter(is_spare).cloned().collect();
    if spare.is_empty() {
        return spare;
    }
    let is_source = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "rs");
    let sources: Vec<&PathBuf> = files.iter().filter(|file| is_source(file) && !spare.contains(*file)).collect();
    for source in sources {
        // One that cannot be read is reported when it is packed.
        let Ok(bytes) = fs::read(source) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        let own = source.starts_with(root);
        if own && OWN_FOLDER.iter().any(|words| text.contains(words)) {
            return BTreeSet::new();
        }
        // From elsewhere, the way to the file leads through the package's folder.
        if !own && !text.contains(&*name(root)) {
            continue;
        }
        let mentioned = |part: &str| {
            [format!("{part}/"), format!("/{part}\""), format!("\"{part}\"")].iter().any(|words| text.contains(words.as_str()))
        };
        let apart: Vec<_> = FOLDERS.into_iter().filter(|folder| mentioned(folder)).collect();
        spare.retain(|file| match folder_of(file, root) {
            Some(folder) => !apart.contains(&&*name(&folder)),
            None => !file.strip_prefix(root).is_ok_and(|below| below.iter().any(|part| mentioned(&part.to_string_lossy()))),
        });
    }
    spare
}

/// The folder of tests, benches or examples of the package in `root` that a file is in.
fn folder_of(file: &Path, root: &Path) -> Option<PathBuf> {
    let below = file.strip_prefix(root).ok()?;
    let first = below.iter().next()?;
    (below.iter().nth(1).is_some() && FOLDERS.iter().any(|folder| first == *folder)).then(|| root.join(first))
}

fn below<'a>(files: &'a BTreeSet<PathBuf>, folder: &'a Path) -> impl Iterator<Item = &'a PathBuf> {
    files.range(folder.to_owned()..).take_while(move |file| file.starts_with(folder))
}

fn has_below(files: &BTreeSet<PathBuf>, folder: &Path) -> bool {
    below(files, folder).next().is_some()
}

/// `exclude` of a manifest; a pattern that is none excludes nothing.
fn patterns(root: &Path, exclude: &[String]) -> Gitignore {
    let mut builder = GitignoreBuilder::new(root);
    for pattern in exclude {
        let _ = builder.add_line(None, pattern);
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}
