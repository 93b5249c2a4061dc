//! What can be set, each limit with its name, unit and default.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use crate::{
    connection::{self, Pace},
    deployment::instances,
    provision::{MAX_APP_CONNECTIONS, PostgresLimits, most_of_one},
    proxy::ProxyConfig,
};

use crate::build::AllowedHost;

/// Serves Rust apps that `cargo shuttle deploy` sends.
#[derive(Debug, Parser)]
#[command(name = "platform-server", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the platform until SIGINT or SIGTERM
    Serve(Box<Serve>),
    /// Show what building has left on the disk, or remove it: it is made again when it is needed
    Cache(Cache),
}

#[derive(Debug, Args)]
pub(crate) struct Cache {
    /// The server's data directory [default: as for `serve`]
    #[arg(long, value_name = "DIR", env = "PLATFORM_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Remove everything that no build is using
    #[arg(long)]
    pub(crate) clear: bool,
    /// `json`: one document on stdout
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where everything is kept [default: /var/lib/platform-server as root, else the user's data folder]
    #[arg(long, value_name = "DIR", env = "PLATFORM_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where cargo-shuttle reaches the platform; keep it on loopback, and reach it through `ssh -L`
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8001")]
    pub(crate) api: SocketAddr,
    /// Where browsers reach the apps
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    pub(crate) proxy: SocketAddr,
    /// Proxies in front of this one, as addresses or networks: they are believed in what they say of a client (X-Forwarded-For,
    /// X-Forwarded-Proto, X-Forwarded-Host, Forwarded); nobody else is
    #[arg(long, value_name = "CIDR", value_delimiter = ',', num_args = 1.., value_parser = network)]
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// An app answers at NAME.DOMAIN
    #[arg(long, default_value = "localhost")]
    pub(crate) domain: String,
    /// `json`: one line on stdout when ready, {"api":…,"proxy":…,"admin_key_file":…}
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: Output,
    /// A Postgres to make the apps' databases in, as an administrator [default: an installed one, run by the platform]
    #[arg(long, value_name = "URL", env = "PLATFORM_POSTGRES_URL", hide_env_values = true)]
    pub(crate) postgres_url: Option<String>,
    /// Postgres extensions that apps may have beside those that Postgres calls trusted, such as postgis; the administrator
    /// makes them, so name only what is safe for apps that share one Postgres
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) postgres_extensions: Vec<String>,
    /// Hosts that dependencies may be fetched from although they are this machine or in its network, such as a registry of
    /// your own; all others have to be on the public internet
    #[arg(long, value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) allow_fetch_from: Vec<AllowedHost>,
    /// The key that secrets are encrypted with, 64 hexadecimal digits; made when it is missing and first needed
    /// [default: secrets.key in the data directory]
    #[arg(long, value_name = "FILE", env = "PLATFORM_SECRETS_KEY_FILE")]
    pub(crate) secrets_key_file: Option<PathBuf>,
    /// The program that loads apps [default: platform-runner beside platform-server]
    #[arg(long, value_name = "FILE")]
    pub(crate) runner: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Limits")]
    pub(crate) limits: Limits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

/// Every limit of the server's.
#[derive(Debug, Clone, Args)]
pub(crate) struct Limits {
    /// Largest archive, in bytes, compressed
    #[arg(long, value_name = "BYTES", default_value_t = 100 * 1024 * 1024)]
    pub(crate) max_archive_bytes: u64,
    /// Most bytes that an archive may unpack to
    #[arg(long, value_name = "BYTES", default_value_t = 1024 * 1024 * 1024)]
    pub(crate) max_unpacked_bytes: u64,
    /// Most entries of an archive: files and folders, those that their paths imply included
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) max_archive_entries: u64,
    /// Most folders of an archive
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub(crate) max_archive_folders: u64,
    /// Largest compiled artifact, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1024 * 1024 * 1024)]
    pub(crate) max_artifact_bytes: u64,
    /// Largest manifest, lockfile, cargo configuration or toolchain file, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 4 * 1024 * 1024)]
    pub(crate) max_manifest_bytes: u64,
    /// Address space of the process that reads a project's manifests, lockfile and configuration, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 512 * 1024 * 1024)]
    pub(crate) max_manifest_memory_bytes: u64,
    /// Most deployments that wait to be built
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) max_queued: usize,
    /// Builds at the same time [default: half the cores, and no more than one for each 2 GiB of memory]
    #[arg(long, value_name = "N")]
    pub(crate) max_builds: Option<usize>,
    /// Longest fetch of dependencies, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) fetch_timeout: u64,
    /// Longest build, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    pub(crate) build_timeout: u64,
    /// Address space of each process of a build, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 16 * 1024 * 1024 * 1024)]
    pub(crate) max_build_memory_bytes: u64,
    /// Total size of the build folders, in bytes; the least recently used go first
    #[arg(long, value_name = "BYTES", default_value_t = 20 * 1024 * 1024 * 1024)]
    pub(crate) max_build_folders_bytes: u64,
    /// Total size of downloaded crates and repositories, in bytes; the least recently used go first
    #[arg(long, value_name = "BYTES", default_value_t = 5 * 1024 * 1024 * 1024)]
    pub(crate) max_registry_bytes: u64,
    /// Room on the disk that is given up when the disk is full, so that the server starts and projects can be deleted, in
    /// bytes; never more than a sixteenth of the disk
    #[arg(long, value_name = "BYTES", default_value_t = 16 * 1024 * 1024)]
    pub(crate) disk_reserve_bytes: u64,
    /// Deployments of each project whose files are kept, beside the one that serves; at least one
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keep_deployments: u32,
    /// How long the logs of a deleted project are kept, in days
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub(crate) keep_deleted_logs: u32,
    /// Seconds without a deployment after which the optimised build of what serves is made; 0 is never
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) optimise_after: u64,
    /// Seconds without a deployment after which common dependencies are compiled for first deployments; 0 is never
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) warm_up_after: u64,
    /// Longest wait for Postgres when an app's database is prepared: for the connection, and for each statement, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) database_timeout: u64,
    /// Postgres connections that one instance of an app may have to one database; up to 4 instances run while it is deployed
    /// or restarted again and again
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) database_connections: u32,
    /// Longest start of an app until it takes connections, or answers well at its health path, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) start_timeout: u64,
    /// How long a replaced or stopped app may finish its requests, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) drain_grace: u64,
    /// How long an app has at the least to end once it is told to (by SIGTERM, if it handles that itself), also where its
    /// requests took all of --drain-grace, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub(crate) stop_grace: u64,
    /// Longest pause before an app that keeps ending is started again, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) max_restart_delay: u64,
    /// How long a request waits for an app that is starting, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) hold_timeout: u64,
    /// How long an app may take to begin its answer, in seconds; then the client gets 504
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) response_timeout: u64,
    /// How long a client may take to send a request's head, and how long a connection without a request is kept, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) head_timeout: u64,
    /// How long a request's body may pause, or be behind 500 bytes a second, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) body_timeout: u64,
    /// Connections that the proxy serves at the same time, and requests to all apps; the longest idle one is closed for a new one
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub(crate) max_connections: usize,
    /// Connections to the proxy, and requests at the same time, of one client: an IPv4 address, or a /64 of IPv6; a trusted proxy is not limited
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(crate) max_connections_per_client: usize,
    /// Requests and open streams of one app at the same time; more get 503
    #[arg(long, value_name = "N", default_value_t = 1536)]
    pub(crate) max_requests_per_app: usize,
    /// Connections that the API serves at the same time
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) max_api_connections: usize,
}

