//! `/projects/{name}/env`: the environment variables of a project. Their values are no secrets; still none is in a log.

use axum::{Json, body::Body, extract::State, http::HeaderMap};
use platform_wire::{EnvChange, ProjectName, Variables, env::MAX_BODY};

use super::{Api, Shared, deploy::announced, error::Error, parameters::Segment, projects::find, secrets::read};

pub(super) async fn show(State(api): Shared, Segment(name): Segment) -> Result<Json<Variables>, Error> {
    let id = find(&api, &name).await?.id;
    Ok(Json(variables(&api, id).await?))
}

pub(super) async fn change(
    State(api): Shared,
    Segment(name): Segment,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Variables>, Error> {
    let project: ProjectName = name.parse()?;
    if api.stop.is_cancelled() {
        return Err(Error::stopping());
    }
    let too_large = || Error::too_much_env(MAX_BODY);
    if announced(&headers).is_some_and(|length| length > MAX_BODY as u64) {
        return Err(too_large());
    }
    let body = read(body, MAX_BODY, too_large).await?;
    let change: EnvChange = serde_json::from_slice(&body)
        .map_err(|error| Error::not_of_the_form(r#"{"set": {"NAME": "value"}, "unset": ["NAME"]}"#, &body, &error))?;
    platform_wire::env::check(&change.set)?;
    let id = api.db.project_id(project).await?;
    api.db.change_env(id, change).await?;
    Ok(Json(variables(&api, id).await?))
}

/// The project's own, and those of the deployment that the next instance is of: the one that serves, else the newest.
pub(super) async fn variables(api: &Api, project_id: i64) -> Result<Variables, Error> {
    let project = api.db.env(project_id).await?;
    let deployment = match api.driver.instances.serving(project_id) {
        Some(serving) => api.db.deployment(serving.deployment).await?,
        None => api.db.deployments(project_id, 1).await?.into_iter().flatten().next(),
    };
    let deployment = deployment.map(|deployment| deployment.meta().index.env.clone()).unwrap_or_default();
    Ok(Variables { project, deployment })
}
