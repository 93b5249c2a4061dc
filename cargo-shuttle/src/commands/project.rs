//! `project list`: what there is on the server.

use platform_wire::{Project, State};

use super::{
    block_on,
    deployment::{age, now_ms, state, table},
};
use crate::{
    cli::{self, Global},
    client::Client,
    config,
    error::Error,
    ui::Ui,
};

pub(super) fn run(global: &Global, command: &cli::Project, ui: &Ui) -> Result<(), Error> {
    let cli::Project::List(_) = command;
    let client = Client::new(&config::server(global)?)?;
    let projects = block_on(async { Ok(client.projects().await?) })?;
    if ui.is_json() {
        ui.json(&projects);
    } else if projects.is_empty() {
        ui.status("Nothing", &format!("is deployed on {} yet", client.address()));
    } else {
        lines(&projects, now_ms()).iter().for_each(|line| ui.data(line));
    }
    Ok(())
}

fn lines(projects: &[Project], now_ms: u64) -> Vec<String> {
    let row = |project: &Project| {
        // A deployment begins its age when it goes live; what waits or failed, when it was sent.
        let latest = project.latest.as_ref();
        let at_ms = latest.map_or(project.created_at_ms, |latest| latest.updated_at_ms);
        let last = format!("{} ago", age(now_ms.saturating_sub(at_ms) / 1000));
        [project.name.to_string(), state_of(project), last, project.url.clone()]
    };
    let header = ["NAME", "STATE", "LAST DEPLOYMENT", "URL"].map(str::to_owned);
    let rows: Vec<[String; 4]> = std::iter::once(header).chain(projects.iter().map(row)).collect();
    table(&rows)
}

/// How what serves is, and what became of a newer deployment.
fn state_of(project: &Project) -> String {
    let latest = project.latest.as_ref().filter(|latest| latest.state != State::Deployed);
    match (&project.serving, latest) {
        (Some(serving), None) => serving.instance.clone(),
        (Some(serving), Some(latest)) => format!("{}, newest {}", serving.instance, state(latest)),
        (None, Some(latest)) => state(latest).to_owned(),
        (None, None) => "nothing deployed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use platform_wire::{BuildKind, Deployment, Failure, FailureKind, Origin, ServiceKind, Serving};

    use super::*;

    fn project(name: &str, serves: bool, latest: Option<State>) -> Project {
        let name: platform_wire::ProjectName = name.parse().unwrap();
        let serving = serves.then(|| Serving {
            deployment: "d1".into(),
            instance: "running".into(),
            restarts: 0,
            kind: ServiceKind::Http,
            build: BuildKind::Fast,
            optimised: None,
        });
        let failure = |state| (state == State::Error).then_some(FailureKind::Build);
        let latest = latest.map(|state| Deployment {
            id: "d2".into(),
            project: name.clone(),
            state,
            url: String::new(),
            archive_digest: String::new(),
            failure: failure(state).map(|kind| Failure {
                kind,
                message: "no".into(),
                hint: None,
                exit_status: None,
                log: Vec::new(),
            }),
            created_at_ms: 0,
            updated_at_ms: 60_000,
        });
        let url = format!("http://{name}.localhost");
        Project {
            name,
            url,
            created_at_ms: 0,
            serving,
            latest,
            resources: Vec::new(),
            env: Vec::new(),
            origin: Origin::default(),
        }
    }

    #[test]
    fn a_project_is_a_line() {
        let projects = [
            project("one", true, Some(State::Deployed)),
            project("another", true, Some(State::Error)),
            project("c", false, Some(State::Queued)),
            project("d", false, None),
        ];
        assert_eq!(
            lines(&projects, 180_000),
            [
                "NAME     STATE                   LAST DEPLOYMENT  URL",
                "one      running                 2 min ago        http://one.localhost",
                "another  running, newest failed  2 min ago        http://another.localhost",
                "c        queued                  2 min ago        http://c.localhost",
                "d        nothing deployed        3 min ago        http://d.localhost",
            ]
        );
    }
}
