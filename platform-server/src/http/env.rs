//! `/projects/{name}/env`: the environment variables of a project. Their values are no secrets; still none is in a log.

use axum::{
    Json,
    body::{Bytes, to_bytes},
    extract::{Path, Request, State},
};
use platform_wire::{EnvChange, ProjectName, Variables, env::MAX_BODY};

use super::{Api, Shared, error::Error, projects::find};

pub(super) async fn show(State(api): Shared, Path(name): Path<String>) -> Result<Json<Variables>, Error> {
    let id = find(&api, &name).await?.id;
    Ok(Json(variables(&api, id).await?))
}

pub(super) async fn change(State(api): Shared, Path(name): Path<String>, request: Request) -> Result<Json<Variables>, Error> {
    let project: ProjectName = name.parse()?;
    if api.stop.is_cancelled() {
        return Err(Error::stopping());
    }
    let body: Bytes = to_bytes(request.into_body(), MAX_BODY).await.map_err(|_| {
        Error::bad_request(format!("the body broke off, or has more than {MAX_BODY} bytes"))
            .hint("environment variables are for short settings; deploy larger ones as files")
    })?;
    let change: EnvChange = serde_json::from_slice(&body)
        .map_err(|_| Error::bad_request(r#"the body is not of the form {"set": {"NAME": "value"}, "unset": ["NAME"]}"#))?;
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
