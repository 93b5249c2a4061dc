//! What a fetch is told of an uploaded `.cargo/config.toml`.
//!
//! cargo would run programs that such a file names, so the fetch step never reads one. Only where dependencies come from
//! is taken out of it (`[registries.*].index`, `[source]`, `[patch]`), checked, and given to cargo in a file of the
//! platform's own. The build step, which is confined, reads the uploaded files as they are.

use std::path::{Component, Path, PathBuf};

use toml::{Table, Value};

use super::sources::{SourceError, allowed, read};

/// Merges the configuration files from the tree's root down to the package, as cargo does: the nearest wins. Paths in the
/// result are those that a process sees to which the tree appears at `seen_at`.
pub(super) fn for_fetch(tree: &Path, seen_at: &Path, package: &str) -> Result<Table, SourceError> {
    let package = tree.join(package);
    let folders: Vec<&Path> = package.ancestors().take_while(|folder| folder.starts_with(tree)).collect();
    let mut merged = Table::new();
    for folder in folders.into_iter().rev() {
        // Of the two names, cargo prefers the older one.
        let Some(file) =
            ["config", "config.toml"].map(|name| folder.join(".cargo").join(name)).into_iter().find(|file| file.is_file())
        else {
            continue;
        };
        let shown = file.strip_prefix(tree).unwrap_or(&file).display().to_string();
        let taker = Taker { tree, seen_at, folder, file: &shown };
        merge(&mut merged, taker.take(&read(&file, &shown)?)?);
    }
    Ok(merged)
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Takes the allowed parts out of one file.
struct Taker<'a> {
    tree: &'a Path,
    seen_at: &'a Path,
    /// What relative paths in the file are relative to.
    folder: &'a Path,
    file: &'a str,
}

impl Taker<'_> {
    fn take(&self, config: &Table) -> Result<Table, SourceError> {
        let mut taken = Table::new();
        for (section, keys) in [
            ("registries", &["index"][..]),
            ("source", &["replace-with", "registry", "git", "branch", "tag", "rev", "directory", "local-registry"]),
        ] {
            let mut entries = Table::new();
            for (name, entry) in tables(config.get(section)) {
                entries.insert(name.clone(), Value::Table(self.entry(entry, keys)?));
            }
            insert(&mut taken, section, entries);
        }
        let mut patches = Table::new();
        for (source, crates) in tables(config.get("patch")) {
            let mut entries = Table::new();
            for (name, entry) in tables(Some(&Value::Table(crates.clone()))) {
                let keys =
                    ["git", "branch", "tag", "rev", "path", "version", "registry", "package", "features", "default-features"];
                entries.insert(name.clone(), Value::Table(self.entry(entry, &keys)?));
            }
            patches.insert(source.clone(), Value::Table(entries));
        }
        insert(&mut taken, "patch", patches);
        Ok(taken)
    }

    fn entry(&self, entry: &Table, keys: &[&str]) -> Result<Table, SourceError> {
        let mut taken = Table::new();
        for (key, value) in entry.iter().filter(|(key, _)| keys.contains(&key.as_str())) {
            let value = match (key.as_str(), value) {
                ("index" | "git", Value::String(url)) => {
                    allowed(url, self.file)?;
                    value.clone()
                }
                // In `[source]` an index's URL, in `[patch]` a registry's name.
                ("registry", Value::String(url)) if url.contains(':') => {
                    allowed(url, self.file)?;
                    value.clone()
                }
                ("directory" | "local-registry" | "path", Value::String(path)) => Value::String(self.path(path)?),
                _ => value.clone(),
            };
            taken.insert(key.clone(), value);
        }
        Ok(taken)
    }

    /// The path as cargo will see it; refused if it leads out of what was uploaded.
    fn path(&self, path: &str) -> Result<String, SourceError> {
        let refused = || SourceError::Refused { file: self.file.to_owned(), url: path.chars().take(200).collect() };
        let mut inside: PathBuf = self.folder.strip_prefix(self.tree).map_err(|_| refused())?.to_path_buf();
        for component in Path::new(path).components() {
            match component {
                Component::CurDir => {}
                Component::Normal(part) => inside.push(part),
                Component::ParentDir if inside.pop() => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(refused()),
            }
        }
        Ok(self.seen_at.join(inside).display().to_string())
    }
}

fn tables(value: Option<&Value>) -> impl Iterator<Item = (&String, &Table)> {
    value.and_then(Value::as_table).into_iter().flatten().filter_map(|(name, value)| Some((name, value.as_table()?)))
}

fn insert(into: &mut Table, section: &str, entries: Table) {
    if !entries.is_empty() {
        into.insert(section.to_owned(), Value::Table(entries));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(files: &[(&str, &str)]) -> Result<String, SourceError> {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        for_fetch(folder.path(), Path::new("/build/tree"), "app").map(|table| table.to_string())
    }

    #[test]
    fn only_where_dependencies_come_from_is_taken_and_the_nearest_file_wins() {
        let root = "[build]\nrustc = \"/evil\"\nrustc-wrapper = \"/evil\"\n[alias]\nfetch = \"run\"\n[net]\ngit-fetch-with-cli = true\n
                    [registries.mine]\nindex = \"sparse+https://example.com/\"\ntoken = \"secret\"\ncredential-provider = [\"/evil\"]\n
                    [source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"vendor\"\n";
        let app = "[registries.mine]\nindex = \"https://example.org/index\"\n[patch.crates-io]\na = { path = \"../a\" }\n";
        let taken = taken(&[(".cargo/config.toml", root), ("app/.cargo/config.toml", app)]).unwrap();
        for kept in ["https://example.org/index", "/build/tree/vendor", "/build/tree/a", "replace-with"] {
            assert!(taken.contains(kept), "{kept}: {taken}");
        }
        for dropped in ["evil", "alias", "secret", "credential", "example.com", "net"] {
            assert!(!taken.contains(dropped), "{dropped}: {taken}");
        }
    }

    #[test]
    fn the_servers_disk_is_out_of_reach() {
        for config in [
            "[source.x]\ndirectory = \"/etc\"",
            "[source.x]\ndirectory = \"../../etc\"",
            "[source.x]\nlocal-registry = \"../..\"",
            "[source.x]\ngit = \"file:///srv\"",
            "[source.x]\nregistry = \"file:///srv\"",
            "[registries.x]\nindex = \"file:///srv\"",
            "[patch.crates-io]\na = { git = \"ssh://example.com/a\" }",
            "[patch.crates-io]\na = { path = \"/etc\" }",
        ] {
            assert!(matches!(taken(&[("app/.cargo/config.toml", config)]), Err(SourceError::Refused { .. })), "{config}");
        }
        assert_eq!(taken(&[]).unwrap(), "");
    }
}
