//! `Shuttle.toml`, next to the package's manifest: the project's name. Refuses what it does not know, as a misspelt key
//! would be ignored in silence otherwise.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use platform_wire::ProjectName;
use toml_edit::{DocumentMut, Item, value};

pub(crate) const FILE_NAME: &str = "Shuttle.toml";
const KEYS: [&str; 1] = ["name"];

#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) name: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("{}: {why}", path.display())]
    Broken { path: PathBuf, why: String },
    #[error("{} has an unknown key `{key}`", path.display())]
    UnknownKey { path: PathBuf, key: String },
    #[error("{}: `{key}` has to be a string", path.display())]
    NoString { path: PathBuf, key: &'static str },
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
        if let Some((key, _)) = document.iter().find(|(key, _)| !KEYS.contains(key)) {
            return Err(SettingsError::UnknownKey { path, key: key.to_owned() });
        }
        let name = match document.get("name") {
            None => None,
            Some(item) => Some(item.as_str().ok_or(SettingsError::NoString { path, key: "name" })?.to_owned()),
        };
        Ok(Self { name })
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
        let dir = tempfile::tempdir().unwrap();
        for (text, hint) in [("nmae = \"x\"", "did you mean `name`?"), ("replicas = 2", "known keys: name")] {
            fs::write(dir.path().join(FILE_NAME), text).unwrap();
            let error = Settings::read(dir.path()).unwrap_err();
            assert!(matches!(error, SettingsError::UnknownKey { .. }));
            assert_eq!(error.hint().as_deref(), Some(hint));
        }
    }

    #[test]
    fn a_name_that_is_no_string_and_broken_toml_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE_NAME), "name = 1").unwrap();
        assert!(matches!(Settings::read(dir.path()), Err(SettingsError::NoString { .. })));
        fs::write(dir.path().join(FILE_NAME), "name = ").unwrap();
        assert!(matches!(Settings::read(dir.path()), Err(SettingsError::Broken { .. })));
    }
}
