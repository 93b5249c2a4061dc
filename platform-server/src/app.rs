//! The server, put together: what starts in which order, and how it stops.

use std::{
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::chown,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize},
    },
    time::Duration,
};

use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    address::AppAddress,
    archive::ArchiveLimits,
    artifact::ArtifactStore,
    build::{
        AllowedHosts, BuildFolders, Builder, Registry, Upstreams, blocking,
        toolchain::{ToolchainError, Toolchains},
    },
    config::{Limits, Output, Serve},
    data_dir::{self, DataDir, DataDirError},
    db::{Db, DbError},
    deployment::{
        Driver, EventStore,
        idle::IdleWork,
        instances::{Grace, Instances},
        launcher::Launcher,
        queue,
        restore::Rebuilt,
        retention::{InUse, Retention},
        taken_up::TakenUp,
        under_way::UnderWay,
    },
    http::{self, Api, hash_key},
    locks::Locks,
    logs::{LogLimits, LogStore},
    process::Spawner,
    provision::{OwnCluster, PersistFolders, Postgres, PostgresSource, Provisioner, RedisServers},
    proxy::{self, Routes},
    sandbox::Sandbox,
    stored::Stored,
    supervisor::local::LocalSupervisor,
    uids::{UidRange, Uids},
    vault::Vault,
};

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    #[error("the data directory: {0}")]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    #[error("the address {address} for {what} cannot be used: {error}")]
    Bind { what: &'static str, address: SocketAddr, error: io::Error },
    #[error("the program that loads apps is missing: {}", .0.display())]
    NoRunner(PathBuf),
    #[error("the Postgres URL cannot be read: {0}")]
    PostgresUrl(String),
    #[error("this root may not confine what it runs: {0}")]
    Unconfined(String),
    #[error("`{0}` cannot be a domain")]
    Domain(String),
    #[error("{} is no data directory of platform-server", .0.display())]
    NoData(PathBuf),
    #[error("{} belongs to another user (uid {owner})", .folder.display())]
    NotYours { folder: PathBuf, owner: u32 },
    #[error("{left} of {all} could not be removed whole")]
    NotCleared { left: usize, all: usize },
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl AppError {
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::DataDir(error) => error.hint(),
            Self::Toolchain(error) => Some(error.hint()),
            Self::Bind { error, .. } if error.kind() == io::ErrorKind::AddrInUse => {
                Some("another program listens there, perhaps another platform-server; stop it, or choose another port".into())
            }
            Self::Bind { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                Some("ports below 1024 are for root; run as root, or choose another port".into())
            }
            Self::NoRunner(_) => {
                Some("install it beside platform-server (cargo xtask install does), or name it: --runner FILE".into())
            }
            Self::PostgresUrl(_) => Some("it looks like postgres://user:password@host:5432/postgres".into()),
            Self::Unconfined(_) => Some(
                "in a container, give it CAP_SYS_ADMIN, CAP_SYS_PTRACE and all uids; or run platform-server as an ordinary user"
                    .into(),
            ),
            Self::NotYours { owner, .. } => {
                Some(format!("run this as that user, for example: sudo -u '#{owner}' platform-server cache"))
            }
            Self::NotCleared { .. } => {
                Some("what is left lies in the data directory's folder `trash`; the server tries again when it is started".into())
            }
            Self::NoData(_) => Some("name the one that the server uses: --data-dir DIR".into()),
            Self::Domain(_) => Some("for example --domain apps.example.com".into()),
            Self::Bind { .. } | Self::Db(_) | Self::Io(_) => None,
        }
    }
}

