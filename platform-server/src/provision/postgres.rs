//! Postgres: one cluster, and in it one database and one role for each project.
//!
//! The cluster is one that the configuration names, or else an installed Postgres that the platform runs itself, as a
//! user of its own, on a data directory of its own, reachable through a Unix socket and by password only.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::Signal;
use tokio::sync::Mutex;
use tokio_postgres::{Client, Config, NoTls, config::Host, error::SqlState};

use super::{
    ProvisionError,
    extensions::{self, Maker},
    find_program, program_folders, secret,
    service::{Definition, Service},
};
use crate::{
    data_dir::private_file,
    db::ResourceRow,
    process::{describe, is_running},
    sandbox::{DeathSignal, Limits, Mount, Sandbox, Share, Spec},
};

const ADMIN: &str = "platform";
/// Longest wait for a connection as the administrator.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Longest making of the cluster.
const INITDB_LIMIT: Duration = Duration::from_secs(300);
/// Connections that one project's role may have at a time.
const CONNECTIONS_A_PROJECT: u32 = 50;

/// Where the cluster comes from.
#[derive(Debug)]
pub(crate) enum PostgresSource {
    /// An administrator's connection to a cluster that somebody else runs.
    Configured(Box<Config>),
    /// An installed server, run by the platform.
    Own { sandbox: Sandbox, folder: PathBuf, sockets: PathBuf, uid: Option<u32> },
}

/// The provisioner.
#[derive(Debug)]
pub(crate) struct Postgres {
    source: PostgresSource,
    /// Extensions that apps may have beside the trusted ones.
    extensions: BTreeSet<String>,
    /// The platform's own server, once it was asked for.
    service: Mutex<Option<Service>>,
    /// `CREATE` and `ALTER` of the same role at the same time fail in Postgres; so one at a time.
    changes: Mutex<()>,
}

impl Postgres {
    pub(crate) fn new(source: PostgresSource, extensions: impl IntoIterator<Item = String>) -> Self {
        Self { source, extensions: extensions.into_iter().collect(), service: Mutex::new(None), changes: Mutex::new(()) }
    }

    /// Makes sure that the project's database and role exist, with these extensions, and returns their URL.
    pub(crate) async fn provide(&self, row: &ResourceRow, extensions: &[String]) -> Result<String, ProvisionError> {
        let config = self.cluster().await?;
        let _one_at_a_time = self.changes.lock().await;
        let admin = connect(&config).await?;
        if matches!(self.source, PostgresSource::Own { .. }) {
            // Nobody has business in there, and a connection to it would stop `CREATE DATABASE` for everybody.
            admin
                .batch_execute("REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC")
                .await
                .map_err(|error| explain(&error))?;
        }
        let mut makers = Vec::new();
        for name in extensions {
            makers.push((name, extensions::maker(&admin, &self.extensions, name).await?));
        }
        make_database(&admin, row).await?;
        if !makers.is_empty() {
            make_extensions(&config, row, &makers).await?;
        }
        url(&config, row)
    }

    pub(crate) async fn stop(&self) {
        if let Some(service) = self.service.lock().await.take() {
            service.stop().await;
        }
    }

    /// An administrator's connection data to a cluster that answers.
    async fn cluster(&self) -> Result<Config, ProvisionError> {
        let (sandbox, folder, sockets, uid) = match &self.source {
            PostgresSource::Configured(config) => {
                let mut config = (**config).clone();
                config.connect_timeout(*config.get_connect_timeout().unwrap_or(&CONNECT_LIMIT));
                return Ok(config);
            }
            PostgresSource::Own { sandbox, folder, sockets, uid } => (sandbox, folder, sockets, *uid),
        };
        let mut service = self.service.lock().await;
        if service.is_none() {
            let own = OwnCluster { sandbox, folder, sockets, uid };
            let binaries = own.binaries()?;
            own.initialise(&binaries).await?;
            own.remove_stale_pid_file()?;
            *service = Some(Service::start(sandbox.clone(), own.definition(&binaries)?));
        }
        if let Some(service) = service.as_ref() {
            service.ready().await.map_err(|why| ProvisionError::NotRunning { what: "Postgres", why })?;
        }
        Ok(admin_config(folder, sockets)?)
    }
}

fn admin_config(folder: &Path, sockets: &Path) -> io::Result<Config> {
    let password = fs::read_to_string(folder.join("admin.password"))?;
    let mut config = Config::new();
    config.host_path(sockets).user(ADMIN).password(password.trim()).dbname("postgres");
    config.connect_timeout(CONNECT_LIMIT);
    Ok(config)
}

