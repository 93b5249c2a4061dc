//! A `platform-server` of xtask's own: started on a fresh data folder, stopped in order, its log kept.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use crate::{
    cmd,
    error::{At, Error, Result},
    http::Request,
    repo::Temp,
    signals, ui,
};

/// How long the server may take to say that it is ready.
const READY: Duration = Duration::from_secs(60);
/// How long it may take to stop: it drains, and ends its databases.
const STOP: Duration = Duration::from_secs(40);

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    exit: Option<ExitStatus>,
    log: PathBuf,
    bins: PathBuf,
    pub(crate) api: String,
    pub(crate) proxy: String,
    pub(crate) key_file: PathBuf,
    key: String,
}

impl Server {
    /// Starts the server that lies in `bins`, with more arguments, and waits until it is ready.
    pub(crate) fn start(bins: &Path, temp: &Temp, proxy: &str, more: &[&str]) -> Result<Self> {
        let log = temp.path.join("server.log");
        let mut command = cmd::own(&bins.join("platform-server"));
        command.args(["serve", "--data-dir"]).arg(temp.path.join("data"));
        command.args(["--api", "127.0.0.1:0", "--proxy", proxy, "--domain", "localhost", "--output", "json"]).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log).at(&log)?);
        // A group of its own: Ctrl-C reaches xtask alone, which then asks the server to stop, once.
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| Error::new(format!("cannot run {}: {error}", cmd::shown(&command))))?;
        let lines = first_line(&mut child);
        let mut server = Self {
            child,
            exit: None,
            log,
            bins: bins.to_owned(),
            api: String::new(),
            proxy: String::new(),
            key_file: PathBuf::new(),
            key: String::new(),
        };
        server.wait_ready(&lines).inspect_err(|error| server.show_log(error))?;
        Ok(server)
    }

    fn wait_ready(&mut self, lines: &mpsc::Receiver<String>) -> Result<()> {
        let line = signals::poll(READY, Duration::from_millis(20), || match lines.try_recv() {
            Ok(line) => Ok(Some(line)),
            // The line may arrive together with the end: look for the end only where there is no line.
            Err(_) => self.check().map(|()| None),
        })?
        .ok_or_else(|| Error::new(format!("platform-server was not ready after {}", ui::seconds(READY))))?;
        let ready: Value =
            serde_json::from_str(&line).map_err(|_| Error::new(format!("platform-server's first line is no JSON: {line:?}")))?;
        let field = |name: &str| {
            ready[name]
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| Error::new(format!("platform-server's ready line has no {name}: {line}")))
        };
        (self.api, self.proxy, self.key_file) = (field("api")?, field("proxy")?, PathBuf::from(field("admin_key_file")?));
        self.key = fs::read_to_string(&self.key_file).at(&self.key_file)?.trim().to_owned();
        Ok(())
    }

    /// Fails when the server has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Ok(Some(status)) = self.child.try_wait() {
            self.exit = Some(status);
            return Err(Error::new(format!("platform-server ended by itself: {status}")));
        }
        Ok(())
    }

    /// `cargo-shuttle shuttle …`, talking to this server.
    pub(crate) fn cli(&self, project: &Path) -> std::process::Command {
        let mut command = cmd::own(&self.bins.join("cargo-shuttle"));
        command.arg("shuttle").current_dir(project).env("SHUTTLE_API", &self.api).env("SHUTTLE_API_KEY", &self.key);
        command
    }

    /// A request to the API, with the key.
    pub(crate) fn api<'a>(&'a self, path: &'a str) -> Request<'a> {
        Request::get(&self.api, path).header("Authorization", format!("Bearer {}", self.key))
    }

    /// A JSON answer of the API.
    pub(crate) fn api_json(&self, path: &str) -> Result<Value> {
        let answer = self.api(path).send()?;
        if answer.status != 200 {
            return Err(Error::new(format!("GET {path} answered {}: {}", answer.status, answer.body)));
        }
        serde_json::from_str(&answer.body).map_err(|error| Error::new(format!("GET {path} answered no JSON: {error}")))
    }

    /// Shows the end of the log, unless the user stopped it all.
    pub(crate) fn show_log(&self, error: &Error) {
        if !error.interrupted {
            ui::tail("platform-server's log", &String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()), 40);
        }
    }

    /// Asks the server to stop and waits for it.
    pub(crate) fn stop(mut self) -> Result<()> {
        match self.end() {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                Err(Error::new(format!("platform-server stopped with {status}"))).inspect_err(|error| self.show_log(error))
            }
            None => Err(Error::new(format!("platform-server did not stop within {} and was killed", ui::seconds(STOP))))
                .inspect_err(|error| self.show_log(error)),
        }
    }

    fn end(&mut self) -> Option<ExitStatus> {
        if self.exit.is_some() {
            return self.exit;
        }
        let pid = Pid::from_child(&self.child);
        let _ = kill_process(pid, Signal::TERM);
        let began = Instant::now();
        while began.elapsed() < STOP {
            if let Ok(Some(status)) = self.child.try_wait() {
                self.exit = Some(status);
                return self.exit;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = kill_process_group(pid, Signal::KILL);
        self.exit = self.child.wait().ok();
        None
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// The first line of the child's stdout; the rest is read and dropped, so that the pipe never fills.
fn first_line(child: &mut Child) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
    }
    receive
}
