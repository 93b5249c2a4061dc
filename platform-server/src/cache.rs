//! `platform-server cache`: what the build folders and the downloaded crates take, and their removal. It works beside a
//! running server, which locks what it uses. Looking changes nothing in the data directory and makes no file there.

use std::{
    collections::HashMap,
    fs,
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    time::SystemTime,
};

use serde_json::json;

use crate::{
    app::AppError,
    build::{BuildFolders, Kept, Registry},
    config::{Cache, Output},
    data_dir::{self, DataDir},
    db::project_names,
    remove::Trash,
    usage::Closed,
};

/// What is shown in a line.
struct Row {
    what: String,
    bytes: u64,
    used: SystemTime,
    /// `false`: it is in use. `None`: nobody asked.
    removed: Option<io::Result<bool>>,
}

/// Shows what there is, or removes it.
pub(crate) async fn run(config: Cache) -> Result<(), AppError> {
    let root = rustix::process::geteuid().is_root();
    let data: PathBuf = config.data_dir.map_or_else(|| data_dir::default_path(root), Ok)?;
    let builds = data.join("builds");
    if !builds.is_dir() {
        return Err(AppError::NoData(data));
    }
    // Root may look at another user's, and would leave files of its own there by removing things.
    let owner = fs::metadata(&builds)?.uid();
    if owner != rustix::process::geteuid().as_raw() && (config.clear || !root) {
        return Err(AppError::NotYours { folder: data, owner });
    }
    let projects = project_names(&data.join("platform.db"))
        .inspect_err(|error| tracing::warn!("projects are shown by their numbers: {error}"))
        .ok();
    let trash = Trash::emptied_at_once(DataDir::trash(&data));
    let folders = BuildFolders::new(builds, u64::MAX, trash.clone());
    let mut rows = Vec::new();
    for folder in folders.list(Closed::Leave)? {
        let removed = config.clear.then(|| folders.remove(&folder));
        rows.push(Row { what: describe(&folder, projects.as_ref()), bytes: folder.bytes, used: folder.used, removed });
    }
    let registry = Registry::new(DataDir::registry(&data), u64::MAX, trash);
    let (bytes, used) = (registry.bytes(Closed::Leave), registry.last_used()?);
    if bytes > 0 {
        let removed = config.clear.then(|| registry.clear(&folders));
        rows.push(Row { what: "downloaded crates".to_owned(), bytes, used, removed });
    }
    let swept = if config.clear { folders.sweep() } else { Ok(()) };
    // Whatever becomes of the rest, what was removed is told.
    show(&rows, config.output, config.clear)?;
    swept?;
    match rows.iter().filter(|row| matches!(row.removed, Some(Err(_)))).count() {
        0 => Ok(()),
        left => Err(AppError::NotCleared { left, all: rows.len() }),
    }
}

fn show(rows: &[Row], output: Output, clear: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let total: u64 = rows.iter().filter(|row| matches!(row.removed, None | Some(Ok(true)))).map(|row| row.bytes).sum();
    if output == Output::Json {
        let folders: Vec<_> = rows
            .iter()
            .map(|row| {
                let removed = row.removed.as_ref().map(|removed| matches!(removed, Ok(true)));
                let error = row.removed.as_ref().and_then(|removed| removed.as_ref().err()).map(ToString::to_string);
                let used_ms = since_epoch_ms(row.used);
                json!({"what": row.what, "bytes": row.bytes, "used_ms": used_ms, "removed": removed, "error": error})
            })
            .collect();
        return writeln!(out, "{}", json!({"folders": folders, "bytes": total}));
    }
    for Row { what, bytes, used, removed } in rows {
        let state = match removed {
            None => format!("used {}", ago(*used)),
            Some(Ok(true)) => "removed".to_owned(),
            Some(Ok(false)) => "in use, kept".to_owned(),
            Some(Err(_)) => "not removed".to_owned(),
        };
        writeln!(out, "{:>10}  {state:<16}  {what}", size(*bytes))?;
        if let Some(Err(error)) = removed {
            writeln!(out, "{:>10}  {error}", "")?;
        }
    }
    writeln!(out, "{:>10}  {}", size(total), if clear { "freed" } else { "in all" })
}

fn describe(folder: &Kept, names: Option<&HashMap<i64, String>>) -> String {
    match (folder.project, names) {
        (Some(0), _) => "the warm-up".to_owned(),
        (Some(id), None) => format!("project number {id}"),
        (Some(id), Some(names)) => {
            names.get(&id).map_or_else(|| "a deleted project".to_owned(), |name| format!("project {name}"))
        }
        (None, _) => "compiled dependencies, shared".to_owned(),
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
