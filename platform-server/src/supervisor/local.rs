//! Instances as processes of this machine: one `platform-runner` each.

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures_util::future::BoxFuture;
use platform_wire::LogSource;
use rustix::process::Signal;
use shuttle_abi::{ABI_VERSION, Launch, Listen, RunnerMessage, ServerMessage};
use tokio::task::JoinHandle;

use super::{Instance, InstanceSpec, StartError, Supervisor, control::Control};
use crate::{
    build::blocking,
    logs::{LogStore, pump_output, pump_records},
    process::{Process, Spawner, describe},
    proxy::Upstream,
};

/// How long the log pipes of a process that has ended are read on: something it started may hold them open.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long after its grace an instance is sent SIGTERM, in any case, and how long after that SIGKILL.
const OVERTIME: Duration = Duration::from_millis(500);
/// Room for static TLS in a loaded library, in bytes: allocators such as jemalloc need it and fail to load without.
const STATIC_TLS: &str = "glibc.rtld.optional_static_tls=32768";

/// Starts runners.
#[derive(Debug)]
pub(crate) struct LocalSupervisor {
    pub(crate) spawner: Spawner,
    /// The runner's executable.
    pub(crate) runner: PathBuf,
    /// Folder of the listening sockets; nobody but the server may enter it.
    pub(crate) sockets: PathBuf,
    pub(crate) logs: LogStore,
    pub(crate) next: AtomicU64,
}

impl Supervisor for LocalSupervisor {
    fn start(&self, spec: InstanceSpec) -> BoxFuture<'_, io::Result<Box<dyn Instance>>> {
        Box::pin(async move { Ok(Box::new(self.launch(spec).await?) as Box<dyn Instance>) })
    }

    fn sweep(&self, uid: u32) -> BoxFuture<'_, ()> {
        let spawner = self.spawner.clone();
        Box::pin(async move {
            if let Err(error) = blocking(move || spawner.kill_users(uid..uid + 1)).await {
                tracing::warn!(uid, %error, "what an app left running could not be looked for");
            }
        })
    }
}

impl LocalSupervisor {
    async fn launch(&self, spec: InstanceSpec) -> io::Result<LocalInstance> {
        let (listen, sockets, artifact) = (spec.listen, self.sockets.clone(), spec.artifact.clone());
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (artifact, (listener, socket, upstream)) =
            blocking(move || Ok((File::open(artifact)?, bind(listen, &sockets, number)?))).await?;
        let (log_reader, log_writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(&self.runner);
        command.env_clear().envs(environment(&spec)).envs(self.spawner.marker());
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = self
            .spawner
            .spawn(command)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.runner.display())))?;
        let readers = self.read_output(&spec, &mut process, log_reader)?;
        let launch = Launch {
            abi_version: ABI_VERSION,
            crate_name: spec.crate_name,
            project: spec.project.to_string(),
            deployment: spec.deployment,
            url: spec.url,
            environment: "production".to_owned(),
            executable: spec.executable,
            workdir: spec.workdir.display().to_string(),
            files: spec.files,
            uid: spec.uid,
            resources: spec.resources,
            env: spec.env,
        };
        let control = Control::open(ours, &launch, [artifact.as_fd(), listener.as_fd(), log_writer.as_fd()]).await?;
        Ok(LocalInstance { process, control, readers, listen, upstream, _listener: listener, _socket: socket })
    }

    fn read_output(
        &self,
        spec: &InstanceSpec,
        process: &mut Process,
        log: OwnedFd,
    ) -> io::Result<Vec<JoinHandle<io::Result<()>>>> {
        let mut readers = Vec::new();
        let output = |source, pipe: tokio::net::unix::pipe::Receiver| {
            let (logs, project, deployment) = (self.logs.clone(), spec.project.clone(), spec.deployment.clone());
            tokio::spawn(pump_output(logs, project, deployment, source, pipe))
        };
        if let Some(stdout) = process.take_stdout() {
            readers.push(output(LogSource::Stdout, receiver(stdout.into())?));
        }
        if let Some(stderr) = process.take_stderr() {
            readers.push(output(LogSource::Stderr, receiver(stderr.into())?));
        }
        let (logs, project, deployment) = (self.logs.clone(), spec.project.clone(), spec.deployment.clone());
        readers.push(tokio::spawn(pump_records(logs, project, deployment, receiver(log)?)));
        Ok(readers)
    }
}

