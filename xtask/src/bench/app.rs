//! What is built and deployed: copies of examples, and the same apps without the platform.
//!
//! The form without the platform is made of the example's own sources, so that both forms are of the same app: the
//! annotation goes, and what it stood for is written out.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use toml::{Table, Value};

use crate::{
    cmd::{self, Captured},
    error::{At, Error, Result},
};

/// An example that is measured.
#[derive(Debug)]
pub(super) struct Sample {
    /// The example, its package, and so the project.
    pub(super) name: &'static str,
    /// What `GET /` says, and the edits change.
    said: &'static str,
    /// What the example's return type is called, written out.
    returned: &'static str,
    /// What stands in the place of the annotation.
    main: &'static str,
    /// The same as a library with one exported function, which nothing can take out of a cdylib.
    exported: &'static str,
}

pub(super) const HELLO: Sample = Sample {
    name: "hello-axum",
    said: "Hello, world!",
    returned: "type ShuttleAxum = Result<axum::Router, Box<dyn std::error::Error + Send + Sync>>;",
    main: r#"
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    axum::serve(listener, hello().await?).await?;
    Ok(())
}
"#,
    exported: r#"
#[tokio::main]
async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    axum::serve(listener, hello().await?).await?;
    Ok(())
}

#[unsafe(no_mangle)]
pub extern "C" fn plain_main() -> i32 {
    i32::from(run().is_err())
}
"#,
};

pub(super) const SHORTENER: Sample = Sample {
    name: "url-shortener",
    said: "Send a URL, get a short one.",
    returned: "type ShuttleRocket = Result<rocket::Rocket<rocket::Build>, Box<dyn std::error::Error + Send + Sync>>;",
    main: r#"
#[rocket::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pool = PgPool::connect_lazy(&std::env::var("DATABASE_URL")?)?;
    rocket(pool).await?.launch().await?;
    Ok(())
}
"#,
    exported: "",
};

/// A form without the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    /// As one would write it: a program, tokio with everything.
    Program,
    /// For comparison with what the platform builds: a library, and of tokio what the app needs.
    Library,
}

/// One form of an app, in a folder of its own.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    file: PathBuf,
    source: String,
    said: &'static str,
}

impl Project {
    /// The example as it is.
    pub(super) fn example(repo: &Path, sample: &'static Sample, folder: PathBuf) -> Result<Self> {
        let example = repo.join("examples").join(sample.name);
        copy(&example, &folder)?;
        let manifest = folder.join("Cargo.toml");
        fs::write(&manifest, with_absolute_paths(read(&manifest)?, &example).to_string()).at(&manifest)?;
        Self::open(sample, folder, "src/lib.rs")
    }

    /// The same app without the platform.
    pub(super) fn plain(repo: &Path, sample: &'static Sample, folder: PathBuf, form: Plain) -> Result<Self> {
        copy(&repo.join("examples").join(sample.name), &folder)?;
        let manifest = folder.join("Cargo.toml");
        fs::write(&manifest, without_sdk(read(&manifest)?, form)?.to_string()).at(&manifest)?;
        let (library, program) = (folder.join("src/lib.rs"), folder.join("src/main.rs"));
        let source = plain_source(&fs::read_to_string(&library).at(&library)?, sample, form)
            .ok_or_else(|| Error::new(format!("examples/{} no longer has the form that this can rewrite", sample.name)))?;
        fs::write(&library, source).at(&library)?;
        if form == Plain::Library {
            return Self::open(sample, folder, "src/lib.rs");
        }
        fs::rename(&library, &program).at(&program)?;
        Self::open(sample, folder, "src/main.rs")
    }

    fn open(sample: &'static Sample, folder: PathBuf, file: &str) -> Result<Self> {
        let file = folder.join(file);
        let source = fs::read_to_string(&file).at(&file)?;
        if source.matches(sample.said).count() != 1 {
            return Err(Error::new(format!("{} does not say {:?} once", file.display(), sample.said)));
        }
        Ok(Self { name: sample.name.to_owned(), folder, file, source, said: sample.said })
    }

    /// Another app, which differs from this one in its name.
    pub(super) fn rename(&mut self, name: String) -> Result<()> {
        for (file, line) in [("Cargo.toml", "name = "), ("Cargo.lock", "name = ")] {
            let file = self.folder.join(file);
            let text = fs::read_to_string(&file).at(&file)?;
            let renamed = text.replace(&format!("{line}\"{}\"", self.name), &format!("{line}\"{name}\""));
            if renamed == text {
                return Err(Error::new(format!("{} does not name {}", file.display(), self.name)));
            }
            fs::write(&file, renamed).at(&file)?;
        }
        self.name = name;
        self.lock()
    }

