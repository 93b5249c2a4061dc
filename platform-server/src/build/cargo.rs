//! The two runs of cargo: `fetch` and `rustc`.

use std::{
    collections::BTreeSet,
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use platform_wire::{ArchiveIndex, Event};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpListener,
};
use tokio_util::sync::CancellationToken;

use super::{
    BuildError, Builder, blocking,
    cause::Failure,
    fetched::Marker,
    folders::BuildFolder,
    messages::{Messages, Unit},
    profile::Profile,
    relay::Relay,
    skeleton::Skeleton,
    toolchain::Toolchain,
};
use crate::{
    deployment::Meta,
    process::{Process, describe},
    sandbox::{DeathSignal, Layers, Limits, Mount, Network, RELAY_ADDRESS, Share, Spec},
};

/// Where a sandboxed cargo finds things, beside the files at [`Builder::seen_at`]. Fixed, so that what was compiled for one
/// project has the same paths in it as what is compiled for another.
const TARGET: &str = "/build/target";
const CARGO_HOME: &str = "/build/cargo";
const TOOLCHAIN: &str = "/build/toolchain";
const HOME: &str = "/build/home";
const FETCH_CONFIG: &str = "/build/fetch.toml";

/// What a fetch may see of the server's environment: whom to trust in the network. Each names a file or folder.
const CERTIFICATE_VARIABLES: [&str; 5] =
    ["CARGO_HTTP_CAINFO", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "SSL_CERT_DIR", "SSL_CERT_FILE"];
