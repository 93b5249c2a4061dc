//! `restart`: a fresh process of what serves, with no gap.

use std::time::Instant;

use platform_wire::{BuildKind, LaterBuild, Project};

use super::{block_on, interruptible, project_name, still};
use crate::{
    cli::{Global, Restart},
    client::Client,
    config,
    error::{Error, Following},
    ui::Ui,
};

pub(super) fn run(global: &Global, arguments: &Restart, ui: &Ui) -> Result<(), Error> {
    let name = project_name(&arguments.project, ui)?;
    let client = Client::new(&config::server(global)?)?;
    let began = Instant::now();
    let project = block_on(async {
        match interruptible(Following::Restart, async { Ok(client.restart(&name).await?) }).await {
            Ok(project) => Ok(project),
            Err(error) => Err(still::told(&client, &name, error).await),
        }
    })?;
    if ui.is_json() {
        ui.json(&project);
    } else {
        let seconds = began.elapsed().as_secs_f64();
        ui.status("Restarted", &format!("{name} after {seconds:.1} s{}", from(&project)));
        ui.data(&project.url);
    }
    Ok(())
}

/// Which build it was started from, where there could be two.
fn from(project: &Project) -> &'static str {
    let Some(serving) = &project.serving else { return "" };
    match (serving.build, &serving.optimised) {
        (BuildKind::Optimised, _) => ", from the optimised build",
        (BuildKind::Fast, Some(LaterBuild::Waiting)) => ", from the fast build: the optimised one is not made yet",
        (BuildKind::Fast, Some(LaterBuild::Failed { .. })) => {
            ", from the fast build: there is no optimised one (`cargo shuttle status` says why)"
        }
        (BuildKind::Fast | BuildKind::Other, _) => "",
    }
}
