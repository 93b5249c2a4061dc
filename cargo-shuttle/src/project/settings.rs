//! `Shuttle.toml`, next to the package's manifest: the project's name, and what the build needs beside git's files.
//! Refuses what it does not know, as a misspelt key would be ignored in silence otherwise.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use platform_wire::{BuildMode, ProjectName};
use toml_edit::{Array, DocumentMut, Item, value};

pub(crate) const FILE_NAME: &str = "Shuttle.toml";
const NAME: &str = "name";
const ASSETS: &str = "build.assets";
const FEATURES: &str = "build.features";
const DEFAULT_FEATURES: &str = "build.default-features";
const MODE: &str = "build.mode";
const PROFILE: &str = "build.profile";
/// All keys, as they are told.
const KEYS: [&str; 6] = [NAME, ASSETS, FEATURES, DEFAULT_FEATURES, MODE, PROFILE];

#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) name: Option<String>,
    /// Patterns of files that are sent though git ignores them, relative to the package's folder.
    pub(crate) assets: Vec<String>,
    /// Features of the package to build with, beside its default ones.
    pub(crate) features: Vec<String>,
    pub(crate) no_default_features: bool,
    /// Which builds there are; the command line and the server have a say as well.
    pub(crate) mode: Option<BuildMode>,
    /// The profile to build with, where it is not `release`.
    pub(crate) profile: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("{}: {why}", path.display())]
    Broken { path: PathBuf, why: String },
    #[error("{} has an unknown key `{key}`", path.display())]
    UnknownKey { path: PathBuf, key: String },
    #[error("{}: `{key}` has to be {expected}", path.display())]
    OtherType { path: PathBuf, key: &'static str, expected: &'static str },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl SettingsError {
    pub(crate) fn hint(&self) -> Option<String> {
        let Self::UnknownKey { key, .. } = self else { return None };
        Some(match cargo::util::closest(key, KEYS.iter(), |known| known) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("known keys: {}", KEYS.join(", ")),
        })
    }
}

