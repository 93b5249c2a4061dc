//! The command line: commands, flags, environment variables and what `--help` says of them. Owns no behaviour.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use platform_wire::BuildMode;

// The key has no flag: what stands on a command line can be read by everybody on the machine, and stays in the history.
const AFTER_HELP: &str = "\
Environment:
  SHUTTLE_API      the server's API, as --api-url
  SHUTTLE_API_KEY  the server's key [default: the one of `cargo shuttle login`,
                   else the one of the local server]

Exit codes:
  0    done
  1    another error
  2    wrong usage
  3    the project cannot be deployed (found before the upload)
  4    the server cannot be reached
  5    the key is missing or was refused
  6    the server refused the request
  7    the build failed
  8    the app did not start
  9    the connection was lost while following; the deployment goes on
  10   the deployment was cancelled, or a newer one took its place
  130  interrupted (a deployment that was uploaded goes on, unless it was cancelled)";

const GLOBAL: &str = "Options of every command";

/// Deploy a Rust service to a box that you own
#[derive(Debug, Parser)]
#[command(name = "cargo-shuttle", bin_name = "cargo shuttle", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The server's API [default: the one of `cargo shuttle login`, else http://127.0.0.1:8001]
    #[arg(help_heading = GLOBAL, long, global = true, env = "SHUTTLE_API", value_name = "URL", hide_env = true)]
    pub(crate) api_url: Option<String>,
    /// What is printed to stdout: text, or one JSON document
    #[arg(help_heading = GLOBAL, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
    /// Send the key over plain HTTP even to another machine
    #[arg(help_heading = GLOBAL, long, global = true)]
    pub(crate) insecure: bool,
    /// When to use colours
    #[arg(help_heading = GLOBAL, long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) color: Color,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pack the project, upload it, and follow it until it is live
    #[command(after_help = AFTER_HELP)]
    Deploy(Deploy),
    /// List the server's projects
    #[command(subcommand, after_help = AFTER_HELP)]
    Project(Project),
    /// List the project's deployments, or cancel one
    #[command(subcommand, after_help = AFTER_HELP)]
    Deployment(Deployment),
    /// Show what serves, and what became of the newest deployment
    #[command(after_help = AFTER_HELP)]
    Status(Status),
    /// Start the app's process anew; no request fails meanwhile
    ///
    /// The new process is started from the optimised build, once that is made. It
    /// takes the old one's place when it has answered.
    #[command(after_help = AFTER_HELP)]
    Restart(Restart),
    /// List, set or unset the environment variables that the server keeps for the project
    #[command(subcommand, after_help = AFTER_HELP)]
    Env(Env),
    /// Print the app's log
    #[command(after_help = AFTER_HELP)]
    Logs(Logs),
    /// Delete the project; its data is kept
    #[command(after_help = AFTER_HELP)]
    Delete(Delete),
    /// Remember a server and its key, which is read from stdin
    #[command(after_help = AFTER_HELP)]
    Login(Login),
}

/// Which package is meant.
#[derive(Debug, Args)]
pub(crate) struct Select {
    /// The package, in a workspace with several
    #[arg(short, long, value_name = "PACKAGE")]
    pub(crate) package: Option<String>,
    /// Path to Cargo.toml
    #[arg(long, value_name = "PATH")]
    pub(crate) manifest_path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    #[command(flatten)]
    pub(crate) select: Select,
    /// Set the project's name for good: once the server has taken the upload, it is written
    /// to Shuttle.toml, which every command reads
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Deploy every package of the workspace that can be deployed, one after another
    #[arg(long, conflicts_with_all = ["package", "name", "secrets"])]
    pub(crate) workspace: bool,
    /// The file of the app's secrets [default: Secrets.toml beside the package's
    /// Cargo.toml, else at the workspace's root; without one the app keeps those it has]
    #[arg(long, value_name = "FILE")]
    pub(crate) secrets: Option<PathBuf>,
    /// List what would be sent, and send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Deploy files that are not committed to git
    #[arg(long)]
    pub(crate) allow_dirty: bool,
    /// Return after the upload, without waiting for the build
    #[arg(long)]
    pub(crate) no_follow: bool,
    /// How to build [default: `[build] mode` in Shuttle.toml, else both]
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) build: Option<Build>,
    /// Build and start it even where the very same is deployed already
    #[arg(long)]
    pub(crate) force: bool,
    /// Do not ask before the project is replaced that was deployed from another folder or
    /// repository; --name says the same
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) reconnect: Reconnect,
}