async fn connect(config: &Config) -> Result<Client, ProvisionError> {
    let (client, connection) = config.connect(NoTls).await.map_err(|error| explain(&error))?;
    tokio::spawn(connection);
    client.batch_execute("SET lock_timeout = '10s'; SET statement_timeout = '60s'").await.map_err(|error| explain(&error))?;
    Ok(client)
}

/// Connects to the database only as whom it has to, and only for what is missing.
async fn make_extensions(config: &Config, row: &ResourceRow, wanted: &[(&String, Maker)]) -> Result<(), ProvisionError> {
    let mut app = config.clone();
    app.dbname(&row.handle).user(&row.handle).password(&row.password);
    let app = connect(&app).await?;
    let present = extensions::present(&app).await?;
    let missing = || wanted.iter().filter(|(name, _)| !present.contains(*name));
    for (name, maker) in missing().filter(|(_, maker)| *maker == Maker::App) {
        extensions::make(&app, *maker, name).await?;
    }
    if missing().all(|(_, maker)| *maker == Maker::App) {
        return Ok(());
    }
    let mut admin = config.clone();
    let admin = connect(admin.dbname(&row.handle)).await?;
    for (name, maker) in missing().filter(|(_, maker)| *maker == Maker::Administrator) {
        extensions::make(&admin, *maker, name).await?;
    }
    Ok(())
}

/// tokio-postgres says "db error" and keeps the reason in its source.
pub(super) fn explain(error: &tokio_postgres::Error) -> ProvisionError {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    ProvisionError::Postgres(text)
}

/// `handle` and `password` are hexadecimal, made by the platform: nothing in them needs quoting.
async fn make_database(admin: &Client, row: &ResourceRow) -> Result<(), ProvisionError> {
    let (handle, password) = (&row.handle, &row.password);
    let exists = |table: &str, column: &str| format!("SELECT 1 FROM {table} WHERE {column} = '{handle}'");
    let run = async |sql: String| admin.batch_execute(&sql).await;
    if admin.query_opt(&exists("pg_roles", "rolname"), &[]).await.map_err(|error| explain(&error))?.is_none() {
        let role = format!(
            "CREATE ROLE {handle} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION CONNECTION LIMIT {CONNECTIONS_A_PROJECT} PASSWORD '{password}'"
        );
        run(role).await.map_err(|error| explain(&error))?;
    }
    if admin.query_opt(&exists("pg_database", "datname"), &[]).await.map_err(|error| explain(&error))?.is_none() {
        // An administrator that is no superuser may give a database only to a role that it is a member of.
        let _ = run(format!("GRANT {handle} TO CURRENT_USER")).await;
        match run(format!("CREATE DATABASE {handle} OWNER {handle} TEMPLATE template0")).await {
            Err(error) if error.code() == Some(&SqlState::DUPLICATE_DATABASE) => {}
            other => other.map_err(|error| explain(&error))?,
        }
        // Only now: later, a transaction of the tenant's own could make this wait.
        run(format!("REVOKE ALL ON DATABASE {handle} FROM PUBLIC")).await.map_err(|error| explain(&error))?;
    }
    Ok(())
}

/// The URL of a project's database in the cluster of `config`. A socket's folder stands percent-encoded in the place of
/// the host, which every client reads.
fn url(config: &Config, row: &ResourceRow) -> Result<String, ProvisionError> {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) if host.contains(':') => format!("[{host}]"),
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(folder)) => percent_encode(&folder.display().to_string()),
        None => return Err(ProvisionError::Postgres("the configured URL has no host".into())),
    };
    let port = config.get_ports().first().map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("postgres://{}:{}@{host}{port}/{}", row.handle, row.password, row.handle))
}

fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// The folder of `initdb` and `postgres`: the newest installed, or that of the version that made the cluster.
fn binaries(made_by: Option<u32>) -> Result<PathBuf, ProvisionError> {
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

/// The cluster that the platform runs itself.
struct OwnCluster<'a> {
    sandbox: &'a Sandbox,
    folder: &'a Path,
    sockets: &'a Path,
    uid: Option<u32>,
}

