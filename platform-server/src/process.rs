//! Child processes: started from one thread, waited for without blocking, ended as a group.
//!
//! A parent-death signal follows the *thread* that started the child, so every child is started by one thread that
//! lives as long as the server. Each child leads a process group of its own; its end is seen through a pidfd, and the
//! group is killed before the leader is reaped, while its number cannot belong to anybody else.

use std::{
    io::{self, Write},
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus},
    sync::{Arc, mpsc},
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use tokio::{io::unix::AsyncFd, sync::oneshot};

/// Environment variable by which a server finds the processes of a predecessor that was killed.
const MARKER: &str = "PLATFORM_SERVER_INSTANCE";

type Job = (Command, oneshot::Sender<io::Result<Leader>>);

/// Starts processes, all from the same thread. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Spawner {
    jobs: mpsc::Sender<Job>,
    marker: Arc<str>,
}

impl Spawner {
    /// `marker` is the same for every server on one data directory, and for no other.
    pub(crate) fn new(marker: &str) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new().name("spawner".into()).spawn(move || {
            while let Ok((mut command, reply)) = queue.recv() {
                // Whoever asked may go away at any time, also after the reply was sent; then it is dropped, and ended.
                let _ = reply.send(command.process_group(0).spawn().map(Leader::new));
            }
        })?;
        Ok(Self { jobs, marker: marker.into() })
    }

    /// The variables that every child must have in its environment.
    pub(crate) fn marker(&self) -> [(String, String); 1] {
        [(MARKER.to_owned(), self.marker.to_string())]
    }

    pub(crate) async fn spawn(&self, command: Command) -> io::Result<Process> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send((command, reply)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Process::new(answer.await.map_err(|_| io::ErrorKind::BrokenPipe)??)
    }

    /// Kills what a server that was killed has left: processes that carry the marker, and, where the server is root,
    /// every process of the uids that it gives to others.
    pub(crate) fn kill_leftovers(&self, uids: Option<std::ops::Range<u32>>) -> io::Result<usize> {
        kill_all(Some(&format!("{MARKER}={}", self.marker)), uids.as_ref())
    }

    /// Kills every process of these uids, which nobody has but what this server starts.
    pub(crate) fn kill_users(&self, uids: std::ops::Range<u32>) -> io::Result<usize> {
        kill_all(None, Some(&uids))
    }
}

fn kill_all(marker: Option<&str>, uids: Option<&std::ops::Range<u32>>) -> io::Result<usize> {
    let own = std::process::id();
    let mut killed = 0;
    // A process may fork while the list is read; so until a pass finds nothing.
    for _ in 0..100 {
        let found = leftovers(marker, uids)?.into_iter().filter(|pid| *pid != own).collect::<Vec<_>>();
        if found.is_empty() {
            return Ok(killed);
        }
        for pid in found {
            let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
            let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            if pidfd_send_signal(&fd, Signal::KILL).is_ok() {
                killed += 1;
                wait_for_end(&fd);
            }
        }
    }
    Ok(killed)
}

/// A pidfd is readable once the process has ended. Bounded: a process in uninterruptible sleep takes its time.
fn wait_for_end(fd: &OwnedFd) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let _ = poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&Timespec { tv_sec: 5, tv_nsec: 0 }));
}

fn leftovers(marker: Option<&str>, uids: Option<&std::ops::Range<u32>>) -> io::Result<Vec<u32>> {
    use std::os::unix::fs::MetadataExt;
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let of_ours = entry.metadata().is_ok_and(|metadata| uids.is_some_and(|uids| uids.contains(&metadata.uid())));
        let marked = || {
            marker.is_some_and(|marker| {
                std::fs::read(entry.path().join("environ"))
                    .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|line| line == marker.as_bytes()))
            })
        };
        if (of_ours || marked()) && is_running(pid) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Whether there is such a process and it has not ended. A zombie has ended; its parent has yet to notice, which can take
/// seconds in containers whose first process is slow to.
pub(crate) fn is_running(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with(['Z', 'X'])))
}

/// A child that leads a group, until it is reaped. Dropping it kills the group.
#[derive(Debug)]
struct Leader {
    child: Option<Child>,
    pid: Pid,
}

impl Leader {
    fn new(child: Child) -> Self {
        let pid = Pid::from_child(&child);
        Self { child: Some(child), pid }
    }

    /// Kills what is left of the group of one that has ended. It is not yet reaped, so the group's number is still its own.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        let _ = kill_process_group(self.pid, Signal::KILL);
        let status = self.child.as_mut().ok_or(io::ErrorKind::NotFound)?.wait()?;
        self.child = None;
        Ok(status)
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = kill_process_group(self.pid, Signal::KILL);
        if let Ok(Some(_)) = child.try_wait() {
            return;
        }
        // It ends when the kernel has taken it down, which can take long, and whoever drops it may not wait.
        if let Err(error) = std::thread::Builder::new().name("reaper".into()).spawn(move || child.wait()) {
            tracing::warn!(%error, "a process that was ended cannot be reaped");
        }
    }
}

