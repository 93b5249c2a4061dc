//! The server's side of one launch.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, IoSlice, PipeReader, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use shuttle_abi::{ABI_VERSION, Launch, LogRecord, ResourceData, RunnerMessage, ServerMessage, frame};
use tempfile::TempDir;

/// Nothing here takes so long; a test that waits in vain fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// A runner that has been started, and the other ends of all that it was given.
pub(crate) struct Runner {
    pub(crate) control: UnixStream,
    child: Child,
    log: BufReader<PipeReader>,
    folder: TempDir,
}

/// A launch of the fixture app that works; tests change what they are about.
pub(crate) fn launch() -> Launch {
    let note = ResourceData { kind: "redis".into(), url: "Hello, world!".into(), ..ResourceData::default() };
    Launch {
        abi_version: ABI_VERSION,
        crate_name: "fixture_app".into(),
        project: "fixture-app".into(),
        deployment: "1".into(),
        url: "http://fixture-app.localhost".into(),
        workdir: "/".into(),
        environment: "test".into(),
        uid: None,
        resources: BTreeMap::from([("note".to_owned(), note)]),
    }
}

impl Runner {
    /// Starts a runner with the app in the given mode.
    pub(crate) fn start(mode: &str, artifact: &Path, launch: &Launch) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mut control, theirs) = UnixStream::pair().unwrap();
        control.set_read_timeout(Some(PATIENCE)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_platform-runner"))
            .env_clear()
            .env("MODE", mode)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let listener = UnixListener::bind(socket(&folder)).unwrap();
        let (log, log_writer) = std::io::pipe().unwrap();
        let artifact = File::open(artifact).unwrap();
        send(&mut control, launch, &[artifact.into(), listener.into(), log_writer.into()]);
        Self { control, child, log: BufReader::new(log), folder }
    }

    /// The next message of the runner; `None` when it has closed its end.
    pub(crate) fn message(&mut self) -> Option<RunnerMessage> {
        frame::read(&mut self.control, frame::MAX_FROM_RUNNER).unwrap()
    }

    pub(crate) fn expect_ready(&mut self) {
        match self.message() {
            Some(RunnerMessage::Ready { listen: None }) => {}
            other => panic!("{other:?}\n{}", self.stderr()),
        }
    }

    pub(crate) fn stop(&mut self, grace: Duration) {
        let grace_ms = grace.as_millis() as u64;
        frame::write(&mut self.control, &ServerMessage::Stop { grace_ms }).unwrap();
    }

    /// The body of the answer to a GET.
    pub(crate) fn get(&self, path: &str) -> String {
        self.ask(path, 0).body()
    }

    /// Sends a GET that says that a body of so many bytes follows.
    pub(crate) fn ask(&self, path: &str, body: usize) -> Request {
        let mut stream = UnixStream::connect(socket(&self.folder)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: app\r\nConnection: close\r\nContent-Length: {body}\r\n\r\n").unwrap();
        Request(stream)
    }

    /// The next record on the log pipe.
    pub(crate) fn log_record(&mut self) -> LogRecord {
        let mut line = Vec::new();
        self.log.read_until(b'\n', &mut line).unwrap();
        log_record(&line)
    }

    /// Waits for records with these messages.
    pub(crate) fn expect_records<const N: usize>(&mut self, messages: [&str; N]) {
        assert_eq!([(); N].map(|()| self.log_record().message), messages);
    }

    /// What is left on the log pipe, once all writers are gone.
    pub(crate) fn log_rest(&mut self) -> String {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        rest
    }

    pub(crate) fn stdout(&mut self) -> String {
        read(self.child.stdout.take().unwrap())
    }

    pub(crate) fn stderr(&mut self) -> String {
        read(self.child.stderr.take().unwrap())
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Runner {
    /// A failed test leaves nothing running.
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A request that has been sent.
pub(crate) struct Request(UnixStream);

impl Request {
    /// Sends the body.
    pub(crate) fn send(&mut self, body: &str) {
        self.0.write_all(body.as_bytes()).unwrap();
    }

    /// The body of the answer; empty where the connection was cut.
    pub(crate) fn body(mut self) -> String {
        let mut answer = String::new();
        drop(self.0.read_to_string(&mut answer));
        answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())
    }
}

fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("app.sock")
}

fn read(mut from: impl Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
}

fn log_record(line: &[u8]) -> LogRecord {
    serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)))
}

/// The launch's first bytes carry the descriptors.
fn send(control: &mut UnixStream, launch: &Launch, descriptors: &[OwnedFd]) {
    let bytes = frame::encode(launch).unwrap();
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&borrowed)));
    let sent = sendmsg(&control, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::empty()).unwrap();
    control.write_all(&bytes[sent..]).unwrap();
}
