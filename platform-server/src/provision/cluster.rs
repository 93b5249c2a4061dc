//! The Postgres that the platform runs itself: an installed one, as a user of its own, on a data directory of its own,
//! reached through a Unix socket and by password only. Made when the first app asks.
//!
//! Where apps have users of their own, they reach it through the [`Gate`], and Postgres' own socket stands where only it and
//! the server may go. Where they do not, nothing would tell them apart, and they connect to Postgres itself.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::Signal;
use tempfile::NamedTempFile;
use tokio::sync::Mutex;
use tokio_postgres::{Config, NoTls};
use tokio_util::sync::CancellationToken;

use super::{
    ProvisionError, find_program,
    gate::Gate,
    program_folders, secret,
    service::{Definition, START_LIMIT, Service},
};
use crate::{
    build::blocking,
    process::{Process, describe, is_running},
    sandbox::{DeathSignal, Limits, Mount, Sandbox, Share, Spec},
    stored::{persist, sync_folder_of},
};

/// The administrator of the platform's own cluster.
const ADMIN: &str = "platform";
/// Connections to the cluster, of all apps together and of the platform itself.
const MAX_CONNECTIONS: u32 = 1000;
/// Connections to the cluster that the gate lets apps have, all together. The rest is for the platform. Postgres looks only after
/// the password at which places are reserved; until then, everybody takes one of the same places.
pub(crate) const MAX_APP_CONNECTIONS: u32 = MAX_CONNECTIONS - 50;
/// The first version of Postgres that sees while a query runs that its client is gone.
const SEES_CLIENTS_GO: u32 = 14;
/// The name of the socket, which is the port's.
const SOCKET: &str = ".s.PGSQL.5432";
/// Longest making of the cluster.
const INITDB_LIMIT: Duration = Duration::from_secs(300);

/// The cluster that the platform runs itself.
#[derive(Debug)]
pub(crate) struct OwnCluster {
    sandbox: Sandbox,
    files: Arc<Files>,
    /// Connections that the gate lets through at a time.
    through: u32,
    /// No cluster is made once the server is told to stop.
    stop: CancellationToken,
    /// The server, once it was asked for.
    running: Mutex<Option<Running>>,
}

/// The cluster's files. What is done to them blocks.
#[derive(Debug)]
struct Files {
    folder: PathBuf,
    /// Where apps find the socket.
    sockets: PathBuf,
    /// The user that Postgres runs as.
    uid: Option<u32>,
}

#[derive(Debug, Clone)]
struct Running {
    service: Arc<Service>,
    gate: Option<Arc<Gate>>,
}

/// A cluster that answers.
#[derive(Debug)]
pub(super) struct Reached {
    /// An administrator's connection data.
    pub(super) admin: Config,
    /// The folder of the socket that apps connect to.
    pub(super) sockets: PathBuf,
    /// Where it is to be said how many connections each user may have.
    pub(super) gate: Option<Arc<Gate>>,
}

impl OwnCluster {
    /// Apps find its socket in `sockets`, a folder of the server's own that all may pass through.
    pub(crate) fn new(
        sandbox: Sandbox,
        folder: PathBuf,
        sockets: PathBuf,
        uid: Option<u32>,
        through: u32,
        stop: CancellationToken,
    ) -> Self {
        Self { sandbox, files: Arc::new(Files { folder, sockets, uid }), through, stop, running: Mutex::default() }
    }

    /// Starts it, if it does not run, and waits until it answers.
    pub(super) async fn reach(&self) -> Result<Reached, ProvisionError> {
        let not_running = |why| ProvisionError::NotRunning { what: "Postgres", why };
        // Whoever waits for another one's `initdb` does not begin to wait anew when that has failed.
        let limit = INITDB_LIMIT + START_LIMIT;
        let Running { service, gate } = tokio::time::timeout(limit, self.running())
            .await
            .map_err(|_| not_running(format!("its cluster was not made within {} s", limit.as_secs())))??;
        service.ready().await.map_err(not_running)?;
        let admin = self.with_files(Files::admin).await?;
        Ok(Reached { admin, sockets: self.files.sockets.clone(), gate })
    }

