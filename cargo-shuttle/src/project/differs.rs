//! What of a project may be otherwise on the server than on this machine, as far as its files tell.

use std::{fs, path::Path};

use toml_edit::{DocumentMut, Item};

use super::Plan;

/// Each in one sentence.
pub(crate) fn differences(plan: &Plan) -> Vec<String> {
    let shown = |path: &Path| path.strip_prefix(&plan.workspace_root).unwrap_or(path).display().to_string();
    let mut found = Vec::new();
    for file in &plan.files {
        if !["config.toml", "config"].iter().any(|name| file.ends_with(Path::new(".cargo").join(name))) {
            continue;
        }
        let document = fs::read_to_string(file).ok().and_then(|text| text.parse::<DocumentMut>().ok());
        if let Some(document) = document {
            configured(&document, &shown(file), plan.binary.is_some(), &mut found);
        }
    }
    for folder in &plan.folders {
        let script = folder.join("build.rs");
        if fs::read_to_string(&script).is_ok_and(|text| text.contains("Command::new(\"git\")")) {
            found.push(format!(
                "{} runs git, but .git is not sent: on the server it finds the commit in the variable SHUTTLE_GIT_COMMIT",
                shown(&script)
            ));
        }
    }
    found
}

fn configured(document: &DocumentMut, file: &str, is_program: bool, found: &mut Vec<String>) {
    let build = document.get("build");
    let text = |item: Option<&Item>, key: &str| Some(item?.get(key)?.as_str()?.to_owned());
    for key in ["rustc-wrapper", "rustc-workspace-wrapper", "rustc"] {
        if let Some(program) = text(build, key).filter(|program| !program.is_empty()) {
            found.push(format!("{file} has build.{key} = \"{program}\": the server needs it as well"));
        }
    }
    let targets = document.get("target").and_then(Item::as_table_like);
    for (name, target) in targets.into_iter().flat_map(|targets| targets.iter()) {
        if let Some(program) = text(Some(target), "linker") {
            found.push(format!("{file} has target.{name}.linker = \"{program}\": the server needs it as well"));
        }
    }
    if let Some(linker) =
        document.to_string().split_once("fuse-ld=").and_then(|(_, rest)| Some(rest.split(['"', '\'']).next()?.to_owned()))
    {
        found.push(format!("{file} has the linker `{linker}` in rustflags: the server needs it as well"));
    }
    let target = build.and_then(|build| build.get("target"));
    let list = target.and_then(Item::as_array).into_iter().flatten().filter_map(|value| value.as_str());
    for name in target.and_then(Item::as_str).into_iter().chain(list) {
        found.push(if name.contains("-musl") && !is_program {
            format!("{file} has build.target = \"{name}\", for which no library can be built that is loaded into a process: take it out, or make the app a program")
        } else {
            format!("{file} has build.target = \"{name}\": it has to be installed on the server, and its programs have to run there")
        });
    }
}
