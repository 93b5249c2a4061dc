//! One Postgres and one Redis for all tests of this binary.
//!
//! A static is never dropped, and a test binary may be killed. So each server has a shell above it that waits for the end of
//! its stdin, which comes with the end of this process however that happens; then it ends the server and removes its folder.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

const PASSWORD: &str = "p@ss/word";
/// Both servers refuse to run as root, or should; `nobody` exists everywhere.
const NOBODY: u32 = 65534;

const RUN_POSTGRES: &str = r#"
trap '"$BIN/pg_ctl" stop -D data -m immediate >log 2>&1; rm -rf "$FOLDER"' EXIT
"$BIN/initdb" -D data -U app -A scram-sha-256 --pwfile=password --no-sync -E UTF8 --no-locale >log 2>&1 &&
"$BIN/pg_ctl" start -w -D data -l log -o "-c listen_addresses= -c fsync=off -c unix_socket_directories='$FOLDER'" >log 2>&1 &&
echo ready || cat log
read -r _
"#;

const RUN_REDIS: &str = r#"
trap 'kill "$server"; wait; rm -rf "$FOLDER"' EXIT
"$REDIS" --port 0 --unixsocket "$FOLDER/redis.sock" --requirepass "$PASSWORD" --save '' --dir "$FOLDER" &
server=$!
read -r _
"#;

/// A URL of a new database.
pub(crate) fn postgres() -> String {
    static SERVER: LazyLock<(Server, PathBuf)> = LazyLock::new(|| {
        let bin = postgres_binaries();
        (Server::start(RUN_POSTGRES, &[("BIN", &bin)], "ready"), bin)
    });
    static DATABASES: AtomicU32 = AtomicU32::new(0);
    let (server, bin) = &*SERVER;
    let name = format!("database_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let made = Command::new(bin.join("createdb"))
        .env("PGPASSWORD", PASSWORD)
        .args(["-U", "app", "-h"])
        .arg(&server.folder)
        .arg(&name)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    format!("postgres://app:{}@{}/{name}", percent_encode(PASSWORD), percent_encode(server.folder.to_str().unwrap()))
}

/// The URL of a Redis, which all tests share.
pub(crate) fn redis() -> String {
    static SERVER: LazyLock<Server> = LazyLock::new(|| {
        let program = find(&["redis-server", "valkey-server"]);
        // Versions differ in the words before it.
        Server::start(RUN_REDIS, &[("REDIS", &program), ("PASSWORD", Path::new(PASSWORD))], "eady to accept connections")
    });
    format!("redis+unix://{}/redis.sock?pass={}", SERVER.folder.display(), percent_encode(PASSWORD))
}

/// A server with the shell above it. Its output is kept open, as it may go on writing.
struct Server {
    folder: PathBuf,
    _shell: Child,
    _output: BufReader<ChildStdout>,
}

impl Server {
    /// Runs the script until it has said that its server is ready.
    fn start(script: &str, variables: &[(&str, &Path)], ready: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("parameters-").tempdir().unwrap().keep();
        fs::write(folder.join("password"), PASSWORD).unwrap();
        let mut command = Command::new("/bin/sh");
        if rustix::process::geteuid().is_root() {
            for path in [&folder, &folder.join("password")] {
                chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            command.uid(NOBODY).gid(NOBODY);
        }
        // A group of its own: an interrupt from the terminal would end it before it has tidied up.
        let mut shell = command
            .args(["-c", script])
            .envs(variables.iter().copied())
            .env("FOLDER", &folder)
            .current_dir(&folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(shell.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains(ready) {
            assert_ne!(output.read_line(&mut said).unwrap(), 0, "it does not start: {said}");
        }
        Self { folder, _shell: shell, _output: output }
    }
}

/// The newest of Debian's, or the one on the path.
fn postgres_binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").is_file())
        .max_by_key(|bin| bin.parent().and_then(|path| path.file_name()?.to_str()?.parse::<u32>().ok()));
    newest.unwrap_or_else(|| find(&["initdb"]).canonicalize().unwrap().parent().unwrap().to_path_buf())
}

fn find(names: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let mut candidates = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    candidates.find(|path| path.is_file()).unwrap_or_else(|| panic!("install {}: these tests need it", names.join(" or ")))
}

/// Whatever it is, each byte of it.
fn percent_encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