/// Memory that a build of an app with a large framework and a database client takes at its peak, in bytes, with room.
const BUILD_MEMORY: u64 = 2 * 1024 * 1024 * 1024;

impl Limits {
    pub(crate) fn builds(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let system = rustix::system::sysinfo();
        let memory = u64::from(system.mem_unit).saturating_mul(system.totalram);
        self.max_builds.unwrap_or_else(|| default_builds(cores, memory)).max(1)
    }

    pub(crate) fn fetch(&self) -> Duration {
        Duration::from_secs(self.fetch_timeout)
    }

    pub(crate) fn build(&self) -> Duration {
        Duration::from_secs(self.build_timeout)
    }

    /// `None`: never.
    pub(crate) fn optimise(&self) -> Option<Duration> {
        (self.optimise_after > 0).then(|| Duration::from_secs(self.optimise_after))
    }

    /// `None`: never.
    pub(crate) fn warm_up(&self) -> Option<Duration> {
        (self.warm_up_after > 0).then(|| Duration::from_secs(self.warm_up_after))
    }

    pub(crate) fn postgres(&self) -> PostgresLimits {
        PostgresLimits {
            timeout: Duration::from_secs(self.database_timeout),
            an_instance: self.database_connections,
            instances: instances::AT_ONCE,
        }
    }