/// Runs the server until it is told to stop.
pub(crate) async fn run(config: Serve) -> Result<(), AppError> {
    let root = rustix::process::geteuid().is_root();
    if config.domain.is_empty() || !config.domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)) {
        return Err(AppError::Domain(config.domain));
    }
    let runner = runner(&config)?;
    let files = allow_open_files();
    let path = config.data_dir.clone().map_or_else(|| data_dir::default_path(root), Ok)?;
    let data = DataDir::open(&path, root, config.limits.disk_reserve_bytes)?;
    let db = Db::open(&data.join("platform.db"))?;
    let range = if root { Some(uid_range(&db, &data).await?) } else { None };
    let uids = range.as_ref().map_or(Uids::none(), UidRange::uids);
    let spawner = Spawner::new(&data.path().display().to_string())?;
    let leftovers = spawner.kill_leftovers(uids.range())?;
    if leftovers > 0 {
        tracing::info!(processes = leftovers, "ended what an earlier server left running");
    }
    let sandbox = Sandbox::probe(spawner.clone(), &data.run.join("root"), uids.fetch()).await?.map_err(AppError::Unconfined)?;
    let api_listener = bind("the API", config.api).await?;
    let proxy_listener = bind("the proxy", config.proxy).await?;
    let stop = CancellationToken::new();
    let parts = assemble(Parts {
        config: &config,
        data: &data,
        db,
        uids,
        spawner,
        sandbox: &sandbox,
        runner,
        proxy: proxy_listener.local_addr()?,
        stop: &stop,
        files,
    })
    .await?;
    let driver = Arc::clone(&parts.api.driver);
    for line in &parts.api.protections {
        tracing::info!("{line}");
    }
    let power_lost = data.power_was_lost();
    if power_lost {
        tracing::warn!(
            "the machine was started anew and the last server had not ended: deployments are made whole again from their archives; should builds fail, clear their folders (platform-server cache --clear)"
        );
    }
    driver.recover(power_lost).await?;
    driver.keep_room().await;
    // Only now: until here, what may be damaged may still be.
    if let Err(error) = data.note_running() {
        tracing::warn!(%error, "it cannot be noted that a server runs: a loss of power would not be seen");
    }
    driver.sweep();
    for warning in driver.warnings().await {
        tracing::warn!("{warning}");
    }

    let (proxy_config, api_config) = (config.proxy_config(files), config.api_config(files));
    if proxy_config.clients.max_connections < config.limits.max_connections {
        tracing::warn!(
            "the proxy serves {} connections at the same time, not {}: this process may have {files} files open; raise its hard limit (`ulimit -Hn`, LimitNOFILE of systemd)",
            proxy_config.clients.max_connections,
            config.limits.max_connections
        );
    }
    let (api_address, proxy_address) = (api_listener.local_addr()?, proxy_listener.local_addr()?);
    let proxy = tokio::spawn(proxy::run(proxy_listener, Arc::clone(&parts.routes), proxy_config, stop.clone().cancelled_owned()));
    let router = http::router(parts.api);
    let api = tokio::spawn(http::serve(api_listener, router, api_config, stop.clone().cancelled_owned()));
    let rebuilding = tokio::spawn(Arc::clone(&driver).rebuild_damaged());
    let building = tokio::spawn(Arc::clone(&driver).run(parts.queue));
    let optimising = tokio::spawn(Arc::clone(&driver).optimise_when_idle(config.limits.optimise()));
    let warming = tokio::spawn(Arc::clone(&driver).warm_up_when_idle(config.limits.warm_up()));
    // Whoever reads that the server is ready may tell it to stop at once.
    let signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    announce(&config, api_address, proxy_address, &parts.admin_key_file)?;

    wait_for_signal(signals).await;
    tracing::info!("stopping; apps may finish their requests");
    stop.cancel();
    // First what brings requests in, then what answers them, then what those need.
    let _ = tokio::join!(proxy, building, rebuilding, optimising, warming);
    driver.instances.stop().await;
    driver.launcher.provisioner.stop().await;
    let _ = api.await;
    driver.events.flush().await;
    end(&data).await;
    tracing::info!("stopped");
    drop(range);
    Ok(())
}

/// Writes everything to the disk, if that does not take too long: else the next server looks whether it is there.
async fn end(data: &DataDir) {
    const LONGEST: Duration = Duration::from_secs(10);
    let root = data.path().to_path_buf();
    match tokio::time::timeout(LONGEST, blocking(move || DataDir::note_ended(&root))).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the end could not be noted"),
        Err(_) => tracing::warn!("the disk is slow: not everything is written to it yet"),
    }
}

/// Each proxied connection takes two descriptors, and the usual soft limit is 1024. Returns how many there may be.
pub(crate) fn allow_open_files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard });
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

fn runner(config: &Serve) -> Result<PathBuf, AppError> {
    let runner = match &config.runner {
        Some(runner) => std::path::absolute(runner)?,
        None => std::env::current_exe()?.with_file_name("platform-runner"),
    };
    if runner.is_file() { Ok(runner) } else { Err(AppError::NoRunner(runner)) }
}

