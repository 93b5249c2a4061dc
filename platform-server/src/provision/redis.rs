//! Redis: one `redis-server` or `valkey-server` for each project that asks for one, and one more for each name that it asks
//! for.
//!
//! Each listens on a Unix socket, wants a password, and writes what it holds to an append-only file, so that a restart
//! of the platform loses nothing.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::Arc,
};

use platform_wire::ProjectName;
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::Mutex,
};

use super::{
    ProvisionError, find_program, program_folders,
    service::{Definition, Service},
};
use crate::{
    build::blocking,
    data_dir::private_file,
    db::ResourceRow,
    sandbox::{DeathSignal, Limits, Mount, Sandbox, Share, Spec},
    uids::Uids,
};

/// Memory that one project's data may take; Redis answers writes with an error beyond it.
const MAX_MEMORY: &str = "256mb";

/// The servers of all projects.
#[derive(Debug)]
pub(crate) struct RedisServers {
    sandbox: Sandbox,
    /// One folder a project below it.
    folder: PathBuf,
    sockets: PathBuf,
    uids: Uids,
    /// By project, and by the name of its folder.
    running: Mutex<HashMap<(i64, String), Arc<Service>>>,
}

impl RedisServers {
    pub(crate) fn new(sandbox: Sandbox, folder: PathBuf, sockets: PathBuf, uids: Uids) -> Self {
        Self { sandbox, folder, sockets, uids, running: Mutex::default() }
    }

    /// Makes sure that this server of the project's runs, and returns its URL.
    pub(crate) async fn provide(
        &self,
        project_id: i64,
        project: &ProjectName,
        row: &ResourceRow,
    ) -> Result<String, ProvisionError> {
        let folder = folder_of(project_id, row);
        let socket = self.sockets.join(&folder).join("redis.sock");
        let service = {
            let mut running = self.running.lock().await;
            let key = (project_id, folder);
            match running.get(&key) {
                Some(service) => Arc::clone(service),
                None => {
                    let alike = Self::new(self.sandbox.clone(), self.folder.clone(), self.sockets.clone(), self.uids);
                    let (project, row, socket) = (project.clone(), row.clone(), socket.clone());
                    let definition = blocking(move || Ok(alike.definition(project_id, &project, &row, &socket))).await??;
                    let service = Arc::new(Service::start(self.sandbox.clone(), definition));
                    running.insert(key, Arc::clone(&service));
                    service
                }
            }
        };
        service.ready().await.map_err(|why| ProvisionError::NotRunning { what: "Redis", why })?;
        Ok(format!("redis+unix://{}?pass={}", socket.display(), row.password))
    }

    /// Stops the project's servers, if they run. Their data stays.
    pub(crate) async fn stop_project(&self, project_id: i64) {
        self.stop_those(|project| project == project_id).await;
    }

    pub(crate) async fn stop(&self) {
        self.stop_those(|_| true).await;
    }

    async fn stop_those(&self, of: impl Fn(i64) -> bool) {
        let services: Vec<_> = self.running.lock().await.extract_if(|(project, _), _| of(*project)).collect();
        futures_util::future::join_all(services.iter().map(|(_, service)| service.stop())).await;
    }

    fn definition(
        &self,
        project_id: i64,
        project: &ProjectName,
        row: &ResourceRow,
        socket: &Path,
    ) -> Result<Definition, ProvisionError> {
        let program = find_program(program_folders(), &["redis-server", "valkey-server"])
            .ok_or(ProvisionError::NotInstalled { what: "Redis", packages: "redis-server" })?;
        let uid = self.uids.redis(project_id);
        // The outer folder stays the server's: in one that Redis could write to, the server might follow a link of its making.
        let outer = self.folder.join(folder_of(project_id, row));
        let folder = outer.join("data");
        let socket_folder = socket.parent().unwrap_or(socket);
        for path in [folder.as_path(), socket_folder] {
            fs::create_dir_all(path)?;
            chown(path, uid, uid)?;
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        // The app has another uid, and its own group. Nobody else gets to the socket: whoever does has one of Redis' places,
        // with or without the password.
        chown(socket_folder, None, self.uids.app(project_id))?;
        fs::set_permissions(socket_folder, fs::Permissions::from_mode(0o710))?;
        fs::set_permissions(&outer, fs::Permissions::from_mode(0o711))?;
        let config = outer.join("redis.conf");
        private_file(&config)?;
        fs::write(&config, configuration(&folder, socket, &row.password))?;
        chown(&config, None, uid)?;
        fs::set_permissions(&config, fs::Permissions::from_mode(0o640))?;
        let same = |path: &Path, write| Mount { from: path.to_path_buf(), to: path.to_path_buf(), write, upon: None };
        let (asked, password) = (socket.to_path_buf(), row.password.clone());
        Ok(Definition {
            name: match row.instance.as_str() {
                "" => format!("Redis of {project}"),
                name => format!("Redis `{name}` of {project}"),
            },
            spec: Spec {
                program,
                args: vec![config.display().to_string()],
                env: vec![("PATH".into(), "/usr/bin:/bin".into()), ("LANG".into(), "C.UTF-8".into())],
                cwd: folder.clone(),
                uid,
                view: self.sandbox.view(
                    vec![same(&config, false), same(&folder, true), same(socket_folder, true)],
                    Share { pids: true, ..Share::default() },
                    uid,
                ),
                limits: Limits { open_files: Some(4096), ..Limits::default() },
                // What it has answered is in the kernel's hands already, and in the middle of a script it hears nothing else.
                death_signal: DeathSignal::Kill,
                nice: 0,
            },
            log: outer.join("redis.log"),
            answers: Box::new(move || {
                let (socket, password) = (asked.clone(), password.clone());
                Box::pin(async move { ping(&socket, &password).await.unwrap_or(false) })
            }),
            stop_signal: Signal::TERM,
            // Not its alone: a project's servers share one.
            own_uid: None,
        })
    }
}

/// The folder of a server, below those of all: the first one of a project is named after it.
fn folder_of(project_id: i64, row: &ResourceRow) -> String {
    if row.instance.is_empty() { project_id.to_string() } else { row.handle.clone() }
}

fn configuration(folder: &Path, socket: &Path, password: &str) -> String {
    // Quoted: paths may have spaces, and Redis unescapes what stands in double quotes.
    let quoted = |path: &Path| format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\""));
    format!(
        "# Written by the platform at each start.\n\
         port 0\nunixsocket {}\nunixsocketperm 777\nrequirepass {password}\ndir {}\ndaemonize no\n\
         appendonly yes\nappendfsync everysec\nmaxmemory {MAX_MEMORY}\nmaxmemory-policy noeviction\n\
         rename-command CONFIG \"\"\nrename-command DEBUG \"\"\nrename-command MODULE \"\"\n",
        quoted(socket),
        quoted(folder)
    )
}

/// While it loads its data it answers `LOADING`, which is not yet an answer.
async fn ping(socket: &Path, password: &str) -> std::io::Result<bool> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(format!("AUTH {password}\r\nPING\r\nQUIT\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.contains("+PONG"))
}