    pub(crate) fn start(&self) -> Duration {
        Duration::from_secs(self.start_timeout)
    }

    pub(crate) fn keep_deleted_logs(&self) -> Duration {
        Duration::from_secs(u64::from(self.keep_deleted_logs) * 24 * 60 * 60)
    }

    pub(crate) fn grace(&self) -> Duration {
        Duration::from_secs(self.drain_grace)
    }
}

/// A network such as `10.0.0.0/8`, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse().map(|address: IpAddr| IpNet::from(address)));
    network.map_err(|_| "an address or a network is wanted, such as 127.0.0.1 or 10.0.0.0/8".to_owned())
}

/// Descriptors that are neither a client's nor an app's connection: the database's, files of builds and logs, pipes of
/// processes.
const OTHER_FILES: usize = 512;

impl Serve {
    /// The limits of the proxy on a system that allows `files` open files.
    pub(crate) fn proxy_config(&self, files: usize) -> ProxyConfig {
        let limits = &self.limits;
        let max_connections = limits.connections(files).0;
        ProxyConfig {
            clients: connection::Config {
                max_connections,
                max_connections_per_client: limits.max_connections_per_client,
                trusted_proxies: self.trusted_proxies.clone(),
                shutdown_grace: limits.grace(),
                ..limits.clients("the proxy")
            },
            hold_timeout: Duration::from_secs(limits.hold_timeout),
            response_timeout: Duration::from_secs(limits.response_timeout),
            max_requests_per_app: limits.max_requests_per_app,
            max_idle_of_all: max_connections.div_ceil(4),
            ..ProxyConfig::new(&self.domain)
        }
    }

    /// The limits of the API's connections. All of them may be of one client: the API is reached through `ssh -L`.
    pub(crate) fn api_config(&self, files: usize) -> connection::Config {
        let max_connections = self.limits.connections(files).1;
        connection::Config {
            max_connections,
            max_connections_per_client: max_connections,
            shutdown_grace: Duration::from_secs(5),
            ..self.limits.clients("the API")
        }
    }
}

impl Limits {
    fn clients(&self, what: &'static str) -> connection::Config {
        let defaults = connection::Config::new(what);
        connection::Config {
            head_timeout: Duration::from_secs(self.head_timeout),
            pace: Pace { timeout: Duration::from_secs(self.body_timeout), ..defaults.pace },
            ..defaults
        }
    }

    /// How many connections apps may have to the platform's own Postgres where `files` may be open; each has another behind it.
    pub(crate) fn gate(files: usize) -> u32 {
        u32::try_from(files / 32).unwrap_or(u32::MAX).clamp(1, MAX_APP_CONNECTIONS)
    }

