//! Starts programs that are not the server's own (cargo, Postgres, Redis) with less than the server has.
//!
//! The server never forks by itself. It runs its own executable again with a hidden first argument and hands it a
//! [`Spec`] on stdin; that process is single-threaded, confines itself step by step ([`enter`]) and then becomes the
//! program. So nothing runs between `fork` and `exec` in a process that has threads, and what a program may see is one
//! value that can be read.
//!
//! Runners confine themselves ([`platform-runner`]) and do not come through here.
//!
//! [`platform-runner`]: ../../runner/src/main.rs

pub(crate) mod enter;
mod relay;
mod root;

use std::{
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::process::{Process, Spawner};
pub(crate) use relay::{ADDRESS as RELAY_ADDRESS, Relay};

/// First argument that makes the server's executable the outer half of the sandbox.
pub(crate) const OUTER: &str = "__sandbox";
/// First argument of the inner half: the first process of the new namespaces.
pub(crate) const INNER: &str = "__sandbox-inner";

/// What to run, and with what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// Absolute path, as the program will see it; or the name of a [`enter::Task`].
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    /// The whole environment: nothing is inherited.
    pub(crate) env: Vec<(String, String)>,
    /// Working directory, as the program will see it.
    pub(crate) cwd: PathBuf,
    /// User and group id to become; `None` where the server is not root.
    pub(crate) uid: Option<u32>,
    /// Private namespaces; `None` runs the program in the server's.
    pub(crate) view: Option<View>,
    pub(crate) limits: Limits,
    /// Sent to the program when the server dies. `KILL`, but for programs that have something to save.
    pub(crate) death_signal: DeathSignal,
    /// Added to the program's niceness. What is nice at all is also ended first when memory runs out.
    pub(crate) nice: i32,
}

/// What the program sees of the machine: the system's own folders read-only, `mounts`, and nothing else.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct View {
    /// An empty folder of the server's, where the new root is put together.
    pub(crate) scratch: PathBuf,
    pub(crate) mounts: Vec<Mount>,
    /// Whether it gets a pid namespace, whose end ends all of its processes. A program that is to be stopped by a signal
    /// must not have one: it would be two processes away from the server.
    pub(crate) pids: bool,
    /// Whether it gets an ipc namespace. Postgres must not: it finds a predecessor that still runs by its shared memory.
    pub(crate) ipc: bool,
    pub(crate) network: Network,
    /// Whether a user namespace is needed to be allowed all this: where the server is not root.
    pub(crate) user_namespace: bool,
    /// Content of `/etc/passwd`: some programs insist on their uid having a name.
    pub(crate) passwd: String,
}

/// What a program has of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Network {
    #[default]
    None,
    /// One socket at [`RELAY_ADDRESS`], at which the server answers.
    Relay,
    /// The machine's.
    Machine,
}

/// What a program shares with the machine.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Share {
    pub(crate) network: Network,
    /// See [`View::pids`].
    pub(crate) pids: bool,
    /// See [`View::ipc`].
    pub(crate) ipc: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Mount {
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
    pub(crate) write: bool,
    /// What `from` lies upon.
    #[serde(default)]
    pub(crate) upon: Option<Layers>,
}

/// Folders whose content is seen below a folder's own. They are only read: what is changed there is copied into the folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Layers {
    /// Not empty.
    pub(crate) lower: Vec<PathBuf>,
    /// A folder for the kernel, on the file system of the upper one.
    pub(crate) work: PathBuf,
}

/// Resource limits; `None` leaves the server's own.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Bytes of address space a process.
    pub(crate) memory: Option<u64>,
    /// Processes and threads of the uid.
    pub(crate) processes: Option<u64>,
    /// Bytes a file may grow to.
    pub(crate) file_size: Option<u64>,
    /// Open files a process.
    pub(crate) open_files: Option<u64>,
    /// Seconds of processor time a process.
    pub(crate) cpu: Option<u64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum DeathSignal {
    Kill,
    /// Postgres: fast shutdown.
    Int,
}

