//! Projects and deployments as resources, and the streams that follow them.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use platform_wire::{Deleted, Deployment, LogLevel, LogLine, LogSource, Project, ProjectName};

use super::{
    Api, Shared, env,
    error::Error,
    parameters::{Parameters, Segment},
    stream,
};
use crate::{
    db::{ProjectRow, ResourceRow, Unreadable, now_ms},
    deployment::{self, driver::NotRestarted},
    listing::{self, names},
};

/// Most log lines that one request is given.
const MAX_TAIL: usize = 10_000;
/// Log lines of a request that does not say how many.
const DEFAULT_TAIL: usize = 100;
/// Most deployments that a listing has.
const MAX_DEPLOYMENTS: u32 = 100;

pub(super) async fn find(api: &Api, name: &str) -> Result<ProjectRow, Error> {
    let project: ProjectName = name.parse()?;
    if let Some(row) = api.db.project(project.clone()).await? {
        return Ok(row);
    }
    if let Some(deleted_at) = api.db.deleted_at(project).await? {
        return Err(Error::not_found(format!("the project `{name}` was deleted {}", ago(deleted_at))).hint(format!(
            "`cargo shuttle logs --name {name}` prints its log while that is kept; `cargo shuttle deploy` brings it back, with its data"
        )));
    }
    let others = api.db.projects().await?;
    let hint = if others.is_empty() {
        "deploy it first: `cargo shuttle deploy`".to_owned()
    } else {
        let others = names(others.iter().map(|row| row.name.as_str()));
        format!("it has {others}; or deploy this one first: `cargo shuttle deploy`")
    };
    Err(Error::not_found(format!("there is no project `{name}` on this server")).hint(hint))
}

fn shown(project: &ProjectRow, found: Result<deployment::Deployment, Unreadable>, url: &str) -> Deployment {
    match found {
        Ok(deployment) => deployment.to_wire(url.to_owned()),
        Err(unreadable) => unreadable.to_wire(project.name.clone(), url.to_owned()),
    }
}

