//! `PUT /projects/{name}/secrets`: a new set of a project's secrets. What it holds is said nowhere: not in an error, not in
//! a log.

use axum::{Json, body::Body, extract::State, http::HeaderMap};
use futures_util::StreamExt;
use platform_wire::{ProjectName, SecretSet, Secrets, secrets::MAX_BODY};

use super::{
    Shared,
    deploy::{announced, drain},
    error::Error,
    parameters::Segment,
};

/// Bytes that are read of a body that is refused already.
const DRAINED: u64 = 64 * 1024 * 1024;

pub(super) async fn put(
    State(api): Shared,
    Segment(name): Segment,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<SecretSet>, Error> {
    let project: ProjectName = name.parse()?;
    if api.stop.is_cancelled() {
        return Err(Error::stopping());
    }
    if announced(&headers).is_some_and(|length| length > MAX_BODY as u64) {
        return Err(Error::too_many_secrets(MAX_BODY));
    }
    let body = read(body, MAX_BODY, || Error::too_many_secrets(MAX_BODY)).await?;
    // The parser's own message could repeat a value.
    let secrets: Secrets = serde_json::from_slice(&body).map_err(|error| {
        Error::not_of_the_form(r#"{"secrets": {"NAME": "value"}}"#, &body, &error)
            .hint("cargo shuttle deploy sends what stands in Secrets.toml")
    })?;
    secrets.check()?;
    let project_id = api.db.project_id(project).await?;
    let id = api.driver.launcher.provisioner.vault.store(project_id, &secrets).await?;
    Ok(Json(SecretSet { id, count: secrets.secrets.len() }))
}

/// A body of at most `most` bytes.
pub(super) async fn read(body: Body, most: usize, too_large: impl Fn() -> Error) -> Result<Vec<u8>, Error> {
    let (mut pieces, mut bytes) = (body.into_data_stream(), Vec::new());
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| Error::broken_off(&error))?;
        if bytes.len() + piece.len() > most {
            drain(&mut pieces, DRAINED).await;
            return Err(too_large());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