/// The socket that the app gets, bound by the server: connections wait in it while the app starts.
fn bind(listen: Listen, sockets: &Path, number: u64) -> io::Result<(OwnedFd, Option<SocketFile>, Option<Upstream>)> {
    match listen {
        Listen::Unix | Listen::Own => {
            let path = sockets.join(format!("{number}.sock"));
            let listener = UnixListener::bind(&path)?;
            let upstream = (listen == Listen::Unix).then(|| Upstream::Unix(path.clone()));
            Ok((listener.into(), Some(SocketFile(path)), upstream))
        }
        Listen::Tcp => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let upstream = Some(Upstream::Tcp(listener.local_addr()?));
            Ok((listener.into(), None, upstream))
        }
        Listen::None => Ok((File::open("/dev/null")?.into(), None, None)),
    }
}

/// The reading end of a pipe, for the runtime.
fn receiver(pipe: OwnedFd) -> io::Result<tokio::net::unix::pipe::Receiver> {
    rustix::io::ioctl_fionbio(&pipe, true)?;
    tokio::net::unix::pipe::Receiver::from_owned_fd_unchecked(pipe)
}

/// What an app's environment holds: nothing of the server's.
fn environment(spec: &InstanceSpec) -> Vec<(&'static str, String)> {
    vec![
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("HOME", spec.workdir.display().to_string()),
        ("LANG", "C.UTF-8".to_owned()),
        ("GLIBC_TUNABLES", STATIC_TLS.to_owned()),
    ]
}

/// Removes the socket when the instance is gone.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[derive(Debug)]
struct LocalInstance {
    process: Process,
    control: Control,
    readers: Vec<JoinHandle<io::Result<()>>>,
    /// What it asked for.
    listen: Listen,
    /// Where it listens, if it listens where the server said.
    upstream: Option<Upstream>,
    /// Kept, so that connections made while the app restarts wait instead of being refused.
    _listener: OwnedFd,
    _socket: Option<SocketFile>,
}

impl Instance for LocalInstance {
    fn ready(&mut self) -> BoxFuture<'_, Result<Option<Upstream>, StartError>> {
        Box::pin(self.wait_until_ready())
    }

    fn ended(&mut self) -> BoxFuture<'_, String> {
        Box::pin(self.wait_until_ended())
    }

    fn stop(mut self: Box<Self>, grace: Duration) -> BoxFuture<'static, String> {
        Box::pin(async move {
            let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
            let told = self.control.send(&ServerMessage::Stop { grace_ms }).await.is_ok();
            // Where the app has no handler, the signal would end it in the middle of what it finishes.
            if !told || handles_sigterm(self.process.id()).await {
                self.process.signal(Signal::TERM);
            }
            // It is given a little longer than it was told, to end by itself after its grace.
            let ended = match tokio::time::timeout(grace + OVERTIME, self.process.wait()).await {
                Ok(ended) => ended,
                Err(_) => {
                    self.process.signal(Signal::TERM);
                    self.process.wait_or_kill(OVERTIME).await
                }
            };
            self.last_words().await;
            ended.map_or_else(|error| error.to_string(), describe)
        })
    }
}

