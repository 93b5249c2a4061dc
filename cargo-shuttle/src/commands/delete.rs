//! `delete`: asks, and says what is kept.

use platform_wire::{Project, Resource};

use super::{block_on, project_name};
use crate::{
    cli::{Delete, Global},
    client::Client,
    config,
    error::Error,
    ui::Ui,
};

pub(super) fn run(global: &Global, arguments: &Delete, ui: &Ui) -> Result<(), Error> {
    let name = project_name(&arguments.project, ui)?;
    let client = Client::new(&config::server(global)?)?;
    if !arguments.yes {
        // What will be gone is known before the question is put.
        let project = block_on(async { Ok(client.project(&name).await?) })?;
        confirm(&project, ui)?;
    }
    let deleted = block_on(async { Ok(client.delete(&name).await?) })?;
    if ui.is_json() {
        ui.json(&deleted);
    } else {
        ui.status(
            "Deleted",
            &format!(
                "{}; {}",
                deleted.project,
                kept(&deleted.kept, "is kept, and comes back with the next deployment of that name")
            ),
        );
    }
    Ok(())
}

fn confirm(project: &Project, ui: &Ui) -> Result<(), Error> {
    let question = format!(
        "This stops {0} and frees {1}; {2}.\nType the project's name to delete it: ",
        project.name,
        project.url,
        kept(&project.resources, "is kept")
    );
    let answer = ui.ask(&question).map_err(|source| Error::Io { what: "cannot read the answer", source })?;
    match answer {
        Some(answer) if answer == project.name.as_str() => Ok(()),
        Some(_) => Err(Error::Aborted("that is not its name; nothing was deleted".to_owned())),
        None => Err(Error::Usage {
            message: "refusing to delete without asking, and there is no terminal to ask on".to_owned(),
            hint: Some("add --yes if you are sure".to_owned()),
        }),
    }
}

fn kept(resources: &[Resource], how: &str) -> String {
    if resources.is_empty() {
        return "it has no data".to_owned();
    }
    let names: Vec<_> = resources.iter().map(|resource| format!("{} ({})", resource.kind, resource.name)).collect();
    format!("its data in {} {how}", names.join(" and "))
}
