//! `[build] assets` of `Shuttle.toml`: files of the package that git ignores and the app needs, like what a bundler made.

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

use globset::{GlobBuilder, GlobMatcher};

use super::PackError;

/// One pattern, relative to a package's or the workspace's folder.
#[derive(Debug)]
pub(super) struct Assets {
    start: PathBuf,
    root: PathBuf,
    glob: GlobMatcher,
    below: GlobMatcher,
}

impl Assets {
    /// A pattern begins in the package's folder, and may lead by `../` into the folder of another one that is sent.
    pub(super) fn new(package: &Path, others: &BTreeSet<PathBuf>, pattern: &str) -> Result<Self, PackError> {
        let bad = |why: String| PackError::BadAssets { pattern: pattern.to_owned(), why };
        let parts: Vec<Component<'_>> = Path::new(pattern).components().collect();
        let up = parts.iter().take_while(|part| **part == Component::ParentDir).count();
        let plain: PathBuf = parts.iter().skip(up).filter(|part| **part != Component::CurDir).collect();
        let root = package.ancestors().nth(up).unwrap_or(package);
        let is_within = up == 0 || others.iter().any(|other| root.join(&plain).starts_with(other));
        if plain.as_os_str().is_empty() || !is_within || plain.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(bad(
                "it has to lead to files within the folder of its Shuttle.toml, or within that of a path dependency".to_owned(),
            ));
        }
        let Some(text) = plain.to_str() else { return Err(bad("it is not UTF-8".to_owned())) };
        let glob = |text: &str| {
            let glob = GlobBuilder::new(text).literal_separator(true).build();
            glob.map(|glob| glob.compile_matcher()).map_err(|error| bad(error.kind().to_string()))
        };
        // Only what the pattern can match need be looked at.
        let literal = plain.iter().take_while(|part| !part.to_string_lossy().contains(['*', '?', '[', '{', '\\']));
        Ok(Self {
            start: root.join(literal.collect::<PathBuf>()),
            root: root.to_owned(),
            glob: glob(text)?,
            below: glob(&format!("{text}/**"))?,
        })
    }

    /// The deepest folder that holds all matches; the file itself where nothing in the pattern is special.
    pub(super) fn start(&self) -> &Path {
        &self.start
    }

    /// The name of a folder stands for all that is in it.
    pub(super) fn matches(&self, file: &Path) -> bool {
        file.strip_prefix(&self.root).is_ok_and(|below| self.glob.is_match(below) || self.below.is_match(below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_within_the_package() {
        for (pattern, start, matching, other) in [
            ("static/generated/**", "/p/static/generated", "static/generated/a/b.js", "static/other.js"),
            ("static/generated", "/p/static/generated", "static/generated/a/b.js", "static/generated.js"),
            ("./dist/*.js", "/p/dist", "dist/a.js", "dist/a/b.js"),
            ("data.bin", "/p/data.bin", "data.bin", "deep/data.bin"),
            ("**/*.wasm", "/p", "a/b.wasm", "a/b.js"),
        ] {
            let assets = Assets::new(Path::new("/p"), &BTreeSet::new(), pattern).unwrap();
            assert_eq!(assets.start(), Path::new(start));
            assert!(assets.matches(&Path::new("/p").join(matching)), "{pattern} and {matching}");
            assert!(!assets.matches(&Path::new("/p").join(other)), "{pattern} and {other}");
        }
    }

    #[test]
    fn patterns_that_lead_elsewhere_or_nowhere_are_refused() {
        for pattern in ["../x", "/etc/**", "a/../../b", "", "a[", "."] {
            let refused = Assets::new(Path::new("/p"), &BTreeSet::new(), pattern);
            assert!(matches!(refused, Err(PackError::BadAssets { .. })), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_may_lead_into_a_path_dependency_and_nowhere_else() {
        let others = BTreeSet::from([PathBuf::from("/ws/dep")]);
        let assets = |pattern| Assets::new(Path::new("/ws/app"), &others, pattern);
        assert!(assets("../dep/tests/**").unwrap().matches(Path::new("/ws/dep/tests/a.rs")));
        for pattern in ["../other/**", "../**", "../dep/../other/x", "../../etc"] {
            assert!(matches!(assets(pattern), Err(PackError::BadAssets { .. })), "{pattern}");
        }
    }
}
