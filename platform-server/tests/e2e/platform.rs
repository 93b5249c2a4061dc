//! A platform for one test: a server on ports and in folders of its own, ended with everything it started.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde::Deserialize;

/// Longest wait for anything but a build. Only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at what a compiler must not be disturbed for.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// The folder of cargo-shuttle, platform-server and platform-runner.
pub(crate) fn binaries() -> PathBuf {
    let default = || Path::new(env!("CARGO_BIN_EXE_platform-server")).parent().unwrap().to_path_buf();
    let folder = std::env::var_os("SHUTTLE_TEST_BIN_DIR").map_or_else(default, PathBuf::from);
    for name in ["cargo-shuttle", "platform-server", "platform-runner"] {
        assert!(folder.join(name).is_file(), "{} has no {name}; run the tests with `cargo xtask test`", folder.display());
    }
    folder
}

/// The repository's root.
pub(crate) fn repository() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf();
    std::env::var_os("SHUTTLE_TEST_REPO").map_or_else(default, PathBuf::from)
}

#[derive(Debug, Deserialize)]
pub(crate) struct Ready {
    pub(crate) api: String,
    pub(crate) proxy: String,
    pub(crate) admin_key_file: PathBuf,
}

/// Tests hold more connections at the same time than the usual soft limit allows files.
fn allow_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).unwrap();
}

/// A running platform. Dropping it stops the server and removes its folders.
#[derive(Debug)]
pub(crate) struct Platform {
    server: Child,
    pub(crate) ready: Ready,
    pub(crate) key: String,
    arguments: Vec<String>,
    /// The disk that the data directory is on, where it is not the machine's.
    disk: Option<Disk>,
    /// How many files the server may have open, where that is not the test's own limit.
    files: Option<&'static str>,
    folder: tempfile::TempDir,
    pub(crate) client: reqwest::Client,
}

