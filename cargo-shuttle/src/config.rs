//! Which server, and with which key. Owns the config file; never talks to the server.
//!
//! For each of the two: the flag or variable, else the file that `cargo shuttle login` wrote, else the local server and
//! the key that it keeps in its data directory. A key goes only to the server that it was given for.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::cli::Global;

/// Where a `platform-server serve` without arguments listens.
pub(crate) const DEFAULT_API: &str = "http://127.0.0.1:8001";
pub(crate) const KEY_VARIABLE: &str = "SHUTTLE_API_KEY";
const KEY_FILE: &str = "admin.key";

/// A server, and the key for it.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) url: Url,
    pub(crate) key: String,
}

/// What `cargo shuttle login` keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigFile {
    pub(crate) api_url: Option<String>,
    pub(crate) api_key: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("`{url}` is not the URL of a server: {why}")]
    BadUrl { url: String, why: String },
    #[error("refusing to send the key over plain HTTP to {host}: everybody on the way could read it")]
    PlainHttp { host: String },
    #[error("there is no key for {url}")]
    NoKey { url: String, unreadable: Option<PathBuf> },
    #[error("the key is empty, or has characters that no key has")]
    BadKey,
    #[error("{}: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error("this system names no folder for configuration")]
    NoFolder,
}

impl ConfigError {
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::BadUrl { .. } => Some(format!("write it like {DEFAULT_API}")),
            Self::PlainHttp { .. } => Some(
                "use https, or a tunnel: `ssh -L 8001:127.0.0.1:8001 HOST` and --api-url http://127.0.0.1:8001; --insecure \
                 sends it all the same"
                    .to_owned(),
            ),
            Self::NoKey { unreadable: Some(path), .. } => Some(format!(
                "the local server keeps its key in {}, which only its user can read; give it to `cargo shuttle login`, \
                 or set {KEY_VARIABLE}",
                path.display()
            )),
            Self::NoKey { unreadable: None, url } => Some(if is_default_server(url) {
                format!(
                    "start a server here with `platform-server serve`, or use `cargo shuttle login --api-url URL`, or set {KEY_VARIABLE}"
                )
            } else {
                format!(
                    "use `cargo shuttle login --api-url {url}`, or set {KEY_VARIABLE}; the server keeps its key in its data directory, in {KEY_FILE}"
                )
            }),
            Self::BadKey => Some(format!("look at what {KEY_VARIABLE}, the config file or stdin holds")),
            Self::File { .. } => Some("correct or remove this file; `cargo shuttle login` writes a new one".to_owned()),
            Self::NoFolder => Some("set HOME or XDG_CONFIG_HOME".to_owned()),
        }
    }
}

/// Finds server and key for a command.
pub(crate) fn server(global: &Global) -> Result<Server, ConfigError> {
    let variable = std::env::var(KEY_VARIABLE).ok().filter(|key| !key.trim().is_empty());
    let file = match config_path() {
        Ok(path) => read(&path)?,
        Err(_) => ConfigFile::default(),
    };
    resolve(global, variable, file, &key_files())
}

fn resolve(global: &Global, variable: Option<String>, file: ConfigFile, key_files: &[PathBuf]) -> Result<Server, ConfigError> {
    let url = url(given_url(global).or(file.api_url.as_deref()).unwrap_or(DEFAULT_API))?;
    check_transport(&url, global.insecure)?;
    let file_url = self::url(file.api_url.as_deref().unwrap_or(DEFAULT_API))?;
    let from_file = file.api_key.filter(|_| same_server(&file_url, &url));
    let key = match variable.or(from_file) {
        Some(key) => key,
        None => local_key(&url, key_files)?,
    };
    Ok(Server { url, key: check_key(&key)? })
}

/// What the flag or the variable says; an empty one says nothing.
pub(crate) fn given_url(global: &Global) -> Option<&str> {
    global.api_url.as_deref().filter(|url| !url.trim().is_empty())
}

/// The URL of a server's API, without a trailing slash in its path.
pub(crate) fn url(text: &str) -> Result<Url, ConfigError> {
    let bad = |why: String| ConfigError::BadUrl { url: text.to_owned(), why };
    let mut url = Url::parse(text.trim()).map_err(|error| bad(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("it begins with neither http:// nor https://".to_owned()));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad("it names no host".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad(format!("it holds a user name or password; the key belongs in {KEY_VARIABLE}")));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("it has a query or a fragment".to_owned()));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// A key crosses plain HTTP only within this machine.
pub(crate) fn check_transport(url: &Url, insecure: bool) -> Result<(), ConfigError> {
    if url.scheme() == "https" || insecure || is_loopback(url) {
        return Ok(());
    }
    Err(ConfigError::PlainHttp { host: url.host_str().unwrap_or_default().to_owned() })
}

/// Whether this address is the machine itself. Such requests never go through a proxy.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V6(ip)) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
        Ok(std::net::IpAddr::V4(ip)) => ip.is_loopback(),
        // RFC 6761: these names are the machine itself.
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// A key as it goes into a header.
pub(crate) fn check_key(key: &str) -> Result<String, ConfigError> {
    let key = key.trim();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ConfigError::BadKey);
    }
    Ok(key.to_owned())
}

/// The local server's key goes to its default address only: on another port anybody may listen.
fn local_key(url: &Url, key_files: &[PathBuf]) -> Result<String, ConfigError> {
    let mut unreadable = None;
    if is_default_server(url.as_str()) {
        for path in key_files {
            match fs::read_to_string(path) {
                Ok(key) => return Ok(key),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(_) => unreadable = unreadable.or_else(|| Some(path.clone())),
            }
        }
    }
    Err(ConfigError::NoKey { url: display(url), unreadable })
}

