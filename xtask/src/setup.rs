//! Checks for what the platform needs from the system, and installs it with apt where that is allowed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    cmd,
    error::{At, Error, Result},
    ui,
};

/// What a command needs to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// To compile the workspace.
    Build,
    /// To run apps with their databases as well.
    Run,
}

/// Something that the system provides.
struct Need {
    what: &'static str,
    /// Debian's and Ubuntu's name for it.
    packages: &'static [&'static str],
    scope: Scope,
    present: fn() -> bool,
}

const NEEDS: &[Need] = &[
    Need { what: "a C compiler", packages: &["gcc", "libc6-dev"], scope: Scope::Build, present: has_c_compiler },
    Need { what: "git", packages: &["git"], scope: Scope::Build, present: || cmd::find("git", &[]).is_some() },
    Need { what: "pkg-config", packages: &["pkg-config"], scope: Scope::Build, present: has_pkg_config },
    Need { what: "OpenSSL's headers", packages: &["libssl-dev"], scope: Scope::Build, present: has_openssl },
    Need { what: "a PostgreSQL server", packages: &["postgresql"], scope: Scope::Run, present: has_postgres },
    Need { what: "a Redis or Valkey server", packages: &["redis-server"], scope: Scope::Run, present: has_redis },
];

/// Debian's package makes and starts a database cluster when it is installed. The platform runs one of its own and has
/// no use for another, so this file says so for as long as the installation takes.
const NO_CLUSTER: &str = "/etc/postgresql-common/createcluster.d/shuttle-no-cluster.conf";

/// Makes sure that everything of the scope is there.
pub(crate) fn setup(scope: Scope) -> Result<()> {
    let missing = missing(scope);
    if missing.is_empty() {
        return Ok(());
    }
    let what = missing.iter().map(|need| need.what).collect::<Vec<_>>().join(", ");
    ui::step(format_args!("Missing on this machine: {what}"));
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
    if cmd::find("apt-get", &[]).is_none() {
        return Err(Error::new(format!("this machine lacks {what}"))
            .hint("install it with the system's package manager, then run the same command again"));
    }
    let apt = Apt::new().ok_or_else(|| {
        Error::new(format!("this machine lacks {what}, and installing it takes root")).hint(format!(
            "run this, then the same command again:\n\n    sudo apt-get update && sudo apt-get install -y --no-install-recommends {}\n",
            packages.join(" ")
        ))
    })?;
    apt.install(&packages)?;
    match self::missing(scope).as_slice() {
        [] => Ok(()),
        still => Err(Error::new(format!(
            "apt-get ended well, and yet this machine still lacks {}",
            still.iter().map(|need| need.what).collect::<Vec<_>>().join(", ")
        ))),
    }
}

fn missing(scope: Scope) -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| need.scope == Scope::Build || scope == Scope::Run).filter(|need| !(need.present)()).collect()
}

/// For `install`: what an app may ask for and would not get, without making it a condition.
pub(crate) fn notes() {
    for need in missing(Scope::Run).iter().filter(|need| need.scope == Scope::Run) {
        ui::note(format_args!(
            "this machine has not {}: apps that ask for it need it on the server (apt-get install {})",
            need.what,
            need.packages.join(" ")
        ));
    }
}

/// apt-get, by root or through a sudo that asks nothing.
struct Apt {
    sudo: bool,
}

impl Apt {
    fn new() -> Option<Self> {
        if is_root() {
            return Some(Self { sudo: false });
        }
        cmd::succeeds(Command::new("sudo").args(["-n", "true"])).then_some(Self { sudo: true })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = if self.sudo {
            // sudo drops the environment; behind a proxy, apt needs that part of it.
            let mut command = Command::new("sudo");
            command.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive"]);
            command.args(env::vars().filter(|(name, _)| is_for_network(name)).map(|(name, value)| format!("{name}={value}")));
            command.arg(program);
            command
        } else {
            let mut command = Command::new(program);
            command.env("DEBIAN_FRONTEND", "noninteractive");
            command
        };
        command.stdin(std::process::Stdio::null());
        command
    }

    fn install(&self, packages: &[&str]) -> Result<()> {
        let updated = lists_are_old();
        if updated {
            self.update();
        }
        let no_cluster = packages.contains(&"postgresql").then(|| self.no_cluster()).transpose()?;
        if packages.contains(&"redis-server") {
            ui::note(
                "the package redis-server may start a Redis of its own; the platform does not use it, and it can be disabled",
            );
        }
        let mut result = self.apt_install(packages);
        if result.is_err() && !updated {
            // The lists may name versions that the mirror has no more.
            self.update();
            result = self.apt_install(packages);
        }
        if let Some(file) = no_cluster {
            cmd::succeeds(self.command("rm").arg("-f").arg(file));
        }
        result
    }