/// What cargo, libgit2 and git are told their proxy by. cargo's own variable goes before every file of configuration.
const PROXY_VARIABLES: [&str; 6] = ["ALL_PROXY", "CARGO_HTTP_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "http_proxy", "https_proxy"];

/// The variable that names the commit that was sent.
const COMMIT: &str = "SHUTTLE_GIT_COMMIT";

/// Niceness of what nobody waits for: as low as there is.
const IDLE: i32 = 19;

/// Longest line of cargo's that is read whole, in bytes.
const MAX_LINE: usize = 4 * 1024 * 1024;

/// Longest text of cargo's that a failure's message has, in characters.
const MAX_REASON: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub(super) enum CargoError {
    #[error("cancelled")]
    Cancelled,
    #[error("{what} took too long")]
    Timeout { what: &'static str, limit: Duration },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Everything that both runs need.
pub(super) struct CargoRun<'a> {
    pub(super) builder: &'a Builder,
    pub(super) folder: &'a Arc<BuildFolder>,
    pub(super) toolchain: &'a Toolchain,
    pub(super) profile: &'a Profile,
    pub(super) meta: &'a Meta,
    /// Packages that were compiled apart, before the project itself.
    pub(super) apart: Mutex<BTreeSet<String>>,
}

/// Paths as cargo sees them: fixed inside the sandbox, the real ones where there is none.
struct Paths {
    tree: PathBuf,
    target: PathBuf,
    cargo_home: PathBuf,
    toolchain: PathBuf,
    home: PathBuf,
}

impl CargoRun<'_> {
    fn paths(&self) -> Paths {
        if self.builder.sandbox.has_view() {
            Paths {
                tree: self.builder.seen_at.clone(),
                target: TARGET.into(),
                cargo_home: CARGO_HOME.into(),
                toolchain: TOOLCHAIN.into(),
                home: HOME.into(),
            }
        } else {
            Paths {
                tree: self.folder.tree.clone(),
                target: self.folder.target.clone(),
                cargo_home: self.builder.registry.home.clone(),
                toolchain: self.toolchain.sysroot.clone(),
                home: self.folder.empty.clone(),
            }
        }
    }

    fn environment(&self, paths: &Paths) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        [
            ("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", paths.toolchain.join("bin").display())),
            ("HOME", text(&paths.home)),
            ("CARGO_HOME", text(&paths.cargo_home)),
            ("LANG", "C.UTF-8".to_owned()),
            ("CARGO_TERM_COLOR", "always".to_owned()),
            ("CARGO_TERM_PROGRESS_WHEN", "always".to_owned()),
            ("CARGO_TERM_PROGRESS_WIDTH", "100".to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    fn mount(from: &Path, to: impl Into<PathBuf>, write: bool) -> Mount {
        Mount { from: from.to_path_buf(), to: to.into(), write, upon: None }
    }

    /// Downloads what the lockfile names into the shared registry cache, unless it has just been done for this project.
    ///
    /// cargo looks configuration and toolchain files up from the current folder, so it stands in an empty one; and it is
    /// the toolchain's own cargo, not rustup's proxy, which would look for a toolchain file as well.
    ///
    /// `config` is what it may know of the uploaded configuration.
    pub(super) async fn fetch(
        &self,
        config: &str,
        event: &(dyn Fn(Event) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), BuildError> {
        let paths = self.paths();
        let (tree, wanted, toolchain) = (self.folder.tree.clone(), config.to_owned(), self.toolchain.clone());
        let config_file = self.folder.tree.with_file_name("fetch.toml");
        let written = config_file.clone();
        let marker = blocking(move || {
            let marker = Marker::of(&tree, &wanted, &toolchain)?;
            if marker.holds() {
                return Ok(None);
            }
            std::fs::write(&written, wanted)?;
            Ok(Some(marker))
        });
        let Some(marker) = marker.await? else { return Ok(()) };
        let upstreams = self.builder.upstreams.clone().ok_or(BuildError::UnusableProxy)?;
        self.builder.registry.grows();
        let manifest = paths.tree.join(&self.meta.index.package_root).join("Cargo.toml");
        let mut env = self.environment(&paths);
        let mut mounts = vec![
            Self::mount(&self.toolchain.sysroot, TOOLCHAIN, false),
            Self::mount(&self.folder.tree, &self.builder.seen_at, false),
            Self::mount(&self.builder.registry.home, CARGO_HOME, true),
        ];
        for (name, value) in CERTIFICATE_VARIABLES.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?))) {
            let path = Path::new(&value);
            // Certificates in an unusual place have to be shown.
            if path.is_absolute() && path.exists() && !path.starts_with("/etc/ssl") && !path.starts_with("/usr") {
                mounts.push(Self::mount(path, value.clone(), false));
            }
            env.push((name.to_owned(), value));
        }
        let config_seen = if self.builder.sandbox.has_view() { PathBuf::from(FETCH_CONFIG) } else { config_file.clone() };
        mounts.push(Self::mount(&config_file, FETCH_CONFIG, false));
        let uid = self.builder.uids.fetch();
        // In a network of its own it finds the relay always at the same address.
        let listener =
            if self.builder.sandbox.has_view() { None } else { Some(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?) };
        let proxy = listener.as_ref().map_or(Ok(RELAY_ADDRESS.into()), TcpListener::local_addr)?;
        env.extend(PROXY_VARIABLES.map(|name| (name.to_owned(), format!("http://{proxy}"))));
        let spec = Spec {
            program: paths.toolchain.join("bin/cargo"),
            args: [
                "fetch",
                "--locked",
                "--target",
                &host(),
                "--manifest-path",
                &manifest.display().to_string(),
                "--config",
                &config_seen.display().to_string(),
            ]
            .map(str::to_owned)
            .to_vec(),
            env,
            cwd: paths.home.clone(),
            uid,
            view: self.builder.sandbox.view(mounts, Share { network: Network::Relay, ..Share::default() }, uid),
            limits: Limits { open_files: Some(4096), ..Limits::default() },
            death_signal: DeathSignal::Kill,
            nice: if self.is_awaited() { 5 } else { IDLE },
        };
        let mut messages = Messages::new(&self.meta.index.crate_name, false);
        let limit = self.builder.limits.fetch();
        let relay = Relay::new(self.builder.fetch_from.clone(), upstreams);
        let (mut process, listener, _kept) = if listener.is_some() {
            (self.builder.sandbox.spawn(&spec, Stdio::piped(), Stdio::piped()).await?, listener, None)
        } else {
            let (process, socket) = self.builder.sandbox.spawn_relayed(&spec, Stdio::piped(), Stdio::piped()).await?;
            (process, socket.listener().await?, Some(socket))
        };
        let status = tokio::select! {
            status = self.follow(&mut process, &mut messages, event, cancel, "fetching dependencies", limit) => status?,
            error = relay.serve(listener) => return Err(error.into()),
            // cargo would try it again and again.
            host = relay.refused() => {
                process.kill().await?;
                return Err(BuildError::RefusedHost(host));
            }
        };
        if status.success() {
            return Ok(blocking(move || marker.set()).await?);
        }
        if let Some(host) = relay.has_refused() {
            return Err(BuildError::RefusedHost(host));
        }
        Err(BuildError::Fetch(reason(&messages).unwrap_or_else(|| format!("cargo fetch ended with {}", describe(status)))))
    }

    /// Compiles the library as a cdylib, or the binary. Returns the artifact's path below the target folder.
    pub(super) async fn compile(
        &self,
        event: &(dyn Fn(Event) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<PathBuf, BuildError> {
        let index = &self.meta.index;
        let mut messages = Messages::new(&index.crate_name, index.binary.is_some());
        let folder = Arc::clone(self.folder);
        let lower = blocking(move || folder.layers()).await?;
        let upon = (!lower.is_empty()).then(|| Layers { lower, work: self.folder.work.clone() });
        let target = Mount { upon, ..Self::mount(&self.folder.target, TARGET, true) };
        let tree = self.folder.written_over();
        // Without a sandbox, all is as its modes say.
        let writable = tree.is_some() || !self.builder.sandbox.has_view();
        let tree = tree.map(|(upper, layers)| Mount { upon: Some(layers), ..Self::mount(&upper, &self.builder.seen_at, true) });
        let tree = tree.unwrap_or_else(|| Self::mount(&self.folder.tree, &self.builder.seen_at, false));
        let mut spec = self.compile_spec(tree, target, index, self.profile);
        // Of this project alone: dependencies that others share are compiled without it.
        spec.env.extend(index.git_commit.iter().map(|commit| (COMMIT.to_owned(), commit.clone())));
        let status = self.run(&spec, &mut messages, event, cancel, "compiling", self.builder.limits.build()).await?;
        if !status.success() {
            let message = compile_failure(&messages, status);
            let (tree, package, name) = (self.folder.tree.clone(), index.package_root.clone(), self.profile.name.clone());
            let hint = blocking(move || {
                let flag = if name == "release" { "--release".to_owned() } else { format!("--profile {name}") };
                Ok(Failure { messages: &messages, tree: &tree, package: &package, flag: &flag, writable }.hint())
            });
            return Err(BuildError::Compile { message, hint: hint.await? });
        }
        let text = messages.summary(&self.apart.lock().unwrap_or_else(PoisonError::into_inner));
        event(Event::Output { text });
        let artifact = messages.artifact.ok_or_else(|| odd("cargo built nothing that could be started".into()))?;
        let target = self.paths().target;
        artifact
            .strip_prefix(&target)
            .map(Path::to_path_buf)
            .map_err(|_| odd(format!("cargo put the artifact outside its target folder, at {}", artifact.display())))
    }

    /// Compiles the dependencies alone, out of the skeleton in `tree`, into `target`; gives what was compiled. `None`: that was
    /// not possible, and why is for the build of the project itself to say.
    pub(super) async fn compile_dependencies(
        &self,
        skeleton: &Skeleton,
        tree: &Path,
        target: &Path,
        event: &(dyn Fn(Event) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<Option<Vec<Unit>>, BuildError> {
        let mut messages = Messages::new(&self.meta.index.crate_name, false);
        let progress = |told: Event| {
            if matches!(told, Event::Progress { .. }) {
                event(told);
            }
        };
        let target = Self::mount(target, TARGET, true);
        let tree = Self::mount(tree, &self.builder.seen_at, false);
        let spec = self.compile_spec(tree, target, &skeleton.index, &self.profile_of_dependencies());
        let status = self.run(&spec, &mut messages, &progress, cancel, "compiling", self.builder.limits.build()).await?;
        if !status.success() {
            tracing::debug!(deployment = self.meta.id, error = messages.cargo_error, "dependencies do not compile apart");
            return Ok(None);
        }
        let units = std::mem::take(&mut messages.units);
        // Told with the project's own build, of which they are a part.
        self.apart.lock().unwrap_or_else(PoisonError::into_inner).append(&mut messages.into_compiled());
        Ok(Some(units))
    }

    /// The same for all projects, whatever this one's own build is.
    pub(super) fn profile_of_dependencies(&self) -> Profile {
        let mut profile = self.profile.fast(&self.meta.index);
        // They are of the app's own package.
        profile.settings.clear();
        profile
    }

    /// Where builds see the tree and the target folder.
    pub(super) fn seen_at(&self) -> (PathBuf, PathBuf) {
        let paths = self.paths();
        (paths.tree, paths.target)
    }

    /// `cargo rustc` for the files in `tree`, into `target`.
    fn compile_spec(&self, tree: Mount, target: Mount, index: &ArchiveIndex, profile: &Profile) -> Spec {
        let paths = self.paths();
        let mut env = self.environment(&paths);
        env.push(("CARGO_TARGET_DIR".into(), paths.target.display().to_string()));
        env.extend(profile.variables.iter().cloned());
        let uid = self.builder.uids.build(self.meta.project_id);
        let mounts = vec![
            Self::mount(&self.toolchain.sysroot, TOOLCHAIN, false),
            Self::mount(&self.builder.registry.home, CARGO_HOME, false),
            tree,
            target,
        ];
        let mut args: Vec<&str> = vec!["rustc"];
        match &index.binary {
            Some(binary) => args.extend(["--bin", binary]),
            None => args.extend(["--lib", "--crate-type", "cdylib"]),
        }
        args.extend(["--profile", &profile.name, "--locked", "--offline", "--package", &index.package]);
        args.extend(profile.settings.iter().flat_map(|setting| ["--config", setting]));
        args.extend(["--message-format", "json-diagnostic-rendered-ansi"]);
        if index.no_default_features {
            args.push("--no-default-features");
        }
        args.extend(index.features.iter().flat_map(|feature| ["--features", feature]));
        let limits = &self.builder.limits;
        Spec {
            program: paths.toolchain.join("bin/cargo"),
            args: args.into_iter().map(str::to_owned).collect(),
            env,
            cwd: paths.tree.join(&index.package_root),
            uid,
            view: self.builder.sandbox.view(mounts, Share::default(), uid),
            limits: Limits {
                memory: Some(limits.max_build_memory_bytes),
                // Counted for the whole uid, so only where the uid is the project's own.
                processes: uid.map(|_| 4096),
                file_size: Some(limits.max_artifact_bytes.saturating_mul(4)),
                open_files: Some(4096),
                cpu: None,
            },
            death_signal: DeathSignal::Kill,
            nice: if self.is_awaited() { 5 } else { IDLE },
        }
    }

    /// Whether somebody waits for this build.
    fn is_awaited(&self) -> bool {
        self.profile.kind == self.meta.build.first() && self.meta.seq > 0
    }

    async fn run(
        &self,
        spec: &Spec,
        messages: &mut Messages,
        event: &(dyn Fn(Event) + Send + Sync),
        cancel: &CancellationToken,
        what: &'static str,
        limit: Duration,
    ) -> Result<std::process::ExitStatus, CargoError> {
        let mut process = self.builder.sandbox.spawn(spec, Stdio::piped(), Stdio::piped()).await?;
        self.follow(&mut process, messages, event, cancel, what, limit).await
    }

    /// Passes on what a process says until it has ended, which it does at the latest when its time is over.
    async fn follow(
        &self,
        process: &mut Process,
        messages: &mut Messages,
        event: &(dyn Fn(Event) + Send + Sync),
        cancel: &CancellationToken,
        what: &'static str,
        limit: Duration,
    ) -> Result<std::process::ExitStatus, CargoError> {
        let finished = tokio::select! {
            result = tokio::time::timeout(limit, converse(process, messages, event)) => result.ok(),
            () = cancel.cancelled() => {
                process.kill().await?;
                return Err(CargoError::Cancelled);
            }
        };
        match finished {
            Some(status) => Ok(status?),
            None => {
                process.kill().await?;
                Err(CargoError::Timeout { what, limit })
            }
        }
    }
}

/// Reads everything that the process says, until it has ended.
async fn converse(
    process: &mut Process,
    messages: &mut Messages,
    event: &(dyn Fn(Event) + Send + Sync),
) -> io::Result<std::process::ExitStatus> {
    let stdout = process.take_stdout().map(tokio::process::ChildStdout::from_std).transpose()?;
    let stderr = process.take_stderr().map(tokio::process::ChildStderr::from_std).transpose()?;
    let messages = Mutex::new(messages);
    let told = |found: Option<Event>| found.into_iter().for_each(event);
    let lock = || messages.lock().unwrap_or_else(PoisonError::into_inner);
    let (out, err, status) = tokio::join!(
        pieces(stdout, |byte| byte == b'\n', |line| told(lock().stdout(line))),
        pieces(stderr, |byte| byte == b'\n' || byte == b'\r', |piece| told(lock().stderr(piece))),
        process.wait(),
    );
    out?;
    err?;
    status
}

/// Calls `each` with every piece between two separators. A piece over [`MAX_LINE`] is cut there.
async fn pieces(reader: Option<impl AsyncRead + Unpin>, separator: fn(u8) -> bool, mut each: impl FnMut(&str)) -> io::Result<()> {
    let Some(mut reader) = reader else { return Ok(()) };
    let (mut buffer, mut piece) = (vec![0; 16 * 1024], Vec::new());
    loop {
        let length = reader.read(&mut buffer).await?;
        if length == 0 {
            if !piece.is_empty() {
                each(&String::from_utf8_lossy(&piece));
            }
            return Ok(());
        }
        for part in buffer[..length].split_inclusive(|byte| separator(*byte)) {
            piece.extend_from_slice(part);
            if separator(part[part.len() - 1]) || piece.len() > MAX_LINE {
                piece.pop_if(|last| separator(*last));
                each(&String::from_utf8_lossy(&piece));
                piece.clear();
            }
        }
    }
}

/// It was built, but not as it was asked for.
fn odd(message: String) -> BuildError {
    BuildError::Compile { message, hint: "cargo's output is above; look through the project's .cargo/config.toml".into() }
}

/// The triple of this machine, which is what apps are compiled for.
fn host() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// cargo's own error in one line, causes behind it.
fn reason(messages: &Messages) -> Option<String> {
    let lines: Vec<&str> = messages
        .cargo_error
        .lines()
        .map(|line| line.trim().trim_start_matches("error: "))
        .filter(|line| !line.is_empty() && *line != "Caused by:")
        .collect();
    (!lines.is_empty()).then(|| lines.join("; ").chars().take(MAX_REASON).collect())
}

fn compile_failure(messages: &Messages, status: std::process::ExitStatus) -> String {
    match (messages.errors, reason(messages)) {
        (0, Some(reason)) => format!("the build failed: {reason}"),
        (0, None) => format!("the build failed: cargo ended with {}", describe(status)),
        (1, _) => "the app does not compile: 1 error".to_owned(),
        (errors, _) => format!("the app does not compile: {errors} errors"),
    }
}