impl Platform {
    /// Starts a server with further arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_on(None, None, arguments)
    }

    /// Starts a server that may have so many files open.
    pub(crate) fn start_with_open_files(files: &'static str) -> Self {
        Self::start_on(None, Some(files), &[])
    }

    /// Starts a server whose data directory is on a small disk of its own (`8m`). Needs root.
    pub(crate) fn start_on_disk_of(size: &str) -> Self {
        Self::start_on(Some(size), None, &[])
    }

    fn start_on(size: Option<&str>, files: Option<&'static str>, arguments: &[&str]) -> Self {
        allow_open_files();
        let folder = tempfile::Builder::new().prefix("shuttle-e2e-").tempdir().unwrap();
        // Builds, apps and databases run as other users.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let disk = size.map(|size| Disk::of(size, &folder.path().join("data")));
        let (server, ready) = spawn(folder.path(), (disk.as_ref(), files), "127.0.0.1:0", "127.0.0.1:0", &arguments);
        let key = fs::read_to_string(seen(disk.as_ref(), &ready.admin_key_file)).unwrap().trim().to_owned();
        let client =
            reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build().unwrap();
        Self { server, ready, key, arguments, disk, files, folder, client }
    }

    /// The server ends without having been told, and is started again where it was.
    pub(crate) fn kill_and_start_again(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        self.start_again();
    }

    /// The server is asked to stop, and started again where it was.
    pub(crate) fn stop_and_start_again(&mut self) {
        self.stop();
        self.start_again();
    }

    pub(crate) fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        let address = |url: &str| url.strip_prefix("http://").unwrap().to_owned();
        let (server, ready) = spawn(
            self.folder.path(),
            (self.disk.as_ref(), self.files),
            &address(&self.ready.api),
            &address(&self.ready.proxy),
            &self.arguments,
        );
        self.server = server;
        let key_file = seen(self.disk.as_ref(), &ready.admin_key_file);
        assert_eq!(fs::read_to_string(key_file).unwrap().trim(), self.key, "the key survives a restart");
        self.ready = ready;
    }

    fn stop(&mut self) {
        let pid = Pid::from_child(&self.server);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = self.server.wait().unwrap();
        assert!(status.success(), "the server does not stop cleanly: {status}\n{}", self.server_log());
    }

    pub(crate) fn data(&self) -> PathBuf {
        fs::canonicalize(self.folder.path()).unwrap().join("data")
    }

    /// The same, as a test sees it that is not on the server's disk.
    pub(crate) fn seen_data(&self) -> PathBuf {
        seen(self.disk.as_ref(), &self.data())
    }

    /// Leaves no room on the server's disk, which has to be one of its own.
    pub(crate) fn fill_disk(&self) {
        // It is in memory, which other tests need as well: so it is made smaller first.
        self.disk.as_ref().unwrap().shrink(&self.data());
        let mut file = fs::File::create(self.seen_data().join("filler")).unwrap();
        for size in [1 << 20, 1 << 12] {
            let zeros = vec![0; size];
            while file.write_all(&zeros).is_ok() {}
        }
    }

    /// `cargo shuttle …` in a folder.
    pub(crate) fn shuttle<S: AsRef<OsStr>>(&self, folder: &Path, arguments: &[S]) -> Output {
        self.command(folder, arguments).output().unwrap()
    }

    pub(crate) fn command<S: AsRef<OsStr>>(&self, folder: &Path, arguments: &[S]) -> Command {
        let mut command = Command::new(binaries().join("cargo-shuttle"));
        command.arg("shuttle").args(arguments).current_dir(folder).stdin(Stdio::null());
        command.env("SHUTTLE_API", &self.ready.api).env("SHUTTLE_API_KEY", &self.key);
        command
    }

    /// Deploys, and expects it to work.
    pub(crate) fn deploy(&self, folder: &Path) {
        let output = self.shuttle(folder, &["deploy", "--allow-dirty"]);
        assert!(output.status.success(), "deploying {}: {}\n{}", folder.display(), text(&output), self.server_log());
    }

    /// Deploys, and expects this exit status; gives what was said.
    pub(crate) fn deploy_fails(&self, folder: &Path, status: i32) -> String {
        let output = self.shuttle(folder, &["deploy", "--allow-dirty"]);
        assert_eq!(
            output.status.code(),
            Some(status),
            "deploying {}: {}\n{}",
            folder.display(),
            text(&output),
            self.server_log()
        );
        text(&output)
    }

    /// One request through the proxy, to the app of this name.
    pub(crate) fn request(&self, method: reqwest::Method, app: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.ready.proxy)).header("host", format!("{app}.localhost"))
    }

    /// Status and body of a GET.
    pub(crate) async fn get(&self, app: &str, path: &str) -> (u16, String) {
        let response = self.request(reqwest::Method::GET, app, path).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.text().await.unwrap())
    }

    /// What building has left on the disk, by `platform-server cache`.
    pub(crate) fn cache(&self, arguments: &[&str]) -> serde_json::Value {
        let mut command = Command::new(binaries().join("platform-server"));
        let output = command.args(["cache", "--output", "json", "--data-dir"]).arg(self.data()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Bytes of the build folder of a project, if it is seen upon the dependencies that projects share, and has no copy.
    pub(crate) async fn own_build_bytes(&self, project: &str) -> Option<u64> {
        let health = self.api(reqwest::Method::GET, "/healthz").send().await.unwrap().text().await.unwrap();
        let cache = self.cache(&[]);
        let rows = cache["folders"].as_array().unwrap();
        let row = rows.iter().find(|row| row["what"] == format!("project {project}")).unwrap();
        health.contains("shared by overlay mounts").then(|| row["bytes"].as_u64().unwrap())
    }

    /// Asks until the answer is as wanted.
    pub(crate) async fn get_until(&self, app: &str, path: &str, wanted: impl Fn(u16, &str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let (status, body) = self.get(app, path).await;
            if wanted(status, &body) {
                return body;
            }
            assert!(begun.elapsed() < PATIENCE, "{app}{path} still answers {status}: {body}\n{}", self.server_log());
        }
    }

    /// An API request with the key.
    pub(crate) fn api(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.ready.api)).bearer_auth(&self.key)
    }

    pub(crate) fn server_log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default();
        format!("--- the server's log:\n{log}")
    }

    /// Waits until the server has written a line with these words to its log.
    pub(crate) fn wait_for_log(&self, words: &str) {
        let log = self.folder.path().join("server.log");
        // Longer than a build takes.
        let mut tail = Command::new("timeout");
        let mut tail = tail.args(["600", "tail", "-n", "+1", "-F"]).arg(log).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines().map_while(Result::ok);
        let found = lines.any(|line| line.contains(words));
        tail.kill().unwrap();
        tail.wait().unwrap();
        assert!(found, "it does not say {words:?}: {}", self.server_log());
    }

    /// The most memory that the server itself has had at a time, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Leaves the server no descriptor beyond those that it has open.
    pub(crate) fn use_up_open_files(&self) {
        let open = fs::read_dir(format!("/proc/{}/fd", self.server.id())).unwrap().count() as u64;
        let limit = Rlimit { current: Some(open), maximum: getrlimit(Resource::Nofile).maximum };
        prlimit(Pid::from_raw(self.server.id().cast_signed()), Resource::Nofile, limit).unwrap();
    }

    /// What is told of a deployment, until these words have been so often, in all of its time.
    pub(crate) async fn events_until(&self, deployment: &str, words: &str, times: usize) -> String {
        let path = format!("/deployments/{deployment}/events");
        let mut events = self.api(reqwest::Method::GET, &path).send().await.unwrap();
        let mut told = String::new();
        while told.matches(words).count() < times {
            let piece = events.chunk().await.unwrap();
            let piece = piece.unwrap_or_else(|| panic!("not {times} times {words}: {told}\n{}", self.server_log()));
            told.push_str(&String::from_utf8_lossy(&piece));
        }
        told
    }

    /// Processes that this platform's server started and that have not ended.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let marker = format!("PLATFORM_SERVER_INSTANCE={}", self.data().display());
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|line| line == marker.as_bytes()))
        })
        .collect()
    }

    /// Kills the platform's processes of this program, as a crash would.
    pub(crate) fn kill_program(&self, program: &str) {
        self.signal_program(program, rustix::process::Signal::KILL);
    }

    /// Sends a signal to the platform's servers of this program.
    pub(crate) fn signal_program(&self, program: &str, signal: rustix::process::Signal) {
        // Children of the server's: Redis overwrites the environment by which others are found.
        let wanted = format!("({program}) ");
        let child = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent = stat.split_once(&wanted).and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
            parent == Some(self.server.id())
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let found: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(child).collect();
        assert!(!found.is_empty(), "no {program} runs");
        for pid in found {
            let pid = Pid::from_raw(pid.cast_signed()).unwrap();
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Waits until no process of this platform's is left.
    pub(crate) fn assert_no_process_left(&self) {
        let begun = Instant::now();
        while !self.processes().is_empty() {
            assert!(begun.elapsed() < PATIENCE, "left running: {:?}", self.processes());
            std::thread::yield_now();
        }
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        if let Ok(None) = self.server.try_wait() {
            let pid = Pid::from_child(&self.server);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = self.server.wait();
        }
        if !std::thread::panicking() {
            self.assert_no_process_left();
        }
    }
}

/// A small disk, for those alone who enter its namespace. It stays until this is dropped, or the test ends in any way.
#[derive(Debug)]
struct Disk {
    holder: Child,
}

/// Mounts a disk of the size `$1` at `$2`, says so, and waits for the end of its stdin.
const HOLD_A_DISK: &str = "mount -t tmpfs -o size=$1,mode=711 tmpfs \"$2\" && echo mounted && exec cat";

impl Disk {
    fn of(size: &str, place: &Path) -> Self {
        fs::create_dir_all(place).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", HOLD_A_DISK, "sh", size]).arg(place);
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n");
        Self { holder }
    }

    /// Leaves it what it has, and a little room.
    fn shrink(&self, place: &Path) {
        const ROOM: u64 = 1 << 20;
        let disk = rustix::fs::statvfs(seen(Some(self), place)).unwrap();
        let size = (disk.f_blocks - disk.f_bfree) * disk.f_frsize + ROOM;
        let mut command = self.enter();
        let output = command.args(["mount", "-o", &format!("remount,size={size}")]).arg(place).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }

    /// A command for what sees the disk.
    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()));
        command
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// How a path that is on the disk is reached from outside.
fn seen(disk: Option<&Disk>, path: &Path) -> PathBuf {
    disk.map_or_else(|| path.to_path_buf(), |disk| format!("/proc/{}/root{}", disk.holder.id(), path.display()).into())
}