impl Settings {
    /// Reads the file in this folder; there need not be one.
    pub(crate) fn read(folder: &Path) -> Result<Self, SettingsError> {
        let path = folder.join(FILE_NAME);
        let Some(document) = document(&path)? else { return Ok(Self::default()) };
        let build = document.get("build").and_then(Item::as_table_like);
        let inner = build.into_iter().flat_map(|build| build.iter().map(|(key, _)| format!("build.{key}")));
        let outer = document.iter().filter(|(key, _)| *key != "build" || build.is_none()).map(|(key, _)| key.to_owned());
        if let Some(key) = outer.chain(inner).find(|key| !KEYS.contains(&key.as_str())) {
            return Err(SettingsError::UnknownKey { path, key });
        }
        let other = |key, expected| SettingsError::OtherType { path: path.clone(), key, expected };
        let name = match document.get(NAME) {
            None => None,
            Some(item) => Some(item.as_str().ok_or_else(|| other(NAME, "a string"))?.to_owned()),
        };
        let inner = |key: &str| build.and_then(|build| build.get(key.trim_start_matches("build.")));
        let strings = |key: &'static str| match inner(key) {
            None => Ok(Vec::new()),
            Some(item) => {
                let strings = |array: &Array| array.iter().map(|one| Some(one.as_str()?.to_owned())).collect();
                item.as_array().and_then(strings).ok_or_else(|| other(key, "an array of strings"))
            }
        };
        let default_features = match inner(DEFAULT_FEATURES) {
            None => true,
            Some(item) => item.as_bool().ok_or_else(|| other(DEFAULT_FEATURES, "true or false"))?,
        };
        let (assets, features) = (strings(ASSETS)?, strings(FEATURES)?);
        let mode = match inner(MODE).map(|item| item.as_str().and_then(|mode| mode.parse().ok())) {
            None => None,
            Some(Some(mode)) => Some(mode),
            Some(None) => return Err(other(MODE, r#""fast", "optimised" or "both""#)),
        };
        let profile = match inner(PROFILE) {
            None => None,
            Some(item) => Some(item.as_str().ok_or_else(|| other(PROFILE, "a string"))?.to_owned()),
        };
        Ok(Self { name, assets, features, no_default_features: !default_features, mode, profile })
    }

    /// Writes the name, and leaves everything else in the file as it is. Says whether the file changed.
    pub(crate) fn set_name(folder: &Path, name: &ProjectName) -> Result<bool, SettingsError> {
        let path = folder.join(FILE_NAME);
        let mut document = document(&path)?.unwrap_or_default();
        let item = document.entry("name").or_insert(Item::None);
        if item.as_str() == Some(name.as_str()) {
            return Ok(false);
        }
        match item.as_value_mut() {
            // The comment behind the old value stays.
            Some(old) => {
                let decor = old.decor().clone();
                *old = name.as_str().into();
                *old.decor_mut() = decor;
            }
            None => *item = value(name.as_str()),
        }
        fs::write(&path, document.to_string()).map_err(|source| SettingsError::Io { path, source })?;
        Ok(true)
    }
}

fn document(path: &Path) -> Result<Option<DocumentMut>, SettingsError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SettingsError::Io { path: path.to_owned(), source }),
    };
    let document = text.parse().map_err(|error: toml_edit::TomlError| SettingsError::Broken {
        path: path.to_owned(),
        why: error.to_string().trim().to_owned(),
    })?;
    Ok(Some(document))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_set_for_good_and_the_rest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let name = "my-app".parse().unwrap();
        assert_eq!(Settings::read(dir.path()).unwrap().name, None);
        assert!(Settings::set_name(dir.path(), &name).unwrap());
        assert_eq!(Settings::read(dir.path()).unwrap().name.as_deref(), Some("my-app"));
        assert!(!Settings::set_name(dir.path(), &name).unwrap());

        let file = dir.path().join(FILE_NAME);
        fs::write(&file, "# of ours\nname = \"old\" # why\n").unwrap();
        Settings::set_name(dir.path(), &name).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "# of ours\nname = \"my-app\" # why\n");
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_one() {
        const ALL: &str = "known keys: name, build.assets, build.features, build.default-features, build.mode, build.profile";
        let dir = tempfile::tempdir().unwrap();
        for (text, hint) in [
            ("nmae = \"x\"", "did you mean `name`?"),
            ("replicas = 2", ALL),
            ("build = \"fast\"", ALL),
            ("[build]\nasets = []", "did you mean `build.assets`?"),
        ] {
            fs::write(dir.path().join(FILE_NAME), text).unwrap();
            let error = Settings::read(dir.path()).unwrap_err();
            assert!(matches!(error, SettingsError::UnknownKey { .. }));
            assert_eq!(error.hint().as_deref(), Some(hint));
        }
    }

    #[test]
    fn values_of_other_types_and_broken_toml_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for text in [
            "name = 1",
            "build.assets = \"x\"",
            "[build]\nassets = [1]",
            "[build]\ndefault-features = \"no\"",
            "build.mode = \"quick\"",
        ] {
            fs::write(dir.path().join(FILE_NAME), text).unwrap();
            assert!(matches!(Settings::read(dir.path()), Err(SettingsError::OtherType { .. })), "{text}");
        }
        fs::write(dir.path().join(FILE_NAME), "name = ").unwrap();
        assert!(matches!(Settings::read(dir.path()), Err(SettingsError::Broken { .. })));
    }

    #[test]
    fn what_the_build_needs_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[build]\nassets = [\"dist/**\", \"a.bin\"]\nfeatures = [\"metrics\"]\ndefault-features = false\nmode = \"optimised\"\nprofile = \"dist\"\n";
        fs::write(dir.path().join(FILE_NAME), text).unwrap();
        let settings = Settings::read(dir.path()).unwrap();
        assert_eq!((settings.assets, settings.features), (vec!["dist/**".into(), "a.bin".into()], vec!["metrics".into()]));
        assert_eq!((settings.mode, settings.profile.as_deref()), (Some(BuildMode::Optimised), Some("dist")));
        assert!(settings.no_default_features && !Settings::default().no_default_features);
    }
}
