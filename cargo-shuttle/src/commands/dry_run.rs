//! `deploy --dry-run`: what would be sent, without a server, and without writing anything.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::deploy::{Target, check_committed, print_json, say_secrets};
use crate::{
    cli::Deploy,
    error::Error,
    pack,
    project::{Needs, differences},
    ui::{self, Ui},
};

pub(super) fn run(targets: &[Target], arguments: &Deploy, ui: &Ui) -> Result<(), Error> {
    let mut documents = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        if arguments.workspace {
            ui.status("Package", &format!("{} ({} of {})", target.plan.package, index + 1, targets.len()));
        }
        documents.push(one(target, arguments, ui)?);
    }
    print_json(documents, arguments, ui);
    Ok(())
}

fn one(target: &Target, arguments: &Deploy, ui: &Ui) -> Result<Value, Error> {
    let plan = &target.plan;
    say_secrets(target, ui);
    let shown = |path: &Path| path.strip_prefix(&plan.workspace_root).unwrap_or(path).display().to_string();
    let files = |files: &[PathBuf]| files.iter().map(|file| shown(file)).collect::<Vec<_>>();
    for (label, counting) in [("Settings", files(&plan.settings)), ("Config", files(&plan.surroundings))] {
        if !counting.is_empty() {
            ui.status(label, &format!("from {}", counting.join(", ")));
        }
    }
    if !plan.env.is_empty() {
        let names: Vec<_> = plan.env.keys().map(String::as_str).collect();
        ui.status("Env", &names.join(", "));
    }
    let listed = pack::list(plan)?;
    let sizes = pack::sizes(plan, &listed.files)?;
    let packed = pack::pack(plan, &listed.files)?;
    let total: u64 = sizes.values().sum();
    if !ui.is_json() {
        for (path, size) in &sizes {
            ui.data(&format!("{:>11}  {path}", ui::bytes(*size)));
        }
    }
    for (path, reason) in &listed.left_out {
        ui.status("Left out", &format!("{}, which {}", shown(path), reason.text()));
    }
    match plan.lockfile.needs {
        Needs::Nothing => {}
        Needs::Making => ui.status("Lockfile", &format!("{} would be made, and sent", shown(&plan.lockfile.path))),
        Needs::Update => ui.status("Lockfile", &format!("{} would be brought up to date", shown(&plan.lockfile.path))),
    }
    let differences = differences(plan);
    for difference in &differences {
        ui.warning(difference);
    }
    if !arguments.allow_dirty
        && let Err(error) = check_committed(target, &listed)
    {
        ui.warning(&format!("this would be refused: {error}\n{}", error.hint().unwrap_or_default()));
    }
    let (size, compressed) = (ui::bytes(total), ui::bytes(packed.size));
    ui.status("Would send", &format!("{} files, {size} ({compressed} compressed)", sizes.len()));
    ui.status("As project", &format!("{}; nothing was sent", target.name));
    let left_out = listed.left_out.iter().map(|(path, reason)| json!({ "path": shown(path), "reason": reason }));
    Ok(json!({
        "project": target.name,
        "package": plan.package,
        "files": sizes.iter().map(|(path, size)| json!({ "path": path, "bytes": size })).collect::<Vec<_>>(),
        "bytes": total,
        "archive_bytes": packed.size,
        "archive_digest": packed.digest,
        "warnings": differences,
        "left_out": left_out.collect::<Vec<_>>(),
        "settings": files(&plan.settings),
        "config": files(&plan.surroundings),
        "env": plan.env.keys().collect::<Vec<_>>(),
    }))
}
