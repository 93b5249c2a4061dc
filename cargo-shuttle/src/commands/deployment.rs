//! `deployment list`, `deployment cancel`: what became of a project's deployments, and the end of one that is under way.

use std::time::{SystemTime, UNIX_EPOCH};

use platform_wire::{Deployment, ErrorCode, FailureKind, ProjectName, State};

use super::{block_on, project_name, still};
use crate::{
    cli::{self, Cancel, Global, List},
    client::{Client, ClientError},
    config,
    error::Error,
    ui::Ui,
};

pub(super) fn run(global: &Global, command: &cli::Deployment, ui: &Ui) -> Result<(), Error> {
    match command {
        cli::Deployment::List(arguments) => list(global, arguments, ui),
        cli::Deployment::Cancel(arguments) => cancel(global, arguments, ui),
    }
}

fn list(global: &Global, arguments: &List, ui: &Ui) -> Result<(), Error> {
    let name = project_name(&arguments.project, ui)?;
    let client = Client::new(&config::server(global)?)?;
    let deployments = block_on(async { Ok(client.deployments(&name).await?) })?;
    if ui.is_json() {
        ui.json(&deployments);
    } else if deployments.is_empty() {
        ui.status("Nothing", "was deployed yet");
    } else {
        lines(&deployments, now_ms()).iter().for_each(|line| ui.data(line));
    }
    Ok(())
}

fn cancel(global: &Global, arguments: &Cancel, ui: &Ui) -> Result<(), Error> {
    let client = Client::new(&config::server(global)?)?;
    let id = match &arguments.id {
        Some(id) => id.clone(),
        None => newest_under_way(&client, project_name(&arguments.project, ui)?)?,
    };
    let cancelled = block_on(async { Ok(client.cancel(&id).await.map_err(hinted)?) })?;
    if ui.is_json() {
        ui.json(&cancelled);
    } else {
        let serves = block_on(async { Ok(still::serves(&client, &cancelled.project).await) })?;
        let serves = serves.map(|serves| format!("; {serves}")).unwrap_or_default();
        ui.status("Cancelled", &format!("deployment {} of {}{serves}", cancelled.id, cancelled.project));
    }
    Ok(())
}

fn newest_under_way(client: &Client, project: ProjectName) -> Result<String, Error> {
    let deployments = block_on(async { Ok(client.deployments(&project).await?) })?;
    let found = under_way(&deployments).map(|deployment| deployment.id.clone());
    found.ok_or(Error::NothingUnderWay { project })
}

pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    u64::try_from(now).unwrap_or(u64::MAX)
}

/// A deployment that is not there is no reason to deploy.
fn hinted(error: ClientError) -> ClientError {
    match error {
        ClientError::Refused { status, mut error } if error.code == ErrorCode::NotFound => {
            error.hint.get_or_insert_with(|| "`cargo shuttle deployment list` shows the project's deployments".to_owned());
            ClientError::Refused { status, error }
        }
        error => error,
    }
}

/// The newest that is under way, of a list whose newest is the first. In `built`, those rest whose place a newer one has
/// taken; what is newer than the one that serves does not.
fn under_way(deployments: &[Deployment]) -> Option<&Deployment> {
    let serving = deployments.iter().position(|deployment| deployment.state == State::Deployed);
    let newer = |index: usize| serving.is_none_or(|serving| index < serving);
    deployments.iter().enumerate().find_map(|(index, deployment)| {
        let is_under_way = match deployment.state {
            State::Queued | State::Loaded => true,
            State::Built => newer(index),
            State::Deployed | State::Error | State::Deleted => false,
        };
        is_under_way.then_some(deployment)
    })
}

/// A table: its columns are as wide as what stands in them.
pub(super) fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// id, state, age, reason.
fn lines(deployments: &[Deployment], now_ms: u64) -> Vec<String> {
    let row = |deployment: &Deployment| {
        let age = age(now_ms.saturating_sub(deployment.created_at_ms) / 1000);
        let why = deployment.failure.as_ref().and_then(|failure| failure.message.lines().next()).unwrap_or_default();
        [deployment.id.clone(), state(deployment).to_owned(), age, why.to_owned()]
    };
    let header = ["ID", "STATE", "AGE", "FAILURE"].map(str::to_owned);
    let rows: Vec<[String; 4]> = std::iter::once(header).chain(deployments.iter().map(row)).collect();
    table(&rows)
}

/// One word. What was given up did not fail.
pub(super) fn state(deployment: &Deployment) -> &'static str {
    match (deployment.state, deployment.failure.as_ref().map(|failure| failure.kind)) {
        (State::Error, Some(FailureKind::Cancelled)) => "cancelled",
        (State::Error, Some(FailureKind::Superseded)) => "superseded",
        (State::Error, _) => "failed",
        (state, _) => state.as_str(),
    }
}

/// In the largest unit of which there is one.
pub(super) fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use platform_wire::Failure;

    use super::*;

    fn deployment(id: &str, state: State, failure: Option<(FailureKind, &str)>) -> Deployment {
        let failure = failure.map(|(kind, message)| Failure {
            kind,
            message: message.to_owned(),
            hint: None,
            exit_status: None,
            log: Vec::new(),
        });
        Deployment {
            id: id.to_owned(),
            project: "my-app".parse().unwrap(),
            state,
            url: String::new(),
            archive_digest: String::new(),
            failure,
            created_at_ms: 1_000_000,
            updated_at_ms: 1_000_000,
        }
    }

    /// The one that would be cancelled, of deployments `d0`, `d1`, … in these states, newest first.
    fn chosen(states: &[State]) -> Option<String> {
        let deployments: Vec<_> =
            states.iter().enumerate().map(|(index, state)| deployment(&format!("d{index}"), *state, None)).collect();
        under_way(&deployments).map(|deployment| deployment.id.clone())
    }

    #[test]
    fn what_rests_is_not_under_way() {
        use State::{Built, Deleted, Deployed, Error, Loaded, Queued};
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&[Error, Deployed, Built, Deleted]), None);
        assert_eq!(chosen(&[Error, Built, Deployed, Built]).unwrap(), "d1");
        assert_eq!(chosen(&[Loaded, Queued, Deployed]).unwrap(), "d0");
        // It was overtaken while it is built, and is built all the same.
        assert_eq!(chosen(&[Deployed, Built, Queued]).unwrap(), "d2");
        assert_eq!(chosen(&[Error, Built]).unwrap(), "d1");
    }

    #[test]
    fn a_table_has_one_line_for_each() {
        let deployments = [
            deployment("d10", State::Queued, None),
            deployment("d9", State::Error, Some((FailureKind::Cancelled, "it was cancelled"))),
            deployment("d8", State::Error, Some((FailureKind::Build, "it does not compile\nerror[E0308]"))),
        ];
        assert_eq!(
            lines(&deployments, 1_120_500),
            [
                "ID   STATE      AGE    FAILURE",
                "d10  queued     2 min",
                "d9   cancelled  2 min  it was cancelled",
                "d8   failed     2 min  it does not compile",
            ]
        );
    }

    #[test]
    fn an_age_has_one_unit() {
        let ages = [0, 59, 60, 3599, 3600, 86_399, 86_400].map(age);
        assert_eq!(ages, ["0 s", "59 s", "1 min", "59 min", "1 h", "23 h", "1 d"]);
    }
}