/// `3 days ago`.
fn ago(time_ms: i64) -> String {
    let seconds = now_ms().saturating_sub(time_ms).max(0) / 1000;
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

async fn to_wire(api: &Api, row: ProjectRow) -> Result<Project, Error> {
    let url = api.driver.launcher.address.url(&row.name);
    let latest = api.db.deployments(row.id, 1).await?.pop();
    let resources = api.db.resources(row.id).await?;
    let env = env::variables(api, row.id).await?.merged().into_keys().collect();
    let origin = api.db.origin(row.name.clone()).await?;
    Ok(Project {
        origin,
        latest: latest.map(|found| shown(&row, found, &url)),
        serving: api.driver.instances.serving(row.id),
        resources: resources.iter().map(ResourceRow::to_wire).collect(),
        env,
        created_at_ms: row.created_at_ms.unsigned_abs(),
        name: row.name,
        url,
    })
}

pub(super) async fn list(State(api): Shared) -> Result<Json<Vec<Project>>, Error> {
    let mut projects = Vec::new();
    for row in api.db.projects().await? {
        projects.push(to_wire(&api, row).await?);
    }
    Ok(Json(projects))
}

pub(super) async fn show(State(api): Shared, Segment(name): Segment) -> Result<Json<Project>, Error> {
    let row = find(&api, &name).await?;
    Ok(Json(to_wire(&api, row).await?))
}

pub(super) async fn delete(State(api): Shared, Segment(name): Segment) -> Result<Json<Deleted>, Error> {
    let project = find(&api, &name).await?.name;
    // In a task of its own: a client that goes away must not leave a deletion half done.
    let (driver, name) = (Arc::clone(&api.driver), project.clone());
    let kept = tokio::spawn(async move { driver.delete(name).await }).await.map_err(std::io::Error::other)??;
    let kept = kept.ok_or_else(|| Error::not_found(format!("the project `{project}` was deleted meanwhile")))?;
    Ok(Json(Deleted { project, kept }))
}

pub(super) async fn restart(State(api): Shared, Segment(name): Segment) -> Result<Json<Project>, Error> {
    let row = find(&api, &name).await?;
    if api.stop.is_cancelled() {
        return Err(Error::stopping());
    }
    // In a task of its own, as a deletion is; the server waits for it when it stops.
    let (driver, id) = (Arc::clone(&api.driver), row.id);
    match api.driver.tasks.spawn(async move { driver.restart(id).await }).await.map_err(std::io::Error::other)? {
        Ok(()) => Ok(Json(to_wire(&api, row).await?)),
        Err(NotRestarted::NothingServes) => {
            Err(Error::conflict(format!("nothing of `{name}` is deployed")).hint("deploy it: `cargo shuttle deploy`"))
        }
        Err(NotRestarted::Stopping) => Err(Error::stopping()),
        Err(NotRestarted::Failed(error)) => Err(Error::not_started(&error)),
        Err(NotRestarted::Db(error)) => Err(error.into()),
    }
}

pub(super) async fn deployments(State(api): Shared, Segment(name): Segment) -> Result<Json<Vec<Deployment>>, Error> {
    let row = find(&api, &name).await?;
    let url = api.driver.launcher.address.url(&row.name);
    let found = api.db.deployments(row.id, MAX_DEPLOYMENTS).await?;
    Ok(Json(found.into_iter().map(|found| shown(&row, found, &url)).collect()))
}

async fn find_deployment(api: &Api, id: String) -> Result<Deployment, Error> {
    let found = api.db.deployment(id.clone()).await?;
    let found = found.ok_or_else(|| {
        Error::not_found(format!("there is no deployment `{}` on this server", listing::shown(&id)))
            .hint("cargo shuttle deployment list shows those that there are")
    })?;
    let url = api.driver.launcher.address.url(&found.meta().project);
    Ok(found.to_wire(url))
}

pub(super) async fn deployment(State(api): Shared, Segment(id): Segment) -> Result<Json<Deployment>, Error> {
    Ok(Json(find_deployment(&api, id).await?))
}

pub(super) async fn cancel(State(api): Shared, Segment(id): Segment) -> Result<Json<Deployment>, Error> {
    let before = find_deployment(&api, id.clone()).await?;
    // In a task of its own, as a deletion is.
    let (driver, cancelled) = (Arc::clone(&api.driver), id.clone());
    if !tokio::spawn(async move { driver.cancel(&cancelled).await }).await.map_err(std::io::Error::other)?? {
        let state = before.state.as_str();
        return Err(Error::conflict(format!("the deployment `{id}` is under way no more: its state is `{state}`"))
            .hint("what serves is ended by `cargo shuttle delete`, or replaced by the next deployment"));
    }
    Ok(Json(find_deployment(&api, id).await?))
}

pub(super) async fn events(State(api): Shared, Segment(id): Segment, headers: HeaderMap) -> Result<Response, Error> {
    let after = stream::last_event_id(&headers)?.unwrap_or(0);
    let at_rest = api.driver.at_rest(&id).await?;
    let deployment = find_deployment(&api, id).await?;
    let events = api.driver.events.follow(deployment.id, after, at_rest);
    Ok(stream::respond(events, api.stop.clone()).into_response())
}

/// The id before the first of these lines.
fn before(lines: &[(u64, LogLine)]) -> u64 {
    lines.first().map_or(0, |(id, _)| id.saturating_sub(1))
}

/// A project's log, while it is there: also that of a deleted one.
struct Log {
    project: ProjectName,
    deleted_at: Option<i64>,
}

async fn find_log(api: &Api, name: &str) -> Result<Log, Error> {
    let project: ProjectName = name.parse()?;
    let deleted_at = api.db.deleted_at(project.clone()).await?;
    if deleted_at.is_some() {
        return Ok(Log { project, deleted_at });
    }
    Ok(Log { project: find(api, name).await?.name, deleted_at })
}

/// What a deleted project's log ends with, whoever reads it: the log itself ends earlier.
fn deletion(project: &ProjectName, at_ms: i64) -> LogLine {
    LogLine {
        time_ms: at_ms.unsigned_abs(),
        level: LogLevel::Info,
        source: LogSource::Platform,
        deployment: String::new(),
        target: String::new(),
        message: format!("the project {project} was deleted"),
    }
}

pub(super) async fn logs(
    State(api): Shared,
    Segment(name): Segment,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let follow = parameters.flag("follow")?;
    let most = parameters.number("tail")?.unwrap_or(DEFAULT_TAIL).min(MAX_TAIL);
    let resumed = stream::last_event_id(&headers)?;
    let Log { project, deleted_at } = find_log(&api, &name).await?;
    // Only what this deployment wrote; the end of its id will do.
    let only = parameters.text("deployment")?.map(str::to_owned);
    if !follow {
        let lines = api.logs.tail_of(&project, most, only.clone()).await?;
        let mut lines: Vec<LogLine> = lines.into_iter().map(|(_, line)| line).collect();
        if let Some(at) = deleted_at {
            if lines.is_empty() && only.is_none() {
                // It is not kept any more, or there was nothing.
                find(&api, &name).await?;
            }
            lines.push(deletion(&project, at));
        }
        return Ok(Json(lines).into_response());
    }
    if let Some(at) = deleted_at {
        let message = format!("the project `{project}` was deleted {}: it logs nothing more", ago(at));
        let hint = format!("`cargo shuttle logs --name {project}`, without --follow, prints what there is");
        return Err(Error::conflict(message).hint(hint));
    }
    let after = match resumed {
        Some(id) => Some(id),
        None if most == 0 => None,
        // The last `most` lines, then what comes.
        None => Some(before(&api.logs.tail_of(&project, most, only.clone()).await?)),
    };
    let lines = api.logs.follow(&project, after).await?;
    let lines = lines.filter(move |(_, line)| {
        let is_wanted = only.as_ref().is_none_or(|only| line.deployment.ends_with(only.as_str()));
        std::future::ready(is_wanted)
    });
    Ok(stream::respond(lines, api.stop.clone()).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_largest_unit() {
        let told = |seconds: i64| ago(now_ms() - seconds * 1000);
        assert_eq!(told(61), "1 minute ago");
        assert_eq!(told(7200), "2 hours ago");
        assert_eq!(told(3 * 86_400), "3 days ago");
        assert!(told(-5).starts_with("0 seconds"));
    }
}