    async fn with_files<T: Send + 'static>(&self, work: impl FnOnce(&Files) -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let files = Arc::clone(&self.files);
        blocking(move || work(&files)).await
    }

    pub(super) async fn stop(&self) {
        let running = self.running.lock().await.take();
        if let Some(Running { service, .. }) = running {
            service.stop().await;
        }
    }

    /// The server, started if it was not. The lock is not held while it is waited for.
    async fn running(&self) -> Result<Running, ProvisionError> {
        let mut running = self.running.lock().await;
        if let Some(running) = running.as_ref() {
            return Ok(running.clone());
        }
        if self.stop.is_cancelled() {
            return Err(stopping());
        }
        let binaries = self.with_files(|files| Ok(binaries(files.made_by()))).await??;
        self.initialise(&binaries).await?;
        let (admin, made_by) = self
            .with_files(|files| {
                files.remove_stale_pid_file()?;
                Ok((files.admin()?, files.made_by()))
            })
            .await?;
        let Files { sockets, uid, .. } = &*self.files;
        let gate = match uid {
            Some(_) => Some(Arc::new(Gate::open(&sockets.join(SOCKET), self.files.inner().join(SOCKET), self.through)?)),
            None => None,
        };
        let service = Arc::new(Service::start(self.sandbox.clone(), self.definition(&binaries, admin, made_by)));
        Ok(running.insert(Running { service, gate }).clone())
    }

    fn spec(&self, program: PathBuf, args: Vec<String>) -> Spec {
        // The same paths inside as outside: where apps connect to it, the socket's is part of what they are told.
        let same = |path: &Path, write| Mount { from: path.to_path_buf(), to: path.to_path_buf(), write, upon: None };
        let Files { folder, uid, .. } = &*self.files;
        let mut mounts = vec![same(folder, true), same(&self.files.inner(), true)];
        if let Some(root) = program.ancestors().nth(2).filter(|root| !root.starts_with("/usr")) {
            mounts.push(same(root, false));
        }
        Spec {
            program,
            args,
            env: [("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8"), ("LC_ALL", "C.UTF-8")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .to_vec(),
            cwd: folder.clone(),
            uid: *uid,
            view: self.sandbox.view(mounts, Share { pids: true, ipc: true, ..Share::default() }, *uid),
            limits: Limits::default(),
            death_signal: DeathSignal::Int,
            nice: 0,
        }
    }

    /// Makes the cluster, once.
    async fn initialise(&self, binaries: &Path) -> Result<(), ProvisionError> {
        let Some(unfinished) = self.with_files(Files::prepare).await? else { return Ok(()) };
        tracing::info!("making the Postgres cluster");
        let args = [
            "--pgdata".to_owned(),
            unfinished.display().to_string(),
            format!("--username={ADMIN}"),
            format!("--pwfile={}", self.files.password().display()),
            "--auth=scram-sha-256".to_owned(),
            "--encoding=UTF8".to_owned(),
            "--locale=C.UTF-8".to_owned(),
        ];
        let spec = self.spec(binaries.join("initdb"), args.to_vec());
        let mut process = self.sandbox.spawn(&spec, Stdio::null(), Stdio::piped()).await?;
        let stderr = process.take_stderr();
        let status = wait_unless_stopped(&mut process, &self.stop).await?;
        if !status.success() {
            let why = blocking(move || stderr.map_or(Ok(String::new()), io::read_to_string)).await.unwrap_or_default();
            return Err(ProvisionError::Postgres(format!("initdb ended with {}: {}", describe(status), why.trim())));
        }
        Ok(self.with_files(move |files| files.finish(&unfinished)).await?)
    }

    fn definition(&self, binaries: &Path, admin: Config, made_by: Option<u32>) -> Definition {
        let mut args = vec!["-D".to_owned(), self.files.cluster().display().to_string()];
        let settings = settings(&self.files.inner(), made_by);
        args.extend(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]));
        Definition {
            name: "Postgres".into(),
            spec: self.spec(binaries.join("postgres"), args),
            log: self.files.folder.join("postgres.log"),
            answers: Box::new(move || {
                let admin = admin.clone();
                Box::pin(async move { admin.connect(NoTls).await.is_ok() })
            }),
            // Fast shutdown: sessions are ended, data is written.
            stop_signal: Signal::INT,
            own_uid: self.files.uid,
        }
    }
}

impl Files {
    /// The folder of Postgres' own socket.
    fn inner(&self) -> PathBuf {
        match self.uid {
            Some(_) => self.sockets.with_extension("own"),
            None => self.sockets.clone(),
        }
    }