async fn uid_range(db: &Db, data: &DataDir) -> Result<UidRange, AppError> {
    const KEY: &str = "uid_range";
    let known = db.setting(KEY).await?.and_then(|text| text.parse().ok());
    let range = UidRange::take(std::path::Path::new("/var/lib/platform-server-uids"), data.path(), known)?;
    db.set_setting(KEY, range.number.to_string()).await?;
    Ok(range)
}

async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|error| AppError::Bind { what, address, error })
}

/// What [`assemble`] needs.
struct Parts<'a> {
    config: &'a Serve,
    data: &'a DataDir,
    db: Db,
    uids: Uids,
    spawner: Spawner,
    sandbox: &'a Sandbox,
    runner: PathBuf,
    proxy: SocketAddr,
    stop: &'a CancellationToken,
    /// That may be open at a time.
    files: usize,
}

/// What [`assemble`] makes.
struct Assembled {
    api: Arc<Api>,
    routes: Arc<Routes>,
    queue: queue::QueueTask,
    admin_key_file: PathBuf,
}

/// Makes every part and connects them. Nothing runs yet.
async fn assemble(parts: Parts<'_>) -> Result<Assembled, AppError> {
    let Parts { config, data, db, uids, spawner, sandbox, runner, proxy, stop, files } = parts;
    let limits = &config.limits;
    let known = db.deployment_ids().await?;
    data.remove_unfinished(|id| known.contains(id))?;
    let (admin_key_file, key) = data.admin_key()?;
    db.set_key("admin", hash_key(&key)).await?;

    let logs = LogStore::open(data.join("logs"), LogLimits::default())?;
    let events = EventStore::new(&data.join("deployments"))?;
    let artifacts = ArtifactStore::new(data.join("artifacts"));
    let routes = Arc::new(Routes::default());
    let cargo_home = DataDir::registry(data.path());
    std::fs::create_dir_all(&cargo_home)?;
    chown(&cargo_home, uids.fetch(), uids.fetch())?;
    let vault = Vault::new(db.clone(), config.secrets_key_file.clone().unwrap_or_else(|| data.join("secrets.key")));
    // Not the end: apps without secrets run all the same.
    if let Err(error) = vault.check().await {
        tracing::error!(hint = error.hint(), "{error}");
    }
    let seen_at = data_dir::seen_at(data, rustix::process::geteuid().is_root())?;
    let launcher = Arc::new(Launcher {
        provisioner: Provisioner {
            db: db.clone(),
            postgres: Postgres::new(
                postgres_source(config, data, sandbox, uids, (files, stop))?,
                config.postgres_extensions.clone(),
                limits.postgres(),
            ),
            redis: RedisServers::new(sandbox.clone(), data.join("redis"), data.run.join("redis"), uids),
            persist: PersistFolders::new(data.join("persist"), uids),
            vault,
            uids,
        },
        supervisor: Arc::new(LocalSupervisor {
            spawner,
            runner,
            sockets: data.run.join("apps"),
            logs: logs.clone(),
            next: AtomicU64::new(0),
        }),
        artifacts: artifacts.clone(),
        deployments: data.join("deployments"),
        seen_at: sandbox.has_view().then(|| seen_at.clone()),
        address: AppAddress::new(&config.domain, proxy.port()),
        uids,
        logs: logs.clone(),
        start_timeout: limits.start(),
    });
    let builds = data.join("builds");
    let folders = BuildFolders::new(builds, limits.max_build_folders_bytes, data.trash.clone());
    let layers = folders.can_layer(sandbox, uids.fetch()).await?;
    let dependencies = match &layers {
        Ok(()) => "builds: compiled dependencies are shared by overlay mounts".to_owned(),
        Err(why) => {
            format!("builds: compiled dependencies are copied for each project, as overlay mounts do not work here ({why})")
        }
    };
    let upstreams = Upstreams::of_environment().inspect_err(|error| tracing::warn!("{error}")).ok();
    let builder = Builder {
        sandbox: sandbox.clone(),
        seen_at,
        uids,
        fetch_from: AllowedHosts::new(&config.allow_fetch_from),
        folders: folders.in_layers(layers.is_ok()),
        upstreams,
        registry: Registry::new(cargo_home, limits.max_registry_bytes, data.trash.clone()),
        toolchains: Toolchains::find()?,
        artifacts: artifacts.clone(),
        limits: limits.clone(),
    };
    // Nothing is built yet; what cannot be swept now is swept after a build.
    if let Err(error) = builder.folders.sweep() {
        tracing::warn!(%error, "what earlier builds left could not be removed");
    }
    let (queue, queue_task) = queue::queue();
    let archive_limits = ArchiveLimits {
        unpacked_bytes: limits.max_unpacked_bytes,
        entries: limits.max_archive_entries,
        folders: limits.max_archive_folders,
        ..ArchiveLimits::default()
    };
    let archives = Stored::new(data.join("archives"), "tar.gz");
    let retention = Arc::new(Retention {
        db: db.clone(),
        logs: logs.clone(),
        deployments: data.join("deployments"),
        archives: archives.clone(),
        artifacts: artifacts.clone(),
        trash: data.trash.clone(),
        keep: limits.keep_deployments,
        keep_deleted_logs: limits.keep_deleted_logs(),
        in_use: InUse::default(),
        sweeping: tokio::sync::Mutex::default(),
    });
    let instances = Instances::new(
        Arc::clone(&launcher),
        Arc::clone(&routes),
        retention.in_use.clone(),
        Grace { requests: limits.grace(), end: Duration::from_secs(limits.stop_grace) },
        Duration::from_secs(limits.max_restart_delay),
        limits.optimise().is_some(),
    );
    let driver = Arc::new(Driver {
        db: db.clone(),
        builder,
        launcher,
        instances,
        events,
        queue,
        retention,
        under_way: UnderWay::new(stop.clone()),
        taken_up: TakenUp::new(db.clone()),
        rebuilt: Rebuilt::default(),
        unreadable: AtomicUsize::new(0),
        reserve: data.reserve.clone(),
        idle: IdleWork::default(),
        not_stored: Mutex::default(),
        swaps: Locks::default(),
        tasks: TaskTracker::new(),
        stop: stop.clone(),
    });
    let api = Arc::new(Api {
        db,
        driver,
        logs,
        limits: limits.clone(),
        archive_limits,
        archives,
        trash: data.trash.clone(),
        deployments: data.join("deployments"),
        protections: [sandbox.tier().describe(), vec![dependencies]].concat(),
        stop: stop.clone(),
    });
    Ok(Assembled { api, routes, queue: queue_task, admin_key_file })
}

