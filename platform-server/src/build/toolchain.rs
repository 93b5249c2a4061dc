//! Which toolchain compiles a deployment: found on the server's disk, never started through rustup, which would follow
//! files that a user uploaded.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// An installed toolchain: the folder that holds `bin/cargo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Toolchain {
    pub(crate) sysroot: PathBuf,
}

impl Toolchain {
    /// Changes when the toolchain does, even where it keeps its folder, as rustup's `stable` does.
    pub(super) fn identity(&self) -> std::io::Result<String> {
        use std::os::unix::fs::MetadataExt;
        let compiler = std::fs::metadata(self.sysroot.join("bin/rustc"))?;
        Ok(format!("{} {} {}", self.sysroot.display(), compiler.size(), compiler.mtime()))
    }
}

/// The channel that a project asks for, and the file in which it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    file: String,
    channel: String,
}

/// What the package in `root/package` asks for: as rustup does it, the file nearest to the package decides.
pub(super) fn wanted(root: &Path, package: &str) -> Result<Option<Wanted>, ToolchainError> {
    let package = root.join(package);
    for folder in package.ancestors().take_while(|folder| folder.starts_with(root)) {
        for file in ["rust-toolchain", "rust-toolchain.toml"] {
            match std::fs::read_to_string(folder.join(file)) {
                Ok(text) => return parse(file, &text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(ToolchainError::Unreadable { file: file.to_owned(), why: error.to_string() }),
            }
        }
    }
    Ok(None)
}

fn parse(file: &str, text: &str) -> Result<Option<Wanted>, ToolchainError> {
    let file = file.to_owned();
    // The older form of `rust-toolchain` is the channel alone.
    let plain = text.trim();
    if file == "rust-toolchain" && !plain.is_empty() && !plain.contains(['\n', '[']) {
        return Ok(Some(Wanted { file, channel: plain.to_owned() }));
    }
    match toml::from_str::<File>(text) {
        Ok(File { toolchain: Section { path: Some(_), .. } }) => Err(ToolchainError::ByPath { file }),
        Ok(File { toolchain: Section { channel, .. } }) => Ok(channel.map(|channel| Wanted { file, channel })),
        Err(error) => Err(ToolchainError::Unreadable { file, why: error.message().to_owned() }),
    }
}

/// Where toolchains are looked for.
#[derive(Debug, Clone)]
pub(crate) struct Toolchains {
    default: Toolchain,
    /// rustup's `toolchains` folder, where there is one.
    rustup: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub(crate) enum ToolchainError {
    #[error("no Rust toolchain was found on the server: {0}")]
    None(String),
    #[error("{file} cannot be read: {why}")]
    Unreadable { file: String, why: String },
    #[error("{file} asks for the toolchain `{channel}`, which is not installed on the server (installed: {installed})")]
    Missing { file: String, channel: String, installed: String },
    #[error("{file} names a toolchain by `path`; the platform builds with installed toolchains only")]
    ByPath { file: String },
}

impl ToolchainError {
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::None(_) => "install Rust on the server (https://rustup.rs) and start platform-server again".into(),
            Self::Unreadable { file, .. } => format!("correct {file}, or remove it to build with the server's toolchain"),
            Self::Missing { channel, file, .. } => {
                format!("on the server: rustup toolchain install {channel}; or change the channel in {file}")
            }
            Self::ByPath { file } => format!("write a `channel` in {file} instead"),
        }
    }
}

#[derive(Deserialize)]
struct File {
    toolchain: Section,
}

#[derive(Deserialize)]
struct Section {
    channel: Option<String>,
    path: Option<String>,
}

impl Toolchains {
    /// Finds the toolchain that `rustc` on the server's own path belongs to.
    pub(crate) fn find() -> Result<Self, ToolchainError> {
        let none = |why: String| ToolchainError::None(why);
        let output = std::process::Command::new("rustc")
            .args(["--print", "sysroot"])
            .current_dir("/")
            .output()
            .map_err(|error| none(format!("running rustc: {error}")))?;
        let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        if !output.status.success() || !sysroot.join("bin/cargo").is_file() {
            return Err(none(format!("`rustc --print sysroot` gave `{}`, which has no bin/cargo", sysroot.display())));
        }
        let rustup = sysroot.parent().filter(|parent| parent.ends_with("toolchains")).map(Path::to_path_buf);
        Ok(Self { default: Toolchain { sysroot }, rustup })
    }

    /// The toolchain for a project that wants this one.
    pub(crate) fn choose(&self, wanted: Option<Wanted>) -> Result<Toolchain, ToolchainError> {
        let Some(Wanted { file, channel }) = wanted else { return Ok(self.default.clone()) };
        self.installed(&channel).ok_or_else(|| ToolchainError::Missing {
            file,
            channel,
            installed: crate::listing::names(self.names()),
        })
    }

    fn installed(&self, channel: &str) -> Option<Toolchain> {
        // A channel is a name, never a path.
        let name = channel.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)) && !channel.starts_with('.');
        let folder = self.rustup.as_deref().filter(|_| name)?;
        let host = format!("{channel}-{}-unknown-linux-gnu", std::env::consts::ARCH);
        [channel, &host]
            .into_iter()
            .map(|name| folder.join(name))
            .find(|sysroot| sysroot.join("bin/cargo").is_file())
            .map(|sysroot| Toolchain { sysroot })
    }

    fn names(&self) -> Vec<String> {
        let Some(folder) = &self.rustup else { return vec![self.default.sysroot.display().to_string()] };
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchains() -> (tempfile::TempDir, Toolchains) {
        let folder = tempfile::tempdir().unwrap();
        let toolchains = folder.path().join("toolchains");
        for name in ["stable-x86_64-unknown-linux-gnu", "1.90.0-x86_64-unknown-linux-gnu", "mine"] {
            std::fs::create_dir_all(toolchains.join(name).join("bin")).unwrap();
            std::fs::write(toolchains.join(name).join("bin/cargo"), "").unwrap();
        }
        let default = Toolchain { sysroot: toolchains.join("stable-x86_64-unknown-linux-gnu") };
        (folder, Toolchains { default, rustup: Some(toolchains) })
    }

    #[test]
    fn an_installed_channel_is_taken() {
        let (_folder, toolchains) = toolchains();
        let named = |file, text| toolchains.choose(parse(file, text).unwrap());
        let found = named("rust-toolchain.toml", "[toolchain]\nchannel = \"1.90.0\"").unwrap();
        assert!(found.sysroot.ends_with("1.90.0-x86_64-unknown-linux-gnu") || std::env::consts::ARCH != "x86_64");
        assert!(named("rust-toolchain", "mine\n").unwrap().sysroot.ends_with("mine"));
        assert_eq!(named("rust-toolchain.toml", "[toolchain]\nprofile = \"minimal\"").unwrap(), toolchains.default);
    }

    #[test]
    fn what_is_not_installed_is_named_with_the_command() {
        let (_folder, toolchains) = toolchains();
        for channel in ["1.2.3", "../../etc", "..", "/usr"] {
            let wanted = parse("rust-toolchain.toml", &format!("[toolchain]\nchannel = \"{channel}\"")).unwrap();
            let error = toolchains.choose(wanted).unwrap_err();
            assert!(matches!(&error, ToolchainError::Missing { .. }), "{error}");
            assert!(error.hint().contains("rustup toolchain install"));
        }
        assert!(matches!(parse("rust-toolchain.toml", "[toolchain]\npath = \"/tmp/evil\""), Err(ToolchainError::ByPath { .. })));
    }
}