    fn cluster(&self) -> PathBuf {
        self.folder.join("cluster")
    }

    /// The file of the administrator's password.
    fn password(&self) -> PathBuf {
        self.folder.join("admin.password")
    }

    /// An administrator's connection data.
    fn admin(&self) -> io::Result<Config> {
        let password = fs::read_to_string(self.password())?;
        let mut config = Config::new();
        config.host_path(self.inner()).user(ADMIN).password(password.trim()).dbname("postgres");
        Ok(config)
    }

    /// The version of Postgres that made the cluster.
    fn made_by(&self) -> Option<u32> {
        fs::read_to_string(self.cluster().join("PG_VERSION")).ok()?.trim().parse().ok()
    }

    /// Makes what is missing around the cluster. Where there is none, gives the folder to make it in: beside its place, so that
    /// one cut short is not mistaken for one that is whole.
    fn prepare(&self) -> io::Result<Option<PathBuf>> {
        // The folder stays the server's: in one that Postgres could write to, the server might follow a link of its making.
        for folder in [&self.folder, &self.inner()] {
            fs::create_dir_all(folder)?;
        }
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o711))?;
        chown(self.inner(), self.uid, self.uid)?;
        fs::set_permissions(self.inner(), fs::Permissions::from_mode(0o700))?;
        if self.cluster().exists() {
            return Ok(None);
        }
        // On the disk before there is a cluster that knows it: without it, nobody reaches what is in that.
        let mut password = NamedTempFile::new_in(&self.folder)?;
        password.write_all(secret(24)?.as_bytes())?;
        // initdb reads it, under Postgres' uid.
        chown(password.path(), None, self.uid)?;
        password.as_file().set_permissions(fs::Permissions::from_mode(0o640))?;
        persist(password, &self.password())?;
        let unfinished = self.folder.join("cluster.unfinished");
        crate::remove::all(&unfinished)?;
        fs::create_dir(&unfinished)?;
        chown(&unfinished, self.uid, self.uid)?;
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o700))?;
        Ok(Some(unfinished))
    }

    /// Puts the cluster that `initdb` has made, and written to the disk, in its place.
    fn finish(&self, unfinished: &Path) -> io::Result<()> {
        fs::rename(unfinished, self.cluster())?;
        sync_folder_of(&self.cluster())
    }

    /// Postgres refuses to start while the process exists that its pid file names, even as a zombie, which is what a killed
    /// one is until somebody reaps it.
    fn remove_stale_pid_file(&self) -> io::Result<()> {
        let path = self.cluster().join("postmaster.pid");
        let pid = fs::read_to_string(&path).ok().and_then(|text| text.lines().next()?.trim().parse().ok());
        match pid {
            Some(pid) if !is_running(pid) => fs::remove_file(path),
            _ => Ok(()),
        }
    }
}

/// What is set for a server of this version, whose own socket is in `sockets`. A server that does not know a setting does not start.
fn settings(sockets: &Path, version: Option<u32>) -> Vec<String> {
    let mut settings = vec![
        "listen_addresses=".to_owned(),
        format!("unix_socket_directories={}", sockets.display()),
        "unix_socket_permissions=0777".to_owned(),
        // Places are cheap while nobody takes them, and each app's are counted at the gate.
        format!("max_connections={MAX_CONNECTIONS}"),
        // Where there is no gate, apps with a password leave these to the platform.
        "superuser_reserved_connections=10".to_owned(),
        "authentication_timeout=10s".to_owned(),
        // What an app's statement did wrong is told to the app; here it would only fill the disk.
        "log_min_messages=log".to_owned(),
        "log_min_error_statement=panic".to_owned(),
    ];
    if version.is_some_and(|version| version >= SEES_CLIENTS_GO) {
        // An instance that was killed in the middle of a long query gives its place back.
        settings.push("client_connection_check_interval=5s".to_owned());
    }
    settings
}

/// Waits for the end of `initdb`, and ends it when it takes too long or the server is told to stop.
async fn wait_unless_stopped(process: &mut Process, stop: &CancellationToken) -> Result<ExitStatus, ProvisionError> {
    tokio::select! {
        status = process.wait_or_kill(INITDB_LIMIT) => return Ok(status?),
        () = stop.cancelled() => {}
    }
    process.kill().await?;
    Err(stopping())
}