fn postgres_source(
    config: &Serve,
    data: &DataDir,
    sandbox: &Sandbox,
    uids: Uids,
    (files, stop): (usize, &CancellationToken),
) -> Result<PostgresSource, AppError> {
    match &config.postgres_url {
        Some(url) => {
            // The parser's own message does not repeat the URL, which has a password in it.
            let parsed = url.parse().map_err(|error: tokio_postgres::Error| AppError::PostgresUrl(error.to_string()))?;
            Ok(PostgresSource::Configured(Box::new(parsed)))
        }
        None => {
            let (folder, sockets) = (data.join("postgres"), data.run.join("postgres"));
            if uids.postgres().is_some()
                && let Some(warning) = config.limits.too_few_places(files)
            {
                tracing::warn!("{warning}");
            }
            let (uid, through) = (uids.postgres(), Limits::gate(files));
            Ok(PostgresSource::Own(OwnCluster::new(sandbox.clone(), folder, sockets, uid, through, stop.clone())))
        }
    }
}

/// Says that the server is ready, and where.
fn announce(config: &Serve, api: SocketAddr, proxy: SocketAddr, key: &std::path::Path) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match config.output {
        Output::Json => {
            let ready = serde_json::json!({
                "api": format!("http://{api}"),
                "proxy": format!("http://{proxy}"),
                "admin_key_file": key,
            });
            writeln!(stdout, "{ready}")?;
        }
        Output::Text => {
            writeln!(stdout, "API    http://{api}   (the key is in {})", key.display())?;
            writeln!(stdout, "apps   {}", AppAddress::new(&config.domain, proxy.port()).pattern())?;
            writeln!(stdout, "stop   Ctrl-C")?;
        }
    }
    stdout.flush()
}

/// Waits for SIGINT or SIGTERM. A second one ends the process at once: whatever runs dies with it.
async fn wait_for_signal((mut interrupt, mut terminate): (Signal, Signal)) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(1);
    });
}
