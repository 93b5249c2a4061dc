//! `platform-server cache`: what the build folders and the downloaded crates take, and their removal. It works beside a
//! running server, which locks what it uses.

use std::{io::Write, path::PathBuf, time::SystemTime};

use serde_json::json;

use crate::{
    app::AppError,
    build::{BuildFolders, Kept, Registry},
    config::{Cache, Output},
    data_dir::{self, DataDir},
    db::Db,
};

/// What is shown in a line.
struct Row {
    what: String,
    bytes: u64,
    used: SystemTime,
    /// `false`: it is in use. `None`: nobody asked.
    removed: Option<bool>,
}

/// Shows what there is, or removes it.
pub(crate) async fn run(config: Cache) -> Result<(), AppError> {
    let root = rustix::process::geteuid().is_root();
    let data: PathBuf = config.data_dir.map_or_else(|| data_dir::default_path(root), Ok)?;
    let builds = data.join("builds");
    if !builds.is_dir() {
        return Err(AppError::NoData(data));
    }
    let projects = Db::open(&data.join("platform.db"))?.projects().await?;
    let folders = BuildFolders::new(builds, u64::MAX);
    let mut out = std::io::stdout().lock();
    let mut rows = Vec::new();
    for folder in folders.list()? {
        let what =
            describe(&folder, |id| projects.iter().find(|project| project.id == id).map(|project| project.name.to_string()));
        let removed = if config.clear { Some(folders.remove(&folder)?) } else { None };
        rows.push(Row { what, bytes: folder.bytes, used: folder.used, removed });
    }
    let registry = Registry::new(DataDir::registry(&data), u64::MAX);
    let (bytes, used) = (registry.bytes(), registry.last_used()?);
    if bytes > 0 {
        let removed = if config.clear { Some(registry.clear(&folders)?) } else { None };
        rows.push(Row { what: "downloaded crates".to_owned(), bytes, used, removed });
    }
    let total: u64 = rows.iter().filter(|row| row.removed != Some(false)).map(|row| row.bytes).sum();
    if config.output == Output::Json {
        let folders: Vec<_> = rows
            .iter()
            .map(|row| json!({"what": row.what, "bytes": row.bytes, "used_ms": since_epoch_ms(row.used), "removed": row.removed}))
            .collect();
        writeln!(out, "{}", json!({"folders": folders, "bytes": total}))?;
        return Ok(());
    }
    for Row { what, bytes, used, removed } in &rows {
        let state = match removed {
            None => format!("used {}", ago(*used)),
            Some(true) => "removed".to_owned(),
            Some(false) => "in use, kept".to_owned(),
        };
        writeln!(out, "{:>10}  {state:<16}  {what}", size(*bytes))?;
    }
    let verb = if config.clear { "freed" } else { "in all" };
    writeln!(out, "{:>10}  {verb}", size(total))?;
    Ok(())
}

fn describe(folder: &Kept, name: impl Fn(i64) -> Option<String>) -> String {
    match folder.project {
        Some(0) => "the warm-up".to_owned(),
        Some(id) => name(id).map_or_else(|| "a deleted project".to_owned(), |name| format!("project {name}")),
        None => "compiled dependencies, shared".to_owned(),
    }
}

fn since_epoch_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn ago(time: SystemTime) -> String {
    let seconds = time.elapsed().map_or(0, |elapsed| elapsed.as_secs());
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

fn size(bytes: u64) -> String {
    const STEP: u64 = 1024;
    match bytes {
        0..STEP => format!("{bytes} B"),
        STEP..1_048_576 => format!("{} KiB", bytes / STEP),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes / 1_048_576),
        _ => format!("{}.{} GiB", bytes / 1_073_741_824, bytes % 1_073_741_824 * 10 / 1_073_741_824),
    }
}
