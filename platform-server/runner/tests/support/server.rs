//! The server's side of one launch.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IoSlice, PipeReader, Read, Write},
    mem::MaybeUninit,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use shuttle_abi::{Launch, Listen, LogRecord, RunnerMessage, ServerMessage, frame};
use tempfile::TempDir;

/// Nothing here takes so long; a test that waits in vain fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// A runner that has been started, and the other ends of all that it was given.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) control: UnixStream,
    child: Child,
    log: BufReader<PipeReader>,
    stdout: BufReader<UnixStream>,
    address: Address,
    _folder: TempDir,
}

/// Where the app is asked.
#[derive(Debug, Clone)]
enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
    /// Nowhere, or it has not said yet.
    None,
}

impl Runner {
    /// Starts a runner with the artifact, a listening socket of this kind, and these variables as its environment.
    pub(crate) fn start(artifact: &Path, listen: Listen, launch: &Launch, env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mut control, theirs) = UnixStream::pair().unwrap();
        control.set_read_timeout(Some(PATIENCE)).unwrap();
        // A socket, as a pipe has no limit on waiting.
        let (stdout, their_stdout) = UnixStream::pair().unwrap();
        stdout.set_read_timeout(Some(PATIENCE)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_platform-runner"))
            .env_clear()
            .envs(env.iter().copied())
            .stdin(OwnedFd::from(theirs))
            .stdout(OwnedFd::from(their_stdout))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (listener, address) = bind(listen, &folder);
        let (log, log_writer) = io::pipe().unwrap();
        let artifact = File::open(artifact).unwrap();
        send(&mut control, launch, &[artifact.into(), listener, log_writer.into()]);
        Self { control, child, log: BufReader::new(log), stdout: BufReader::new(stdout), address, _folder: folder }
    }

    /// The next message of the runner; `None` when it has closed its end.
    pub(crate) fn message(&mut self) -> Option<RunnerMessage> {
        frame::read(&mut self.control, frame::MAX_FROM_RUNNER).unwrap()
    }

    /// Waits until the app serves; one that binds by itself says where.
    pub(crate) fn expect_ready(&mut self) {
        match (self.message(), &self.address) {
            (Some(RunnerMessage::Ready { listen: None }), _) => {}
            (Some(RunnerMessage::Ready { listen: Some(address) }), Address::None) => self.address = Address::Tcp(address),
            (other, _) => panic!("{other:?}\n{}", self.stderr()),
        }
    }

    pub(crate) fn stop(&mut self, grace: Duration) {
        let grace_ms = grace.as_millis() as u64;
        frame::write(&mut self.control, &ServerMessage::Stop { grace_ms }).unwrap();
    }

    /// The body of the answer to a GET.
    pub(crate) fn get(&self, path: &str) -> String {
        self.try_get(path).unwrap()
    }

    /// As [`get`](Self::get); an error where no connection is to be had.
    pub(crate) fn try_get(&self, path: &str) -> io::Result<String> {
        self.send(&format!("GET {path}"), "", 0).map(Request::body)
    }

    /// The body of the answer to a GET with so many header fields.
    pub(crate) fn get_with_fields(&self, path: &str, fields: usize) -> String {
        // Three are sent with every request.
        let more: String = (3..fields).map(|number| format!("\r\nX-{number}: -")).collect();
        self.send(&format!("GET {path}"), &more, 0).unwrap().body()
    }

    /// Sends the head of a POST that says that a body of so many bytes follows.
    pub(crate) fn post(&self, path: &str, body: usize) -> Request {
        self.send(&format!("POST {path}"), "", body).unwrap()
    }

    fn send(&self, request: &str, fields: &str, body: usize) -> io::Result<Request> {
        let mut stream = Stream::connect(&self.address)?;
        write!(stream, "{request} HTTP/1.1\r\nHost: app\r\nConnection: close\r\nContent-Length: {body}{fields}\r\n\r\n")?;
        Ok(Request(stream))
    }

    /// A connection on which a GET has been answered, and which is kept open as a proxy does.
    pub(crate) fn keep(&self, path: &str) -> Idle {
        let mut stream = Stream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: app\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        reader.read_exact(&mut vec![0; length]).unwrap();
        Idle(reader)
    }

    /// What comes on a connection that asks nothing and is at its end at once: so the platform sees whether an app takes any.
    pub(crate) fn touch(&self) -> String {
        let stream = Stream::connect(&self.address).unwrap();
        match &stream {
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
        }
        Idle(BufReader::new(stream)).rest()
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
        read(&mut self.log)
    }

    /// Waits until the app prints this line.
    pub(crate) fn expect_line(&mut self, wanted: &str) {
        let mut seen = String::new();
        loop {
            let start = seen.len();
            match self.stdout.read_line(&mut seen) {
                Ok(1..) if seen[start..].trim_end() == wanted => return,
                Ok(1..) => {}
                end => panic!("{wanted:?} is not printed ({end:?}), but:\n{seen}"),
            }
        }
    }

    /// What is left on the app's stdout, once it has ended.
    pub(crate) fn stdout(&mut self) -> String {
        read(&mut self.stdout)
    }

    /// The same of its stderr.
    pub(crate) fn stderr(&mut self) -> String {
        read(&mut self.child.stderr.take().unwrap())
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
#[derive(Debug)]
pub(crate) struct Request(Stream);

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

/// A connection that no request is on.
#[derive(Debug)]
pub(crate) struct Idle(BufReader<Stream>);

impl Idle {
    /// What comes on it until it is closed.
    pub(crate) fn rest(mut self) -> String {
        let mut rest = String::new();
        match self.0.read_to_string(&mut rest) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("it is not closed"),
            _ => rest,
        }
    }
}

/// A connection to the app.
#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Ok(Self::Unix(stream))
            }
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Ok(Self::Tcp(stream))
            }
            Address::None => panic!("the app listens on nothing, or it has not said where"),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The descriptor that the app gets for its listener, and where it is reached by it.
fn bind(listen: Listen, folder: &TempDir) -> (OwnedFd, Address) {
    match listen {
        Listen::Unix => {
            let path = folder.path().join("app.sock");
            (UnixListener::bind(&path).unwrap().into(), Address::Unix(path))
        }
        Listen::Tcp => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            (listener.into(), Address::Tcp(address))
        }
        Listen::Own | Listen::None => (File::open("/dev/null").unwrap().into(), Address::None),
    }
}

fn read(from: &mut impl Read) -> String {
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