    /// What the owner is to know where an app cannot have as many of them as its instances are promised.
    pub(crate) fn too_few_places(&self, files: usize) -> Option<String> {
        let (most, promised) = (most_of_one(Self::gate(files)), self.postgres().of_a_role());
        let why = if Self::gate(files) < MAX_APP_CONNECTIONS {
            format!("this process may have {files} files open; raise its hard limit (`ulimit -Hn`, LimitNOFILE of systemd)")
        } else {
            format!(
                "all apps together may have {MAX_APP_CONNECTIONS}; lower --database-connections, or name a larger Postgres (--postgres-url)"
            )
        };
        (most < promised).then(|| {
            format!(
                "an app may have {most} connections to the platform's Postgres at the same time, not the {promised} of its {} instances with --database-connections {}: {why}",
                instances::AT_ONCE, self.database_connections
            )
        })
    }

    /// How many connections the proxy and the API may have where `files` may be open: as many as is wished, unless there
    /// are too few descriptors for that. Each has a part of its own, so that neither can take the other's last ones.
    fn connections(&self, files: usize) -> (usize, usize) {
        let files = files.saturating_sub(OTHER_FILES.min(files / 2));
        // A connection to the API has one descriptor, and another for what it reads.
        let api = self.max_api_connections.min(files / 8).max(1);
        // One to the proxy has another to the app, and for four of them one idle connection to an app is kept.
        let proxy = self.max_connections.min(files.saturating_sub(2 * api + 2 * Self::gate(files) as usize) * 4 / 9);
        (proxy.max(1), api)
    }
}

/// How many builds a machine of so many cores and bytes of memory does at a time.
fn default_builds(cores: usize, memory: u64) -> usize {
    (cores / 2).min(usize::try_from(memory / BUILD_MEMORY).unwrap_or(usize::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(args: &[&str]) -> Result<Serve, clap::Error> {
        let cli = Cli::try_parse_from(["platform-server", "serve"].iter().chain(args))?;
        let Command::Serve(serve) = cli.command else { panic!("it is another command") };
        Ok(*serve)
    }

    #[test]
    fn the_proxy_has_descriptors_of_its_own() {
        for (files, proxy, api) in [(1_048_576, 4096, 256), (10_240, 3825, 256), (4096, 1265, 256), (1024, 156, 64), (0, 1, 1)] {
            let limits = serve(&[]).unwrap().limits;
            assert_eq!(limits.connections(files), (proxy, api), "{files}");
        }
    }

    #[test]
    fn the_gate_leaves_places_to_the_platform_and_too_few_are_told() {
        assert_eq!([0, 4096, 65_536, usize::MAX].map(Limits::gate), [1, 128, 950, 950]);
        let told = |args: &[&str], files| serve(args).unwrap().limits.too_few_places(files);
        assert_eq!((told(&[], 65_536), told(&["--database-connections", "16"], 4096)), (None, None));
        let few = told(&[], 4096).unwrap();
        assert!(few.starts_with("an app may have 64 connections") && few.contains("not the 200 of its 4 instances"), "{few}");
        assert!(few.contains("4096 files") && few.contains("LimitNOFILE"), "{few}");
        let many = told(&["--database-connections", "200"], 65_536).unwrap();
        assert!(many.contains("have 475") && many.contains("the 800 ") && many.contains("--postgres-url"), "{many}");
    }

    #[test]
    fn trusted_proxies_are_addresses_or_networks() {
        let parsed = serve(&["--trusted-proxies", "127.0.0.1,10.0.0.0/8,::1"]).unwrap();
        let texts: Vec<String> = parsed.trusted_proxies.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["127.0.0.1/32", "10.0.0.0/8", "::1/128"]);
        assert_eq!(parsed.proxy_config(100_000).clients.trusted_proxies, parsed.trusted_proxies);
        assert!(serve(&["--trusted-proxies", "nonsense"]).unwrap_err().to_string().contains("10.0.0.0/8"));
    }

    #[test]
    fn builds_are_bounded_by_cores_and_by_memory() {
        const GIB: u64 = 1024 * 1024 * 1024;
        for (cores, gibibytes, builds) in [(1, 1, 1), (2, 24, 1), (8, 24, 4), (8, 5, 2), (64, 16, 8)] {
            assert_eq!(default_builds(cores, gibibytes * GIB), builds, "{cores} cores, {gibibytes} GiB");
        }
    }
}