    /// A failure is not the end: what is needed may be in the lists that are there.
    fn update(&self) {
        if let Err(error) = self.shown(&["update"]) {
            ui::note(format_args!("{error}; going on with the package lists that are there"));
        }
    }

    fn apt_install(&self, packages: &[&str]) -> Result<()> {
        self.shown(&[&["install", "-y", "--no-install-recommends"], packages].concat())
    }

    fn shown(&self, args: &[&str]) -> Result<()> {
        // Not `cmd::run`: a proxy's address may hold a password, and stands among sudo's arguments.
        ui::note(format_args!("$ {}apt-get {}", if self.sudo { "sudo " } else { "" }, args.join(" ")));
        let status = self.command("apt-get").arg("-q").args(args).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Error::new(format!("`apt-get {}` failed: {status}", args.join(" ")))),
            Err(error) => Err(Error::new(format!("cannot run apt-get: {error}"))),
        }
    }

    fn no_cluster(&self) -> Result<PathBuf> {
        let file = PathBuf::from(NO_CLUSTER);
        let temp = crate::repo::Temp::new("setup")?;
        let draft = temp.path.join("no-cluster.conf");
        fs::write(&draft, "create_main_cluster = false\n").at(&draft)?;
        if cmd::succeeds(self.command("install").args(["-D", "-m", "644"]).arg(&draft).arg(&file)) {
            Ok(file)
        } else {
            Err(Error::new(format!("cannot write {NO_CLUSTER}")))
        }
    }
}

/// Proxies, and the certificates that they may need.
pub(crate) fn is_for_network(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    matches!(lower.as_str(), "http_proxy" | "https_proxy" | "ftp_proxy" | "all_proxy" | "no_proxy")
        || matches!(name, "SSL_CERT_FILE" | "SSL_CERT_DIR" | "CURL_CA_BUNDLE" | "GIT_SSL_CAINFO" | "CARGO_HTTP_CAINFO")
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// No lists (a fresh container image), or none fetched within a day: versions may be gone from the mirror.
fn lists_are_old() -> bool {
    let lists = Path::new("/var/lib/apt/lists");
    let any = fs::read_dir(lists)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().contains("_Packages"));
    // The files themselves carry the mirror's times; `partial` changes with every update.
    let age = fs::metadata(lists.join("partial")).and_then(|data| data.modified()).ok().and_then(|time| time.elapsed().ok());
    !any || age.is_none_or(|age| age > Duration::from_secs(24 * 3600))
}

fn has_c_compiler() -> bool {
    ["cc", "gcc", "clang"].iter().any(|name| cmd::find(name, &[]).is_some()) && Path::new("/usr/include").is_dir()
}

fn has_pkg_config() -> bool {
    env::var_os("PKG_CONFIG").is_some() || cmd::find("pkg-config", &[]).is_some()
}

fn has_openssl() -> bool {
    let pkg_config = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    env::var_os("OPENSSL_DIR").is_some()
        || env::var_os("OPENSSL_INCLUDE_DIR").is_some()
        || cmd::succeeds(Command::new(pkg_config).args(["--exists", "openssl"]))
}

/// Debian keeps the server's programs outside PATH, in a folder for each version.
fn has_postgres() -> bool {
    let versions = |root: &str| fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let folders: Vec<PathBuf> = versions("/usr/lib/postgresql").collect();
    cmd::find("initdb", &folders).is_some() && cmd::find("postgres", &folders).is_some()
}

fn has_redis() -> bool {
    let folders = ["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(PathBuf::from);
    ["redis-server", "valkey-server"].iter().any(|name| cmd::find(name, &folders).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_proxies_and_certificates_are_passed_through_sudo() {
        for name in ["http_proxy", "HTTPS_PROXY", "no_proxy", "SSL_CERT_FILE"] {
            assert!(is_for_network(name), "{name}");
        }
        for name in ["PATH", "SHUTTLE_API_KEY", "CARGO_REGISTRY_TOKEN", "LD_PRELOAD"] {
            assert!(!is_for_network(name), "{name}");
        }
    }

    #[test]
    fn building_needs_no_database() {
        assert!(NEEDS.iter().filter(|need| need.scope == Scope::Build).all(|need| !need.what.contains("server")));
    }
}