fn server_command(disk: Option<&Disk>, files: Option<&str>) -> Command {
    let server = binaries().join("platform-server");
    let Some(disk) = disk else {
        // As strict as a service manager's: others have to reach what the server makes for them all the same.
        let mut command = Command::new("sh");
        let limit = files.map(|files| format!("ulimit -n {files} && ")).unwrap_or_default();
        command.args(["-c", &format!("umask 077 && {limit}exec \"$@\""), "sh"]).arg(server);
        return command;
    };
    let mut command = disk.enter();
    command.arg(server);
    command
}

fn spawn(
    folder: &Path,
    (disk, files): (Option<&Disk>, Option<&str>),
    api: &str,
    proxy: &str,
    arguments: &[String],
) -> (Child, Ready) {
    let log = fs::File::options().create(true).append(true).open(folder.join("server.log")).unwrap();
    let mut command = server_command(disk, files);
    command.args(["serve", "--output", "json", "--domain", "localhost", "--api", api, "--proxy", proxy, "--data-dir"]);
    command.arg(folder.join("data")).args(arguments);
    // Nothing compiles that no test asked for.
    for work in ["--warm-up-after", "--optimise-after"] {
        if !arguments.iter().any(|argument| argument == work) {
            command.args([work, "0"]);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut server = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready = serde_json::from_str(&line).unwrap_or_else(|error| {
        panic!("the server did not start ({error}): {}", fs::read_to_string(folder.join("server.log")).unwrap_or_default())
    });
    (server, ready)
}

/// Everything that a command said.
pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