impl OwnCluster<'_> {
    fn cluster(&self) -> PathBuf {
        self.folder.join("cluster")
    }

    fn binaries(&self) -> Result<PathBuf, ProvisionError> {
        let version = fs::read_to_string(self.cluster().join("PG_VERSION"));
        binaries(version.ok().and_then(|text| text.trim().parse().ok()))
    }

    fn spec(&self, program: PathBuf, args: Vec<String>) -> Spec {
        // The same paths inside as outside: the socket's is part of what apps are told.
        let same = |path: &Path, write| Mount { from: path.to_path_buf(), to: path.to_path_buf(), write };
        let mut mounts = vec![same(self.folder, true), same(self.sockets, true)];
        if let Some(root) = program.ancestors().nth(2).filter(|root| !root.starts_with("/usr")) {
            mounts.push(same(root, false));
        }
        Spec {
            program,
            args,
            env: [("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8"), ("LC_ALL", "C.UTF-8")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .to_vec(),
            cwd: self.folder.to_path_buf(),
            uid: self.uid,
            view: self.sandbox.view(mounts, Share { network: false, pids: true, ipc: true }, self.uid),
            limits: Limits::default(),
            death_signal: DeathSignal::Int,
            nice: 0,
        }
    }

    /// Makes the cluster, once. It is made beside its place and moved there, so that one cut short is not mistaken for
    /// one that is whole.
    async fn initialise(&self, binaries: &Path) -> Result<(), ProvisionError> {
        // The folder stays the server's: in one that Postgres could write to, the server might follow a link of its making.
        for folder in [self.folder, self.sockets] {
            fs::create_dir_all(folder)?;
        }
        fs::set_permissions(self.folder, fs::Permissions::from_mode(0o711))?;
        chown(self.sockets, self.uid, self.uid)?;
        // Apps have other uids and must reach the socket; what they need beyond that is a password.
        fs::set_permissions(self.sockets, fs::Permissions::from_mode(0o711))?;
        if self.cluster().exists() {
            return Ok(());
        }
        tracing::info!("making the Postgres cluster");
        let password = self.folder.join("admin.password");
        private_file(&password)?;
        fs::write(&password, secret(24)?)?;
        // initdb reads it, under Postgres' uid.
        chown(&password, None, self.uid)?;
        fs::set_permissions(&password, fs::Permissions::from_mode(0o640))?;
        let unfinished = self.folder.join("cluster.unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        fs::create_dir(&unfinished)?;
        chown(&unfinished, self.uid, self.uid)?;
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o700))?;
        let args = [
            "--pgdata".to_owned(),
            unfinished.display().to_string(),
            format!("--username={ADMIN}"),
            format!("--pwfile={}", password.display()),
            "--auth=scram-sha-256".to_owned(),
            "--encoding=UTF8".to_owned(),
            "--locale=C.UTF-8".to_owned(),
        ];
        let spec = self.spec(binaries.join("initdb"), args.to_vec());
        let mut process = self.sandbox.spawn(&spec, Stdio::null(), Stdio::piped()).await?;
        let stderr = process.take_stderr();
        let status = process.wait_or_kill(INITDB_LIMIT).await?;
        if !status.success() {
            let why = stderr.and_then(|stderr| io::read_to_string(stderr).ok()).unwrap_or_default();
            return Err(ProvisionError::Postgres(format!("initdb ended with {}: {}", describe(status), why.trim())));
        }
        Ok(fs::rename(unfinished, self.cluster())?)
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

    fn definition(&self, binaries: &Path) -> Result<Definition, ProvisionError> {
        let args = [
            "-D".to_owned(),
            self.cluster().display().to_string(),
            "-c".to_owned(),
            "listen_addresses=".to_owned(),
            "-c".to_owned(),
            format!("unix_socket_directories={}", self.sockets.display()),
            "-c".to_owned(),
            "unix_socket_permissions=0777".to_owned(),
            "-c".to_owned(),
            "max_connections=300".to_owned(),
            "-c".to_owned(),
            // What an app's statement did wrong is told to the app; here it would only fill the disk.
            "log_min_messages=log".to_owned(),
            "-c".to_owned(),
            "log_min_error_statement=panic".to_owned(),
        ];
        let config = admin_config(self.folder, self.sockets)?;
        Ok(Definition {
            name: "Postgres".into(),
            spec: self.spec(binaries.join("postgres"), args.to_vec()),
            log: self.folder.join("postgres.log"),
            answers: Box::new(move || {
                let config = config.clone();
                Box::pin(async move { config.connect(NoTls).await.is_ok() })
            }),
            // Fast shutdown: sessions are ended, data is written.
            stop_signal: Signal::INT,
            own_uid: self.uid,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> ResourceRow {
        ResourceRow {
            kind: "postgres".into(),
            instance: String::new(),
            name: "pool".into(),
            handle: "app_01".into(),
            password: "ff".into(),
        }
    }

    #[test]
    fn urls_name_the_projects_own_role_and_never_the_administrators() {
        let config: Config = "postgres://admin:secret@db.example:6432/postgres".parse().unwrap();
        assert_eq!(url(&config, &row()).unwrap(), "postgres://app_01:ff@db.example:6432/app_01");
        let mut config = Config::new();
        config.host_path("/run/some place");
        let url = url(&config, &row()).unwrap();
        assert_eq!(url, "postgres://app_01:ff@%2Frun%2Fsome%20place/app_01");
        let parsed: Config = url.parse().unwrap();
        assert_eq!(parsed.get_hosts(), [Host::Unix("/run/some place".into())]);
    }

    /// A cluster that is not the platform's.
    struct Foreign {
        _folder: tempfile::TempDir,
        config: Config,
        server: std::process::Child,
    }

    impl Foreign {
        async fn start() -> Self {
            use std::os::unix::process::CommandExt;
            let folder = tempfile::tempdir().unwrap();
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
            let (binaries, data) = (binaries(None).unwrap(), folder.path().join("data"));
            fs::create_dir(&data).unwrap();
            // Postgres refuses to run as root; `nobody` exists everywhere.
            let nobody = rustix::process::geteuid().is_root().then_some(65534);
            chown(&data, nobody, nobody).unwrap();
            let program = |name: &str| {
                let mut command = std::process::Command::new(binaries.join(name));
                command
                    .current_dir(&data)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .arg("-D")
                    .arg(data.join("cluster"));
                nobody.map(|uid| command.uid(uid).gid(uid));
                command
            };
            assert!(program("initdb").args(["-U", "boss", "-A", "trust", "--no-sync"]).status().unwrap().success());
            // Everybody needs a password but its owner.
            let rules = "local all boss trust\nlocal all all scram-sha-256\n";
            fs::write(data.join("cluster/pg_hba.conf"), rules).unwrap();
            let server =
                program("postgres").args(["-c", "listen_addresses=", "-c", "fsync=off", "-k"]).arg(&data).spawn().unwrap();
            let mut config = Config::new();
            config.host_path(&data).user("boss").dbname("postgres");
            let begun = std::time::Instant::now();
            while let Err(error) = config.connect(NoTls).await {
                assert!(begun.elapsed() < Duration::from_secs(60), "the cluster does not start: {error}");
                tokio::task::yield_now().await;
            }
            Self { _folder: folder, config, server }
        }
    }

    impl Drop for Foreign {
        fn drop(&mut self) {
            let _ = self.server.kill();
            let _ = self.server.wait();
        }
    }

    #[tokio::test]
    async fn a_configured_cluster_gives_each_project_a_database_that_only_it_can_enter() {
        let foreign = Foreign::start().await;
        let postgres = Postgres::new(PostgresSource::Configured(Box::new(foreign.config.clone())), []);
        let other = ResourceRow { handle: "app_02".into(), password: "ee".into(), ..row() };
        let (first, second) = tokio::join!(async { postgres.provide(&row(), &[]).await.unwrap() }, async {
            postgres.provide(&other, &[]).await.unwrap()
        });
        let (client, connection) = tokio_postgres::connect(&first, NoTls).await.unwrap();
        let _connection = tokio::spawn(connection);
        client.batch_execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)").await.unwrap();
        assert_eq!(postgres.provide(&row(), &[]).await.unwrap(), first, "asked again, it gives the same and drops nothing");
        assert_eq!(client.query("SELECT * FROM kept", &[]).await.unwrap().len(), 1);
        for intruder in [second.replace("/app_02", "/app_01"), first.replace(":ff@", ":00@")] {
            assert!(tokio_postgres::connect(&intruder, NoTls).await.is_err(), "{intruder}");
        }
    }

    #[tokio::test]
    async fn extensions_are_made_as_the_app_if_trusted_and_as_the_administrator_if_named() {
        let foreign = Foreign::start().await;
        let source = || PostgresSource::Configured(Box::new(foreign.config.clone()));
        let postgres = Postgres::new(source(), ["pageinspect".to_owned()]);
        let wanted = ["pgcrypto".to_owned(), "earthdistance".to_owned()];
        let refused = postgres.provide(&row(), &wanted).await.unwrap_err();
        assert!(matches!(&refused, ProvisionError::ExtensionNotAllowed { name, .. } if name == "earthdistance"), "{refused}");
        let missing = postgres.provide(&row(), &["no_such".to_owned()]).await.unwrap_err();
        assert!(matches!(&missing, ProvisionError::NoExtension { available, .. } if available.contains(&"pgcrypto".into())));

        let wanted = ["pgcrypto".to_owned(), "pageinspect".to_owned()];
        let first = postgres.provide(&row(), &wanted).await.unwrap();
        assert_eq!(postgres.provide(&row(), &wanted).await.unwrap(), first, "asked again, it is there already");
        let (client, connection) = tokio_postgres::connect(&first, NoTls).await.unwrap();
        let _connection = tokio::spawn(connection);
        let owners =
            "SELECT extname::text, pg_get_userbyid(extowner)::text FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1";
        let rows = client.query(owners, &[]).await.unwrap();
        let owners: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let expected = [("pageinspect", "boss"), ("pgcrypto", "app_01")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(owners, expected);
        client.query_one("SELECT gen_salt('bf')", &[]).await.unwrap();
    }
}