fn is_default_server(url: &str) -> bool {
    url.parse::<Url>().is_ok_and(|url| is_loopback(&url) && url.port() == Some(8001) && url.scheme() == "http")
}

fn same_server(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin() && one.path().trim_end_matches('/') == other.path().trim_end_matches('/')
}

/// The URL as the user writes it.
pub(crate) fn display(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// Where a default local server keeps its key: root's, and the user's own.
fn key_files() -> Vec<PathBuf> {
    let system = Some(PathBuf::from("/var/lib/platform-server"));
    let own = dirs::data_dir().map(|dir| dir.join("platform-server"));
    // The own one first: of two servers on one machine, it is the user's.
    [own, system].into_iter().flatten().map(|dir| dir.join(KEY_FILE)).collect()
}

/// The config file's place.
pub(crate) fn config_path() -> Result<PathBuf, ConfigError> {
    Ok(dirs::config_dir().ok_or(ConfigError::NoFolder)?.join("cargo-shuttle").join("config.toml"))
}

fn read(path: &Path) -> Result<ConfigFile, ConfigError> {
    let file_error = |why: String| ConfigError::File { path: path.to_owned(), why };
    match fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).map_err(|error| file_error(error.message().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(ConfigFile::default()),
        Err(error) => Err(file_error(error.to_string())),
    }
}

/// Writes the config file, readable by its owner only, whole or not at all.
pub(crate) fn write(path: &Path, config: &ConfigFile) -> Result<(), ConfigError> {
    let file_error = |why: String| ConfigError::File { path: path.to_owned(), why };
    let folder = path.parent().ok_or(ConfigError::NoFolder)?;
    fs::create_dir_all(folder).map_err(|error| file_error(error.to_string()))?;
    let text = toml::to_string(config).map_err(|error| file_error(error.to_string()))?;
    // A temporary file has mode 0600 from the moment it exists.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| file_error(error.to_string()))?;
    file.write_all(text.as_bytes()).map_err(|error| file_error(error.to_string()))?;
    file.persist(path).map_err(|error| file_error(error.to_string()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::cli::{Color, Format};

    fn global(api_url: Option<&str>, insecure: bool) -> Global {
        Global { api_url: api_url.map(str::to_owned), output: Format::Text, insecure, color: Color::Auto }
    }

    fn stored(url: &str) -> ConfigFile {
        ConfigFile { api_url: Some(url.into()), api_key: Some("stored".into()) }
    }

    #[test]
    fn flag_before_file_before_local_server() {
        let dir = tempfile::tempdir().unwrap();
        let key_file = dir.path().join(KEY_FILE);
        fs::write(&key_file, "local\n").unwrap();
        let keys = [dir.path().join("absent"), key_file];
        let server = |url, variable: Option<&str>, file| {
            let server = resolve(&global(url, false), variable.map(str::to_owned), file, &keys);
            server.map(|server| (display(&server.url), server.key))
        };
        let pair = |url: &str, key: &str| (url.to_owned(), key.to_owned());
        assert_eq!(server(None, None, ConfigFile::default()).unwrap(), pair(DEFAULT_API, "local"));
        assert_eq!(server(None, None, stored("https://a.example/")).unwrap(), pair("https://a.example", "stored"));
        assert_eq!(server(Some("https://b.example"), Some("mine"), stored("https://a.example")).unwrap().1, "mine");
    }

    #[test]
    fn an_empty_url_is_none() {
        assert_eq!(given_url(&global(Some(" "), false)), None);
        assert_eq!(given_url(&global(Some("http://a"), false)), Some("http://a"));
    }

    #[test]
    fn a_key_goes_only_to_the_server_it_was_given_for() {
        let dir = tempfile::tempdir().unwrap();
        let key_file = dir.path().join(KEY_FILE);
        fs::write(&key_file, "local\n").unwrap();
        for url in ["https://b.example", "http://127.0.0.1:9999"] {
            let error = resolve(&global(Some(url), false), None, stored("https://a.example"), std::slice::from_ref(&key_file));
            assert!(matches!(error, Err(ConfigError::NoKey { .. })), "{url}");
        }
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        for (address, local) in [
            ("http://127.0.0.1:8001", true),
            ("http://127.8.0.1", true),
            ("http://localhost:1", true),
            ("http://api.localhost:1", true),
            ("http://[::1]:8001", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://10.0.0.1:8001", false),
            ("http://localhost.example", false),
            ("http://127.0.0.1.example", false),
            ("https://example.org", true),
        ] {
            let parsed = url(address).unwrap();
            assert_eq!(check_transport(&parsed, false).is_ok(), local, "{address}");
            assert!(check_transport(&parsed, true).is_ok(), "{address}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused() {
        for text in ["example.org:8001", "ftp://example.org", "http://", "http://me:pw@example.org", "http://a/?x=1"] {
            assert!(matches!(url(text), Err(ConfigError::BadUrl { .. })), "{text}");
        }
    }

    #[test]
    fn a_key_is_trimmed_and_must_fit_a_header() {
        assert_eq!(check_key(" k-1\n").unwrap(), "k-1");
        assert!(check_key("").is_err());
        assert!(check_key("a\nb").is_err());
    }

    #[test]
    fn the_file_comes_back_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/config.toml");
        write(&path, &stored("https://a.example")).unwrap();
        assert_eq!(read(&path).unwrap(), stored("https://a.example"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "api_kye = \"x\"").unwrap();
        assert!(matches!(read(&path), Err(ConfigError::File { .. })));
    }
}
