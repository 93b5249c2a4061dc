//! `Shuttle.toml`, next to the package's manifest and at the workspace's root: the project's name, its variables, and what
//! the build needs beside git's files. Refuses what it does not know, as a misspelt key would be ignored in silence otherwise.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use platform_wire::{
    BuildMode, ProjectName,
    env::{Env, InvalidEnv},
};
use toml_edit::{Array, Document, DocumentMut, Item, Table, TableLike, value};

use super::unreadable_hint;

pub(crate) const FILE_NAME: &str = "Shuttle.toml";
const NAME: &str = "name";
const ENV: &str = "env";
const BUILD: &str = "build";
const ASSETS: &str = "build.assets";
const FEATURES: &str = "build.features";
const DEFAULT_FEATURES: &str = "build.default-features";
const MODE: &str = "build.mode";
const PROFILE: &str = "build.profile";
/// All keys, as they are told.
const KEYS: [&str; 7] = [NAME, ENV, ASSETS, FEATURES, DEFAULT_FEATURES, MODE, PROFILE];

/// What the package's file and the workspace's say together.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) name: Option<String>,
    /// The workspace's file, where the name is from there.
    pub(crate) name_of_workspace: Option<PathBuf>,
    /// Patterns of files that are sent though git ignores them, relative to the folder of the file that they stand in.
    pub(crate) assets: Vec<(PathBuf, String)>,
    /// Features of the package to build with, beside its default ones.
    pub(crate) features: Vec<String>,
    pub(crate) no_default_features: bool,
    /// Which builds there are; the command line and the server have a say as well.
    pub(crate) mode: Option<BuildMode>,
    /// The profile to build with, where it is not `release`.
    pub(crate) profile: Option<String>,
    /// The app's environment variables.
    pub(crate) env: Env,
    /// The files that there are, the package's first.
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("{}: {why}", path.display())]
    Broken { path: PathBuf, why: String },
    #[error("{}:{line}: unknown key `{key}`", path.display())]
    UnknownKey { path: PathBuf, line: usize, key: String },
    #[error("{}:{line}: `{key}` has to be {expected}", path.display())]
    OtherType { path: PathBuf, line: usize, key: String, expected: &'static str },
    #[error("{}:{line}: {why}", path.display())]
    Env { path: PathBuf, line: usize, why: InvalidEnv },
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl SettingsError {
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { key, .. } => Some(nearest(key)),
            Self::OtherType { key, .. } if key.starts_with("env.") => {
                Some(format!("put its value in quotes: {} = \"…\"", key.trim_start_matches("env.")))
            }
            Self::Env { why, .. } => why.hint(),
            Self::Io { path, source } if source.kind() == io::ErrorKind::PermissionDenied => Some(unreadable_hint(path)),
            Self::Broken { .. } | Self::OtherType { .. } | Self::Io { .. } => None,
        }
    }
}

/// The known key that is meant: by its whole name, or by the last part, as one may stand outside of its table.
fn nearest(key: &str) -> String {
    let last = |key: &'static str| key.rsplit('.').next().unwrap_or(key);
    let by_whole = cargo::util::closest(key, KEYS.iter(), |known| known);
    let by_last = || KEYS.iter().find(|known| last(known) == key.rsplit('.').next().unwrap_or(key));
    match by_whole.or_else(by_last) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("known keys: {}", KEYS.join(", ")),
    }
}

