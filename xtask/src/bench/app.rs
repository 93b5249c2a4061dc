//! The two forms of the app that is timed: a copy of the example, and a plain binary that answers the same.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Output,
};

use toml::{Table, Value};

use super::replace;
use crate::{
    cmd,
    error::{At, Error, Result},
    ui,
};

/// The example, and with it the project.
pub(super) const NAME: &str = "hello-axum";
/// What the edits replace.
pub(super) const TEXT: &str = "\"Hello, world!\"";
/// The deployment that is timed.
pub(super) const DEPLOY: [&str; 3] = ["deploy", "--allow-dirty", "--output=json"];

const PLAIN_MAIN: &str = r#"//! The app without the platform.

use axum::{Router, routing::get};

async fn hello() -> &'static str {
    "Hello, world!"
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    axum::serve(listener, Router::new().route("/", get(hello))).await
}
"#;

/// Both forms, in a temporary folder.
#[derive(Debug)]
pub(super) struct App {
    pub(super) folder: PathBuf,
    file: PathBuf,
    source: String,
    plain: PathBuf,
}

impl App {
    pub(super) fn new(repo: &Path, temp: &Path) -> Result<Self> {
        let example = repo.join("examples").join(NAME);
        let folder = temp.join(NAME);
        copy(&example, &folder)?;
        let manifest = folder.join("Cargo.toml");
        let table = read(&manifest)?;
        let moved = with_absolute_paths(table.clone(), &example);
        fs::write(&manifest, moved.to_string()).at(&manifest)?;
        let file = folder.join("src/lib.rs");
        let source = fs::read_to_string(&file).at(&file)?;
        if !source.contains(TEXT) {
            return Err(Error::new(format!("{} has no {TEXT}", file.display())));
        }
        let plain = temp.join("plain");
        write_plain(&plain, &table)?;
        Ok(Self { folder, file, source, plain })
    }

    pub(super) fn edit(&self, text: &str) -> Result<()> {
        replace(&self.file, &self.source, text)
    }

    pub(super) fn edit_plain(&self, text: &str) -> Result<()> {
        replace(&self.plain.join("src/main.rs"), PLAIN_MAIN, text)
    }

    pub(super) fn build_plain(&self) -> Result<()> {
        let mut command = cmd::cargo();
        command
            .args(["build", "--release", "--quiet"])
            .current_dir(&self.plain)
            .env("CARGO_TARGET_DIR", self.plain.join("target"));
        cmd::quietly(&mut command)
    }

    /// Fails, and shows why, where the CLI failed.
    pub(super) fn deployed(&self, output: io::Result<Output>) -> Result<()> {
        let output = output.map_err(|error| Error::new(format!("cannot run cargo-shuttle: {error}")))?;
        crate::signals::check()?;
        if output.status.success() {
            return Ok(());
        }
        ui::tail("cargo-shuttle", &String::from_utf8_lossy(&output.stderr), 30);
        Err(Error::new(format!("the deployment of {} failed: {}", self.folder.display(), output.status)))
    }
}

fn read(file: &Path) -> Result<Table> {
    fs::read_to_string(file).at(file)?.parse().map_err(|error| Error::new(format!("{}: {error}", file.display())))
}

/// Sources only: what an earlier build left in the clone must not be uploaded or found again.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).at(to)?;
    for entry in fs::read_dir(from).at(from)? {
        let entry = entry.at(from)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_name() == "target" {
            continue;
        }
        if source.is_dir() { copy(&source, &target)? } else { fs::copy(&source, &target).map(drop).at(&source)? }
    }
    Ok(())
}

/// The copy lies elsewhere, so its path dependencies do not lie beside it any more.
fn with_absolute_paths(mut manifest: Table, base: &Path) -> Table {
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        for (_, dependency) in manifest.get_mut(section).and_then(Value::as_table_mut).into_iter().flatten() {
            if let Some(Value::String(path)) = dependency.get_mut("path") {
                let joined = base.join(&*path);
                *path = joined.canonicalize().unwrap_or(joined).to_string_lossy().into_owned();
            }
        }
    }
    manifest
}

/// The same axum as the example's, and the same profile.
fn write_plain(folder: &Path, example: &Table) -> Result<()> {
    let axum =
        example.get("dependencies").and_then(|all| all.get("axum")).cloned().unwrap_or_else(|| Value::String("0.8".into()));
    let mut manifest: Table = [
        ("package".to_owned(), table([("name", "plain".into()), ("version", "0.1.0".into()), ("edition", "2024".into())])),
        (
            "dependencies".to_owned(),
            table([("axum", axum), ("tokio", table([("version", "1".into()), ("features", vec!["full"].into())]))]),
        ),
        ("workspace".to_owned(), Value::Table(Table::new())),
    ]
    .into_iter()
    .collect();
    if let Some(profile) = example.get("profile") {
        manifest.insert("profile".to_owned(), profile.clone());
    }
    let source = folder.join("src");
    fs::create_dir_all(&source).at(&source)?;
    fs::write(folder.join("Cargo.toml"), manifest.to_string()).at(folder)?;
    fs::write(source.join("main.rs"), PLAIN_MAIN).at(&source)
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Table(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_true_in_the_copy() {
        let manifest = "[dependencies]\na = { path = \"../a\" }\nb = \"1\"\n".parse().unwrap();
        let moved = with_absolute_paths(manifest, Path::new("/no/such/example"));
        assert_eq!(moved["dependencies"]["a"]["path"].as_str(), Some("/no/such/example/../a"));
        assert_eq!(moved["dependencies"]["b"].as_str(), Some("1"));
    }

    #[test]
    fn the_plain_app_has_the_line_that_is_edited() {
        assert_eq!(PLAIN_MAIN.matches(TEXT).count(), 1);
    }
}