impl LocalInstance {
    async fn wait_until_ready(&mut self) -> Result<Option<Upstream>, StartError> {
        // What it said is heard before its end is noticed.
        let message = tokio::select! {
            biased;
            message = self.control.messages.recv() => message,
            status = self.process.wait() => {
                let exit = describe(status?);
                match self.control.messages.recv().await {
                    Some(Ok(RunnerMessage::Failed { stage, message })) => {
                        self.last_words().await;
                        return Err(StartError::Reported { stage, message, exit: Some(exit) });
                    }
                    _ => None,
                }
            }
        };
        match message {
            Some(Ok(RunnerMessage::Ready { listen })) => match (self.listen, listen) {
                (Listen::None, None) => Ok(None),
                (Listen::None, Some(_)) => Err(StartError::Protocol("a background service that listens".into())),
                (_, Some(address)) => self.own_address(address).await.map(Some),
                (_, None) => match &self.upstream {
                    Some(upstream) => Ok(Some(upstream.clone())),
                    None => Err(StartError::Protocol("ready, but not where it listens".into())),
                },
            },
            Some(Ok(RunnerMessage::Failed { stage, message })) => {
                let exit = self.process.wait_or_kill(LAST_WORDS).await?;
                self.last_words().await;
                Err(StartError::Reported { stage, message, exit: Some(describe(exit)) })
            }
            Some(Err(error)) => Err(StartError::Protocol(error.to_string())),
            // The socket is closed: it has ended, or is about to.
            None => {
                let exit = self.process.wait_or_kill(LAST_WORDS).await?;
                self.last_words().await;
                Err(StartError::Ended { exit: describe(exit) })
            }
        }
    }

    /// An address that a runner names could be anybody's, the platform's own API included; so it must be a loopback
    /// socket on which that very process listens.
    async fn own_address(&self, address: SocketAddr) -> Result<Upstream, StartError> {
        let pid = self.process.id();
        let listens = move || Ok(listening_inode(address)?.is_some_and(|inode| holds_socket(pid, inode)));
        let owned = address.ip().to_canonical().is_loopback() && blocking(listens).await?;
        if owned { Ok(Upstream::Tcp(address)) } else { Err(StartError::NotItsOwn(address)) }
    }

    async fn wait_until_ended(&mut self) -> String {
        // Nothing that it says now is expected, but the channel is drained so that it never blocks on it.
        let status = loop {
            tokio::select! {
                status = self.process.wait() => break status,
                Some(_) = self.control.messages.recv() => {}
            }
        };
        self.last_words().await;
        status.map_or_else(|error| error.to_string(), describe)
    }

    /// Waits until what the process wrote is stored.
    async fn last_words(&mut self) {
        let _ = tokio::time::timeout(LAST_WORDS, async {
            for reader in &mut self.readers {
                let _ = reader.await;
            }
        })
        .await;
        for reader in self.readers.drain(..) {
            reader.abort();
        }
    }
}

/// Whether the process has a handler of its own.
async fn handles_sigterm(pid: u32) -> bool {
    let status = blocking(move || fs::read_to_string(format!("/proc/{pid}/status"))).await;
    status.is_ok_and(|status| shuttle_abi::handles_sigterm(&status))
}

/// Inode of the socket that listens at `address`, from the kernel's table.
fn listening_inode(address: SocketAddr) -> io::Result<Option<u64>> {
    // As the kernel prints it: words of four bytes, each as a number in the machine's order.
    let word = |bytes: &[u8]| format!("{:08X}", u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let (table, ip) = match address.ip() {
        IpAddr::V4(ip) => ("/proc/net/tcp", word(&ip.octets())),
        IpAddr::V6(ip) => ("/proc/net/tcp6", ip.octets().chunks(4).map(word).collect()),
    };
    let wanted = format!("{ip}:{:04X}", address.port());
    let table = fs::read_to_string(table)?;
    Ok(table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let listens = columns.get(1) == Some(&wanted.as_str()) && columns.get(3) == Some(&"0A");
        listens.then(|| columns.get(9)?.parse().ok()).flatten()
    }))
}

fn holds_socket(pid: u32, inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link == Path::new(&wanted)))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn a_listening_socket_is_found_with_its_owner_and_others_are_not() {
        let listeners = [
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap(),
            TcpListener::bind((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 0)).unwrap(),
        ];
        for listener in listeners {
            let address = listener.local_addr().unwrap();
            let inode = listening_inode(address).unwrap().unwrap();
            assert!(holds_socket(std::process::id(), inode));
            assert!(!holds_socket(1, inode) || std::process::id() == 1);
            drop(listener);
            assert_eq!(listening_inode(address).unwrap(), None);
        }
    }
}