fn stopping() -> ProvisionError {
    ProvisionError::NotRunning { what: "Postgres", why: "the platform is stopping".to_owned() }
}

/// The folder of `initdb` and `postgres`: the newest installed, or that of the version that made the cluster.
pub(super) fn binaries(made_by: Option<u32>) -> Result<PathBuf, ProvisionError> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").is_file() && bin.join("postgres").is_file())
        .collect();
    versions.sort();
    let chosen = match made_by {
        Some(made_by) => versions.iter().find(|(version, _)| *version == made_by),
        None => versions.last(),
    };
    let elsewhere = || find_program(program_folders(), &["initdb"]).and_then(|path| path.parent().map(Path::to_path_buf));
    match (chosen, made_by) {
        (Some((_, bin)), _) => Ok(bin.clone()),
        (None, Some(made_by)) if !versions.is_empty() => Err(ProvisionError::Postgres(format!(
            "the platform's data was made by Postgres {made_by}, which is not installed any more (apt install postgresql-{made_by})"
        ))),
        (None, _) => elsewhere().ok_or(ProvisionError::NotInstalled { what: "Postgres", packages: "postgresql" }),
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Instant};

    use super::*;
    use crate::process::Spawner;

    #[test]
    fn a_server_is_told_only_settings_that_it_knows() {
        let checks = |version| settings(Path::new("/sockets"), version).iter().any(|setting| setting.starts_with("client_conn"));
        assert_eq!([None, Some(11), Some(13), Some(14), Some(17)].map(checks), [false, false, false, true, true]);
        // Who connects and says nothing has its place for so long.
        assert!(settings(Path::new("/sockets"), None).contains(&"authentication_timeout=10s".to_owned()));
        let postgres = binaries(None).unwrap();
        let said = Command::new(postgres.join("postgres")).arg("--version").output().unwrap().stdout;
        // `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`
        let version = String::from_utf8(said).unwrap().split([' ', '.']).nth(2).unwrap().parse::<u32>().unwrap();
        // The installed one knows them all.
        for setting in settings(Path::new("/sockets"), Some(version)) {
            let (name, value) = setting.split_once('=').unwrap();
            let mut command = Command::new(postgres.join("postgres"));
            if rustix::process::geteuid().is_root() {
                // Postgres refuses to run as root; `nobody` exists everywhere.
                std::os::unix::process::CommandExt::uid(&mut command, 65534);
            }
            // Settings are read before the data directory is, which it then misses.
            let output = command.current_dir("/").args(["-D", "/no/such/folder", "-c", &setting]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("/no/such/folder"), "{name} = {value}: {said}");
        }
    }

    #[test]
    fn a_cluster_is_made_once_and_its_password_is_there_before() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files { folder: folder.path().join("postgres"), sockets: folder.path().join("sockets"), uid: None };
        let unfinished = files.prepare().unwrap().unwrap();
        let password = fs::read_to_string(files.password()).unwrap();
        assert!(password.len() >= 24 && files.admin().unwrap().get_password() == Some(password.as_bytes()));
        assert_eq!(fs::metadata(files.password()).unwrap().permissions().mode() & 0o777, 0o640);
        // As an `initdb` that was killed leaves it.
        fs::write(unfinished.join("half"), "").unwrap();
        let unfinished = files.prepare().unwrap().unwrap();
        assert_eq!(fs::read_dir(&unfinished).unwrap().count(), 0);
        let password = fs::read_to_string(files.password()).unwrap();
        files.finish(&unfinished).unwrap();
        assert_eq!(files.prepare().unwrap(), None);
        assert_eq!(fs::read_to_string(files.password()).unwrap(), password, "it belongs to the cluster");
    }

    #[tokio::test]
    async fn a_server_that_stops_does_not_wait_until_a_cluster_is_made() {
        let spawner = Spawner::new("test").unwrap();
        let mut command = Command::new("sleep");
        command.arg("1000");
        let mut process = spawner.spawn(command).await.unwrap();
        let stop = CancellationToken::new();
        let begun = Instant::now();
        let (waited, ()) = tokio::join!(wait_unless_stopped(&mut process, &stop), async { stop.cancel() });
        let error = waited.unwrap_err();
        assert_eq!(error.to_string(), "Postgres does not run: the platform is stopping");
        assert!(begun.elapsed() < INITDB_LIMIT && !process.wait().await.unwrap().success());
    }
}