impl Settings {
    /// Reads the package's file and the workspace's; there need not be any. Where both have a key, the package's counts.
    /// They are not taken whole, one instead of the other, as files of secrets are: `--name` writes into the package's file,
    /// and must not put the workspace's settings out of force.
    pub(crate) fn read(package: &Path, workspace: &Path) -> Result<Self, SettingsError> {
        let own = File::read(package)?;
        let shared = if package == workspace { None } else { File::read(workspace)? };
        let files = [&own, &shared].into_iter().flatten().map(|file| file.path.clone()).collect();
        let (own, shared) = (own.unwrap_or_default(), shared.unwrap_or_default());
        let name_of_workspace = (own.name.is_none() && shared.name.is_some()).then_some(shared.path);
        let of = |folder: &Path, assets: Vec<String>| assets.into_iter().map(|pattern| (folder.to_owned(), pattern)).collect();
        Ok(Self {
            name: own.name.or(shared.name),
            name_of_workspace,
            assets: match (own.assets, shared.assets) {
                (Some(assets), _) => of(package, assets),
                (None, assets) => of(workspace, assets.unwrap_or_default()),
            },
            features: own.features.or(shared.features).unwrap_or_default(),
            no_default_features: !own.default_features.or(shared.default_features).unwrap_or(true),
            mode: own.mode.or(shared.mode),
            profile: own.profile.or(shared.profile),
            env: shared.env.into_iter().chain(own.env).collect(),
            files,
        })
    }

    /// The file's text with this name, everything else in it as it is; `None` where it has that name already.
    pub(crate) fn with_name(folder: &Path, name: &ProjectName) -> Result<Option<String>, SettingsError> {
        let path = folder.join(FILE_NAME);
        let mut document: DocumentMut = match text(&path)? {
            Some(text) => text.parse().map_err(|error| broken(&path, &error))?,
            None => DocumentMut::new(),
        };
        let item = document.entry("name").or_insert(Item::None);
        if item.as_str() == Some(name.as_str()) {
            return Ok(None);
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
        Ok(Some(document.to_string()))
    }
}

/// One file, as it stands.
#[derive(Debug, Default)]
struct File {
    path: PathBuf,
    name: Option<String>,
    assets: Option<Vec<String>>,
    features: Option<Vec<String>>,
    default_features: Option<bool>,
    mode: Option<BuildMode>,
    profile: Option<String>,
    env: Env,
}

impl File {
    fn read(folder: &Path) -> Result<Option<Self>, SettingsError> {
        let path = folder.join(FILE_NAME);
        let Some(text) = text(&path)? else { return Ok(None) };
        let document = Document::parse(text.as_str()).map_err(|error| broken(&path, &error))?;
        let parsed = Parsed { path: &path, text: &text, table: document.as_table() };
        parsed.check_keys()?;
        let strings = |item: &Item| {
            let strings = |array: &Array| array.iter().map(|one| Some(one.as_str()?.to_owned())).collect();
            item.as_array().and_then(strings)
        };
        let string = |item: &Item| item.as_str().map(str::to_owned);
        Ok(Some(Self {
            name: parsed.get(NAME, "a string", string)?,
            assets: parsed.get(ASSETS, "an array of strings", strings)?,
            features: parsed.get(FEATURES, "an array of strings", strings)?,
            default_features: parsed.get(DEFAULT_FEATURES, "true or false", Item::as_bool)?,
            mode: parsed.get(MODE, r#""fast", "optimised" or "both""#, |item| item.as_str()?.parse().ok())?,
            profile: parsed.get(PROFILE, "a string", string)?,
            env: parsed.env()?,
            path,
        }))
    }
}

/// A file with its places.
struct Parsed<'a> {
    path: &'a Path,
    text: &'a str,
    table: &'a Table,
}

impl Parsed<'_> {
    fn line(&self, span: Option<Range<usize>>) -> usize {
        let start = span.map_or(0, |span| span.start).min(self.text.len());
        self.text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn other(&self, key: String, item: &Item, expected: &'static str) -> SettingsError {
        SettingsError::OtherType { path: self.path.to_owned(), line: self.line(item.span()), key, expected }
    }

    fn check_keys(&self) -> Result<(), SettingsError> {
        let keys = |table: &dyn TableLike, prefix: &str| -> Vec<(String, Option<Range<usize>>)> {
            let name = |key: &str| (format!("{prefix}{key}"), table.key(key).and_then(toml_edit::Key::span));
            table.iter().map(|(key, _)| name(key)).collect()
        };
        let build = self.table.get(BUILD).and_then(Item::as_table_like);
        let mut all = keys(self.table, "");
        if let Some(build) = build {
            all.retain(|(key, _)| key != BUILD);
            all.extend(keys(build, "build."));
        }
        match all.into_iter().find(|(key, _)| !KEYS.contains(&key.as_str())) {
            Some((key, span)) => Err(SettingsError::UnknownKey { path: self.path.to_owned(), line: self.line(span), key }),
            None => Ok(()),
        }
    }

    fn get<T>(&self, key: &str, expected: &'static str, read: impl Fn(&Item) -> Option<T>) -> Result<Option<T>, SettingsError> {
        let item = match key.strip_prefix("build.") {
            Some(inner) => self.table.get(BUILD).and_then(|build| build.get(inner)),
            None => self.table.get(key),
        };
        let read = |item: &Item| read(item).ok_or_else(|| self.other(key.to_owned(), item, expected));
        item.map(read).transpose()
    }

    /// Strings only: `PORT = 08` would not reach the app as it was written.
    fn env(&self) -> Result<Env, SettingsError> {
        let Some(item) = self.table.get(ENV) else { return Ok(Env::new()) };
        let table = item.as_table_like().ok_or_else(|| self.other(ENV.to_owned(), item, "a table: NAME = \"value\""))?;
        let mut env = BTreeMap::new();
        for (name, item) in table.iter() {
            let value = item.as_str().ok_or_else(|| self.other(format!("env.{name}"), item, "a string"))?;
            let refused = |why| SettingsError::Env {
                path: self.path.to_owned(),
                line: self.line(table.key(name).and_then(toml_edit::Key::span)),
                why,
            };
            platform_wire::env::check_variable(name, value).map_err(refused)?;
            env.insert(name.to_owned(), value.to_owned());
        }
        let refused = |why| SettingsError::Env { path: self.path.to_owned(), line: self.line(item.span()), why };
        platform_wire::env::check(&env).map_err(refused)?;
        Ok(env)
    }
}

fn text(path: &Path) -> Result<Option<String>, SettingsError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SettingsError::Io { path: path.to_owned(), source }),
    }
}