    /// Brings the lockfile's order up to date with the workspace's packages; nothing else in it changes.
    pub(super) fn lock(&self) -> Result<()> {
        cmd::captured(cmd::cargo().args(["update", "--workspace", "--quiet"]).current_dir(&self.folder)).map(drop)
    }

    /// One line of the source, changed.
    pub(super) fn edit(&self, text: &str) -> Result<()> {
        fs::write(&self.file, self.source.replace(self.said, text)).at(&self.file)
    }

    /// The bare build of a plain form: its time, and how many crates were compiled.
    pub(super) fn build(&self, target: &Path) -> Result<(Duration, usize)> {
        let mut command = cmd::cargo();
        command.args(["build", "--release"]).current_dir(&self.folder).env("CARGO_TARGET_DIR", target);
        let (time, printed) = timed(command.env("CARGO_TERM_COLOR", "never"))?;
        Ok((time, printed.stderr.lines().filter(|line| line.trim_start().starts_with("Compiling ")).count()))
    }
}

/// Runs a command and takes its time.
pub(super) fn timed(command: &mut std::process::Command) -> Result<(Duration, Captured)> {
    let began = Instant::now();
    let captured = cmd::captured(command)?;
    Ok((began.elapsed(), captured))
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

/// The same dependencies and profile, but for the SDK and what it brought along: tokio.
fn without_sdk(mut manifest: Table, form: Plain) -> Result<Table> {
    let dependencies = manifest.get_mut("dependencies").and_then(Value::as_table_mut);
    let dependencies = dependencies.filter(|all| all.contains_key("shuttle-service"));
    let dependencies = dependencies.ok_or_else(|| Error::new("the example does not depend on shuttle-service"))?;
    dependencies.remove("shuttle-service");
    let features = match form {
        Plain::Program => vec!["full"],
        Plain::Library => vec!["macros", "net", "rt-multi-thread"],
    };
    let tokio = [("version".to_owned(), Value::from("1")), ("features".to_owned(), Value::from(features))];
    dependencies.insert("tokio".to_owned(), Value::Table(tokio.into_iter().collect()));
    Ok(manifest)
}

/// The example's source with an entry of its own in the annotation's place. `None`: it has another form than expected.
fn plain_source(source: &str, sample: &Sample, form: Plain) -> Option<String> {
    let is_sdk = |line: &&str| line.starts_with("use shuttle_service::") || *line == "#[shuttle_service::main]";
    let kept: Vec<&str> = source.lines().filter(|line| !is_sdk(line)).collect();
    let main = match form {
        Plain::Program => sample.main,
        Plain::Library => sample.exported,
    };
    let plain = format!("{}\n\n{}\n{main}", kept.join("\n"), sample.returned);
    (source.lines().count() == kept.len() + 2 && !plain.contains("shuttle_service") && !main.is_empty()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::{Repo, Temp};

    #[test]
    fn paths_stay_true_in_the_copy() {
        let manifest = "[dependencies]\na = { path = \"../a\" }\nb = \"1\"\n".parse().unwrap();
        let moved = with_absolute_paths(manifest, Path::new("/no/such/example"));
        assert_eq!(moved["dependencies"]["a"]["path"].as_str(), Some("/no/such/example/../a"));
        assert_eq!(moved["dependencies"]["b"].as_str(), Some("1"));
    }

    #[test]
    fn the_examples_can_be_written_without_the_platform_and_edited() {
        let repo = Repo::find().unwrap();
        let temp = Temp::new("bench-test").unwrap();
        for (sample, form) in [(&HELLO, Plain::Program), (&HELLO, Plain::Library), (&SHORTENER, Plain::Program)] {
            let folder = temp.path.join(format!("{}-{form:?}", sample.name));
            let plain = Project::plain(&repo.root, sample, folder, form).unwrap();
            plain.edit("something else").unwrap();
            let text = fs::read_to_string(&plain.file).unwrap();
            assert!(text.contains("something else") && !text.contains(sample.said), "{text}");
            let manifest = read(&plain.folder.join("Cargo.toml")).unwrap();
            let dependencies = manifest["dependencies"].as_table().unwrap();
            assert!(dependencies.contains_key("tokio") && !dependencies.contains_key("shuttle-service"));
        }
        assert_eq!(plain_source("fn main() {}\n", &HELLO, Plain::Program), None);
    }
}