/// One child and its process group. Dropping it kills the group, and does not wait for that.
#[derive(Debug)]
pub(crate) struct Process {
    leader: Leader,
    pidfd: AsyncFd<OwnedFd>,
    status: Option<ExitStatus>,
    /// Kept open: its end tells a child that reads from it that the server is gone.
    stdin: Option<std::process::ChildStdin>,
    /// Kept until they are taken: what was said can be read also after the end.
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
}

/// The safe constructor is deprecated for types whose descriptor may change under it; that of an [`OwnedFd`] cannot.
#[allow(deprecated)]
fn watch(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(pidfd)
}

impl Process {
    fn new(mut leader: Leader) -> io::Result<Self> {
        let (stdin, stdout, stderr) = match &mut leader.child {
            Some(child) => (child.stdin.take(), child.stdout.take(), child.stderr.take()),
            None => (None, None, None),
        };
        let pidfd = watch(pidfd_open(leader.pid, PidfdFlags::NONBLOCK)?)?;
        Ok(Self { leader, pidfd, status: None, stdin, stdout, stderr })
    }

    /// Writes to the child's stdin and leaves it open. The data must fit a pipe's buffer or be read at once.
    pub(crate) fn feed(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write_all(&bytes)
    }

    pub(crate) fn id(&self) -> u32 {
        self.leader.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.stdout.take()
    }

    pub(crate) fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.stderr.take()
    }

    /// Waits for the leader's end, then ends what is left of its group. Cancel-safe.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        let _ = self.pidfd.readable().await?;
        let status = self.leader.reap()?;
        self.status = Some(status);
        Ok(status)
    }

    /// Sends a signal to the leader alone.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            let _ = pidfd_send_signal(self.pidfd.get_ref(), signal);
        }
    }

    /// Kills the whole group, and waits for the leader's end.
    pub(crate) async fn kill(&mut self) -> io::Result<ExitStatus> {
        if self.status.is_none() {
            let _ = kill_process_group(self.leader.pid, Signal::KILL);
        }
        self.wait().await
    }

    /// Waits up to `grace` for the end, then kills.
    pub(crate) async fn wait_or_kill(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        match tokio::time::timeout(grace, self.wait()).await {
            Ok(status) => status,
            Err(_) => self.kill().await,
        }
    }
}

/// How a process ended, for people: `exit status 1`, `signal 11 (SIGSEGV)`.
pub(crate) fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal} ({})", signal_name(signal)),
        (None, None) => status.to_string(),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => "unnamed",
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, process::Stdio};

    use futures_util::poll;

    use super::*;
    use crate::remove::tests::eventually;

    /// Writes its own number and that of a child of its to a file, and stays.
    fn stays(file: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo $$ $! > \"$0.new\" && mv \"$0.new\" \"$0\" && wait"]).arg(file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn pids(file: &Path) -> Vec<u32> {
        eventually("it starts", || file.exists());
        fs::read_to_string(file).unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    fn assert_gone(pids: &[u32]) {
        eventually("nothing of it is left, not even a zombie", || {
            // Whoever reaps orphans here may take its time with the leader's child.
            !Path::new(&format!("/proc/{}", pids[0])).exists() && !pids.iter().any(|pid| is_running(*pid))
        });
    }

    #[tokio::test]
    async fn a_spawn_that_is_cancelled_after_the_process_has_started_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let spawner = Spawner::new("test").unwrap();
        let file = folder.path().join("pids");
        let mut spawning = Box::pin(spawner.spawn(stays(&file)));
        assert!(poll!(&mut spawning).is_pending());
        // There is one thread that starts them, so the reply to the first has been sent as well.
        assert!(spawner.spawn(Command::new("true")).await.unwrap().wait().await.unwrap().success());
        let pids = pids(&file);
        assert!(pids.iter().all(|pid| is_running(*pid)));
        drop(spawning);
        assert_gone(&pids);
    }

    #[tokio::test]
    async fn what_a_process_said_can_be_read_after_its_end() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Spawner::new("test").unwrap().spawn(command).await.unwrap();
        process.wait().await.unwrap();
        let said = (process.take_stdout().map(io::read_to_string), process.take_stderr().map(io::read_to_string));
        assert_eq!((said.0.unwrap().unwrap(), said.1.unwrap().unwrap()), ("out\n".to_owned(), "err\n".to_owned()));
    }

    #[tokio::test]
    async fn a_process_that_is_dropped_is_ended_and_reaped_with_its_group() {
        let folder = tempfile::tempdir().unwrap();
        let spawner = Spawner::new("test").unwrap();
        let file = folder.path().join("pids");
        let process = spawner.spawn(stays(&file)).await.unwrap();
        let pids = pids(&file);
        assert_eq!(process.id(), pids[0]);
        drop(process);
        assert_gone(&pids);
    }
}