fn broken(path: &Path, error: &toml_edit::TomlError) -> SettingsError {
    SettingsError::Broken { path: path.to_owned(), why: error.to_string().trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The settings of a package that is its own workspace.
    fn read(folder: &Path) -> Result<Settings, SettingsError> {
        Settings::read(folder, folder)
    }

    #[test]
    fn the_name_is_put_in_and_the_rest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let name = "my-app".parse().unwrap();
        assert_eq!(read(dir.path()).unwrap().name, None);
        let file = dir.path().join(FILE_NAME);
        fs::write(&file, Settings::with_name(dir.path(), &name).unwrap().unwrap()).unwrap();
        assert_eq!(read(dir.path()).unwrap().name.as_deref(), Some("my-app"));
        assert_eq!(Settings::with_name(dir.path(), &name).unwrap(), None);

        fs::write(&file, "# of ours\nname = \"old\" # why\n").unwrap();
        let text = Settings::with_name(dir.path(), &name).unwrap().unwrap();
        assert_eq!(text, "# of ours\nname = \"my-app\" # why\n");
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_one() {
        const ALL: &str =
            "known keys: name, env, build.assets, build.features, build.default-features, build.mode, build.profile";
        let dir = tempfile::tempdir().unwrap();
        for (text, hint) in [
            ("nmae = \"x\"", "did you mean `name`?"),
            ("replicas = 2", ALL),
            ("build = \"fast\"", ALL),
            ("[build]\nasets = []", "did you mean `build.assets`?"),
            ("assets = []", "did you mean `build.assets`?"),
            ("[deploy]\nname = \"x\"", ALL),
            ("[build]\nenv = {}", "did you mean `env`?"),
        ] {
            fs::write(dir.path().join(FILE_NAME), text).unwrap();
            let error = read(dir.path()).unwrap_err();
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
            assert!(matches!(read(dir.path()), Err(SettingsError::OtherType { .. })), "{text}");
        }
        fs::write(dir.path().join(FILE_NAME), "name = ").unwrap();
        assert!(matches!(read(dir.path()), Err(SettingsError::Broken { .. })));
    }

    #[test]
    fn what_the_build_needs_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[build]\nassets = [\"dist/**\", \"a.bin\"]\nfeatures = [\"metrics\"]\ndefault-features = false\nmode = \"optimised\"\nprofile = \"dist\"\n";
        fs::write(dir.path().join(FILE_NAME), text).unwrap();
        let settings = read(dir.path()).unwrap();
        let assets = ["dist/**", "a.bin"].map(|pattern| (dir.path().to_owned(), pattern.to_owned()));
        assert_eq!((settings.assets, settings.features), (assets.to_vec(), vec!["metrics".to_owned()]));
        assert_eq!((settings.mode, settings.profile.as_deref()), (Some(BuildMode::Optimised), Some("dist")));
        assert!(settings.no_default_features && !Settings::default().no_default_features);
    }

    #[test]
    fn the_packages_keys_go_before_the_workspaces_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let (package, workspace) = (dir.path().join("app"), dir.path());
        fs::create_dir(&package).unwrap();
        let shared = "name = \"ours\"\n[build]\nassets = [\"dist\"]\nmode = \"fast\"\n[env]\nA = \"1\"\nB = \"1\"\n";
        fs::write(workspace.join(FILE_NAME), shared).unwrap();
        let settings = Settings::read(&package, workspace).unwrap();
        assert_eq!((settings.name.as_deref(), settings.files.len()), (Some("ours"), 1));
        assert_eq!(settings.name_of_workspace, Some(workspace.join(FILE_NAME)));
        assert_eq!(settings.assets, [(workspace.to_owned(), "dist".to_owned())]);

        fs::write(package.join(FILE_NAME), "name = \"mine\"\n[build]\nfeatures = [\"x\"]\n[env]\nB = \"2\"\n").unwrap();
        let settings = Settings::read(&package, workspace).unwrap();
        assert_eq!((settings.name.as_deref(), settings.name_of_workspace), (Some("mine"), None));
        assert_eq!((settings.mode, settings.features), (Some(BuildMode::Fast), vec!["x".to_owned()]));
        assert_eq!(settings.env, [("A", "1"), ("B", "2")].map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert_eq!(settings.files, [package.join(FILE_NAME), workspace.join(FILE_NAME)]);

        // A mistake is one in either file, also where the other one's key would count.
        fs::write(workspace.join(FILE_NAME), "name = \"ours\"\n\nnmae = \"x\"\n").unwrap();
        let error = Settings::read(&package, workspace).unwrap_err().to_string();
        assert_eq!(error, format!("{}:3: unknown key `nmae`", workspace.join(FILE_NAME).display()));
    }

    #[test]
    fn mistakes_in_env_are_named_with_their_lines() {
        let dir = tempfile::tempdir().unwrap();
        for (text, line, part) in [
            ("[env]\nA = \"1\"\nB = 8080\n", 3, "`env.B` has to be a string"),
            ("env = \"A=1\"\n", 1, "`env` has to be a table"),
            ("[env]\n\"a-b\" = \"1\"\n", 2, "`a-b` cannot be"),
            ("\n[env]\nLD_PRELOAD = \"x\"\n", 3, "`LD_PRELOAD`"),
            ("env.A = \"a\\u0000\"\n", 1, "`A`"),
        ] {
            fs::write(dir.path().join(FILE_NAME), text).unwrap();
            let error = read(dir.path()).unwrap_err().to_string();
            assert!(error.contains(&format!("{FILE_NAME}:{line}: ")) && error.contains(part), "{text}: {error}");
        }
    }
}
