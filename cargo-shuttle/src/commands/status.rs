//! `status`: what serves, how the newest deployment ended, which resources there are.

use platform_wire::{BuildKind, Deployment, LaterBuild, Project, ServiceKind, Serving, State};

use super::{block_on, project_name};
use crate::{
    cli::{Global, Status},
    client::Client,
    config,
    error::Error,
    ui::{self, Ui},
};

pub(super) fn run(global: &Global, arguments: &Status, ui: &Ui) -> Result<(), Error> {
    let name = project_name(&arguments.project, ui)?;
    let client = Client::new(&config::server(global)?)?;
    let project = block_on(async { Ok(client.project(&name).await?) })?;
    if ui.is_json() {
        ui.json(&project);
    } else {
        lines(&project).iter().for_each(|line| ui.data(line));
    }
    Ok(())
}

fn lines(project: &Project) -> Vec<String> {
    let mut lines = vec![row("Project", project.name.as_str()), row("URL", &project.url)];
    match &project.serving {
        Some(serving) => {
            let restarts = match serving.restarts {
                0 => String::new(),
                1 => ", restarted once".to_owned(),
                times => format!(", restarted {times} times"),
            };
            let kind =
                if serving.kind == ServiceKind::Background { ", a background service: it is sent no requests" } else { "" };
            lines.push(row("Serving", &format!("deployment {} ({}{restarts}{kind})", serving.deployment, serving.instance)));
            lines.push(row("Build", &build(serving)));
        }
        None => lines.push(row("Serving", "nothing")),
    }
    if let Some(latest) = &project.latest {
        lines.extend(latest_lines(latest));
    }
    let resources: Vec<_> = project.resources.iter().map(|resource| format!("{} ({})", resource.kind, resource.name)).collect();
    if !resources.is_empty() {
        lines.push(row("Resources", &resources.join(", ")));
    }
    if !project.env.is_empty() {
        lines.push(row("Env", &project.env.join(", ")));
    }
    lines
}

/// Which build serves, and which may.
fn build(serving: &Serving) -> String {
    let kind = serving.build.as_str();
    match (serving.build, &serving.optimised) {
        (BuildKind::Fast, Some(LaterBuild::Waiting)) => {
            format!("{kind}; the optimised one follows when the server is idle")
        }
        (BuildKind::Fast, Some(LaterBuild::Ready)) => {
            format!("{kind}; optimised from the next start on, or now: cargo shuttle restart")
        }
        (BuildKind::Fast, Some(LaterBuild::Failed { message })) => format!("{kind}; there is no optimised one: {message}"),
        (BuildKind::Fast | BuildKind::Optimised | BuildKind::Other, _) => kind.to_owned(),
    }
}

fn latest_lines(latest: &Deployment) -> Vec<String> {
    let state = match latest.state {
        State::Queued => "queued or being built",
        State::Built => "built",
        State::Loaded => "started, has not answered yet",
        State::Deployed => "deployed",
        State::Error => "failed",
        State::Deleted => "deleted",
    };
    let mut lines = vec![row("Latest", &format!("deployment {}: {state}, {}", latest.id, ui::time(latest.updated_at_ms)))];
    let Some(failure) = &latest.failure else { return lines };
    lines.push(row("Failure", &failure.message));
    lines.extend(failure.exit_status.iter().map(|status| row("", &format!("the app ended with {status}"))));
    lines.extend(failure.log.iter().map(|line| row("", &ui::log_line(line))));
    lines.extend(failure.hint.iter().map(|hint| row("Hint", hint)));
    lines
}

/// Further lines of a text stand below its first one.
fn row(label: &str, text: &str) -> String {
    format!("{label:11}{}", text.replace('\n', "\n           ")).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use platform_wire::{Failure, FailureKind, Resource};

    use super::*;

    #[test]
    fn a_failed_deployment_beside_a_serving_one() {
        let name: platform_wire::ProjectName = "my-app".parse().unwrap();
        let project = Project {
            name: name.clone(),
            url: "http://my-app.localhost:8000".into(),
            created_at_ms: 0,
            serving: Some(Serving {
                deployment: "d1".into(),
                instance: "running".into(),
                restarts: 2,
                kind: ServiceKind::Http,
                build: BuildKind::Fast,
                optimised: Some(LaterBuild::Failed { message: "it does not link".into() }),
            }),
            latest: Some(Deployment {
                id: "d2".into(),
                project: name,
                state: State::Error,
                url: String::new(),
                archive_digest: String::new(),
                failure: Some(Failure {
                    kind: FailureKind::Start,
                    message: "the app panicked".into(),
                    hint: Some("look at its log".into()),
                    exit_status: Some("exit status 101".into()),
                    log: vec![],
                }),
                created_at_ms: 0,
                updated_at_ms: 1000,
            }),
            resources: vec![Resource { name: "pool".into(), kind: "postgres".into() }],
            env: vec!["RUST_LOG".into(), "TZ".into()],
            origin: platform_wire::Origin::default(),
        };
        assert_eq!(
            lines(&project),
            [
                "Project    my-app",
                "URL        http://my-app.localhost:8000",
                "Serving    deployment d1 (running, restarted 2 times)",
                "Build      fast; there is no optimised one: it does not link",
                "Latest     deployment d2: failed, 1970-01-01T00:00:01.000Z",
                "Failure    the app panicked",
                "           the app ended with exit status 101",
                "Hint       look at its log",
                "Resources  postgres (pool)",
                "Env        RUST_LOG, TZ",
            ]
        );
    }
}