/// [`BuildMode`], with what `--help` says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Build {
    /// The project's profile (`release`, or `[build] profile` in Shuttle.toml), made
    /// incremental and without LTO: live the soonest
    Fast,
    /// The profile as it stands in Cargo.toml: live when that is done
    Optimised,
    /// Live from the fast build; the optimised one is made when the server has
    /// nothing else to do, and serves from the app's next start (or `restart`)
    Both,
}

impl From<Build> for BuildMode {
    fn from(build: Build) -> Self {
        match build {
            Build::Fast => Self::Fast,
            Build::Optimised => Self::Optimised,
            Build::Both => Self::Both,
        }
    }
}

/// How long a broken event stream is picked up again.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Reconnect {
    /// How long to go on trying when the connection breaks while following
    #[arg(long = "reconnect", value_name = "SECONDS", default_value_t = 30)]
    pub(crate) seconds: u64,
}

/// Names a project where there is no folder of it, or another one than the folder's.
#[derive(Debug, Args)]
pub(crate) struct Name {
    /// The project [default: the one of this folder]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) select: Select,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Project {
    /// List the server's projects: name, state, age of what serves, and URL
    #[command(after_help = AFTER_HELP)]
    List(Projects),
}

#[derive(Debug, Args)]
pub(crate) struct Projects {}

#[derive(Debug, Subcommand)]
pub(crate) enum Deployment {
    /// List the newest deployments: id, state, age, and why one failed
    #[command(after_help = AFTER_HELP)]
    List(List),
    /// End a deployment that is under way; what serves goes on serving
    #[command(after_help = AFTER_HELP)]
    Cancel(Cancel),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) project: Name,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The deployment [default: the newest of the project that is under way]
    #[arg(value_name = "ID", conflicts_with_all = ["name", "package", "manifest_path"])]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) project: Name,
}

/// Variables of a deployment stand in `[env]` of Shuttle.toml; those that are set here go before them.
#[derive(Debug, Subcommand)]
pub(crate) enum Env {
    /// List the variables that the app's next process gets, and where each is from
    #[command(after_help = AFTER_HELP)]
    List(EnvList),
    /// Set variables; they hold from the app's next start, or `cargo shuttle restart`
    #[command(after_help = AFTER_HELP)]
    Set(EnvSet),
    /// Take variables away that were set
    #[command(after_help = AFTER_HELP)]
    Unset(EnvUnset),
}

#[derive(Debug, Args)]
pub(crate) struct EnvList {
    #[command(flatten)]
    pub(crate) project: Name,
}

#[derive(Debug, Args)]
pub(crate) struct EnvSet {
    #[arg(value_name = "NAME=VALUE", required = true)]
    pub(crate) variables: Vec<String>,
    #[command(flatten)]
    pub(crate) project: Name,
}

#[derive(Debug, Args)]
pub(crate) struct EnvUnset {
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) project: Name,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) project: Name,
}

#[derive(Debug, Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    pub(crate) project: Name,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) project: Name,
    /// Go on printing new lines until interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only what this deployment wrote; the short id in front of its lines will do
    #[arg(long, value_name = "ID")]
    pub(crate) deployment: Option<String>,
    /// How many of the last lines to print
    #[arg(long, value_name = "LINES", default_value_t = 100)]
    pub(crate) tail: u32,
    #[command(flatten)]
    pub(crate) reconnect: Reconnect,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) project: Name,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Login {}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_exit_code_is_documented() {
        for code in crate::error::ALL_EXIT_CODES {
            assert!(AFTER_HELP.lines().any(|line| line.trim_start().starts_with(&format!("{code} "))), "{code}");
        }
    }
}