/// What of the sandbox this machine gives the server. Found out once, at start-up, by trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    /// Root: private namespaces, and another uid for each project.
    Root,
    /// Not root: private namespaces inside a user namespace, with the server's own uid.
    User,
    /// Neither: only a clean environment, limits and a process group.
    Bare,
}

impl Tier {
    /// For the start-up message and `/healthz`.
    pub(crate) fn describe(self) -> Vec<String> {
        let lines: &[&str] = match self {
            Self::Root => &[
                "builds: own uid, private mount, pid and ipc namespaces, no network while compiling, read-only toolchain and registry",
                "fetches: a network of their own, which leads to the public internet and to what --allow-fetch-from names",
                "apps: own uid for each project, no_new_privs, clean environment",
            ],
            Self::User => &[
                "builds: private mount, pid and ipc namespaces in a user namespace, no network while compiling; the server's own uid",
                "fetches: a network of their own, which leads to the public internet and to what --allow-fetch-from names",
                "apps: no_new_privs and a clean environment, but the server's own uid: an app can read what the server can (run as root to separate them)",
            ],
            Self::Bare => &[
                "builds: a clean environment and limits only (no user namespaces here): a build can read what the server can, and use the network",
                "fetches: cargo is told to use the server's relay, which leads to the public internet alone, and is not forced to",
                "apps: no_new_privs and a clean environment, but the server's own uid: an app can read what the server can (run as root to separate them)",
            ],
        };
        lines.iter().map(|&line| line.to_owned()).collect()
    }
}

fn open_to_all(path: &Path) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))
}

/// Starts programs by their [`Spec`].
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    spawner: Spawner,
    executable: Arc<Path>,
    scratch: Arc<Path>,
    tier: Tier,
}

impl Sandbox {
    /// Finds out what this machine allows, by trying it with this uid. The inner error: the server is root, and cannot
    /// confine what it starts. `scratch` is a folder of the server's own, made if missing.
    pub(crate) async fn probe(spawner: Spawner, scratch: &Path, uid: Option<u32>) -> io::Result<Result<Self, String>> {
        std::fs::create_dir_all(scratch)?;
        let root = rustix::process::geteuid().is_root();
        let sandbox = Self { spawner, executable: std::env::current_exe()?.into(), scratch: scratch.into(), tier: Tier::Bare };
        for tier in if root { &[Tier::Root][..] } else { &[Tier::User] } {
            let candidate = Self { tier: *tier, ..sandbox.clone() };
            match candidate.try_out(Vec::new(), ["/bin/sh", "-c", "true"], uid).await {
                Ok(()) => return Ok(Ok(candidate)),
                // Without namespaces, other uids could not even reach the toolchain.
                Err(error) if root => return Ok(Err(error)),
                Err(error) => tracing::debug!(?tier, error, "this sandbox is not available here"),
            }
        }
        Ok(Ok(sandbox))
    }

