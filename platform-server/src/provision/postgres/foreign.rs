//! For tests: a cluster that is not the platform's.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::{Config, NoTls};

use crate::provision::cluster::binaries;

/// Longest wait for its first answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster that is not the platform's.
pub(in crate::provision) struct Foreign {
    folder: tempfile::TempDir,
    pub(in crate::provision) config: Config,
    server: std::process::Child,
}

impl Foreign {
    pub(in crate::provision) async fn start() -> Self {
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
        let server = program("postgres").args(["-c", "listen_addresses=", "-c", "fsync=off", "-k"]).arg(&data).spawn().unwrap();
        let mut config = Config::new();
        config.host_path(&data).user("boss").dbname("postgres");
        let begun = Instant::now();
        while config.connect(NoTls).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "it does not start");
            tokio::task::yield_now().await;
        }
        Self { folder, config, server }
    }
}

impl Foreign {
    pub(in crate::provision) fn socket(&self) -> PathBuf {
        self.folder.path().join("data/.s.PGSQL.5432")
    }

    /// Hangs until what this gives is dropped.
    pub(in crate::provision) fn stopped(&self) -> Stopped {
        let pid = Pid::from_child(&self.server);
        kill_process(pid, Signal::STOP).unwrap();
        Stopped(pid)
    }
}

pub(in crate::provision) struct Stopped(Pid);

impl Drop for Stopped {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).unwrap();
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
