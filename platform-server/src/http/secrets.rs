//! `PUT /projects/{name}/secrets`: a new set of a project's secrets. What it holds is said nowhere: not in an error, not in
//! a log.

use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{Path, State},
};
use platform_wire::{ProjectName, SecretSet, Secrets, secrets::MAX_BODY};

use super::{Shared, error::Error};

pub(super) async fn put(State(api): Shared, Path(name): Path<String>, body: Body) -> Result<Json<SecretSet>, Error> {
    let project: ProjectName = name.parse()?;
    if api.stop.is_cancelled() {
        return Err(Error::stopping());
    }
    let body = to_bytes(body, MAX_BODY).await.map_err(|_| Error::secrets_unread(MAX_BODY))?;
    // The parser's own message could repeat a value.
    let secrets: Secrets = serde_json::from_slice(&body).map_err(|_| {
        Error::bad_request(r#"the body is not of the form {"secrets": {"NAME": "value"}}"#)
            .hint("cargo shuttle deploy sends what stands in Secrets.toml")
    })?;
    secrets.check()?;
    let project_id = api.db.project_id(project).await?;
    let id = api.driver.launcher.provisioner.vault.store(project_id, &secrets).await?;
    Ok(Json(SecretSet { id, count: secrets.secrets.len() }))
}