    /// Whether folders on the file system of `base`, an empty one, can be seen upon others. Found out by trying.
    pub(crate) async fn can_overlay(&self, base: &Path, uid: Option<u32>) -> io::Result<Result<(), String>> {
        if !self.has_view() {
            return Ok(Err("there are no namespaces".to_owned()));
        }
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| base.join(name));
        for path in [&lower, &upper, &work, &lower.join("folder")] {
            std::fs::create_dir(path)?;
        }
        open_to_all(&lower)?;
        open_to_all(&lower.join("folder"))?;
        std::fs::write(lower.join("folder/inner"), "")?;
        std::fs::write(lower.join("below"), "")?;
        open_to_all(&lower.join("below"))?;
        open_to_all(&upper)?;
        let layers = Layers { lower: vec![lower], work: work.clone() };
        let mount = Mount { from: upper, to: "/build/target".into(), write: true, upon: Some(layers) };
        // A build writes to what is below, makes links to it, removes it, and makes folders of its own in the place of others.
        let script = "set -e; cd /build/target; echo x >> below; ln below beside; touch new; mv new other; rm below; \
                      rm -r folder; mkdir folder; test ! -e folder/inner; touch folder/inner";
        let tried = self.try_out(vec![mount], ["/bin/sh", "-c", script], uid).await;
        // What the kernel made in there is closed even to its owner.
        drop(open_to_all(&work.join("work")));
        Ok(tried)
    }

    async fn try_out(&self, mounts: Vec<Mount>, command: [&str; 3], uid: Option<u32>) -> Result<(), String> {
        let spec = Spec {
            program: command[0].into(),
            args: command[1..].iter().map(|&argument| argument.to_owned()).collect(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            cwd: "/".into(),
            uid,
            view: self.view(mounts, Share::default(), uid),
            limits: Limits::default(),
            death_signal: DeathSignal::Kill,
            nice: 0,
        };
        let mut process = self.spawn(&spec, Stdio::null(), Stdio::piped()).await.map_err(|error| error.to_string())?;
        let stderr = process.take_stderr();
        let status = process.wait().await.map_err(|error| error.to_string())?;
        if status.success() {
            return Ok(());
        }
        let message = stderr.and_then(|stderr| io::read_to_string(stderr).ok()).unwrap_or_default();
        Err(format!("{status}: {}", message.trim()))
    }

    /// Ends every process of a uid that only programs of this server have.
    pub(crate) fn kill_user(&self, uid: u32) -> io::Result<()> {
        self.spawner.kill_users(uid..uid + 1).map(drop)
    }

    pub(crate) fn tier(&self) -> Tier {
        self.tier
    }

    /// Whether programs see `mounts` at their fixed paths, or have to be given the real ones.
    pub(crate) fn has_view(&self) -> bool {
        self.tier != Tier::Bare
    }

    /// The view that this machine allows, if any. `uid` is the one the program will have.
    pub(crate) fn view(&self, mounts: Vec<Mount>, share: Share, uid: Option<u32>) -> Option<View> {
        let own = rustix::process::geteuid().as_raw();
        let uid = uid.unwrap_or(own);
        self.has_view().then(|| View {
            scratch: self.scratch.to_path_buf(),
            mounts,
            pids: !share.pids,
            ipc: !share.ipc,
            network: share.network,
            user_namespace: self.tier == Tier::User,
            passwd: format!("root:x:0:0::/:/bin/sh\nshuttle:x:{uid}:{uid}::/build/home:/bin/sh\n"),
        })
    }

    /// Starts the program. Its stdin is empty.
    pub(crate) async fn spawn(&self, spec: &Spec, stdout: Stdio, stderr: Stdio) -> io::Result<Process> {
        let (command, frame) = self.command(spec, Stdio::piped(), stdout, stderr)?;
        let mut process = self.spawner.spawn(command).await?;
        process.feed(frame)?;
        Ok(process)
    }

    /// Starts a program whose view has [`Network::Relay`]. The other value is to be kept for as long as it runs.
    pub(crate) async fn spawn_relayed(&self, spec: &Spec, stdout: Stdio, stderr: Stdio) -> io::Result<(Process, Relay)> {
        let (mut ours, theirs) = UnixStream::pair()?;
        let (command, frame) = self.command(spec, Stdio::from(OwnedFd::from(theirs)), stdout, stderr)?;
        let process = self.spawner.spawn(command).await?;
        // It fits into the socket's buffer as into a pipe's.
        ours.write_all(&frame)?;
        Ok((process, Relay::new(ours)?))
    }

    /// The sandbox's first half, and what it is to be told on its stdin.
    fn command(&self, spec: &Spec, stdin: Stdio, stdout: Stdio, stderr: Stdio) -> io::Result<(Command, Vec<u8>)> {
        let mut spec = spec.clone();
        // The marker by which a later server finds what this one left behind.
        spec.env.extend(self.spawner.marker());
        let frame = shuttle_abi::frame::encode(&spec)?;
        let mut command = Command::new(&*self.executable);
        command.arg(OUTER).env_clear().stdin(stdin).stdout(stdout).stderr(stderr);
        command.envs(self.spawner.marker());
        Ok((command, frame))
    }
}
