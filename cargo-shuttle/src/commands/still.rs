//! What serves though a new version does not: asked of the server when a deployment or a restart has not come to its end.

use std::time::Duration;

use platform_wire::ProjectName;
use tokio::time::timeout;

use crate::{
    client::Client,
    error::{Error, Serves},
};

/// Longest wait for the answer: the error is what the user waits for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The error, with what serves in spite of it, where there is something to say and the server says it.
pub(super) async fn told(client: &Client, project: &ProjectName, error: Error) -> Error {
    let is_of_interest = match &error {
        Error::Failed { .. } | Error::Superseded { .. } | Error::Cancelled { .. } | Error::Interrupted { .. } => true,
        // Of a restart. Where nothing is deployed, that is what the error says.
        Error::Client(error) => error.is_failed_start(),
        _ => false,
    };
    if !is_of_interest {
        return error;
    }
    match serves(client, project).await {
        Some(serves) => Error::Instead { error: Box::new(error), serves },
        None => error,
    }
}

pub(super) async fn serves(client: &Client, project: &ProjectName) -> Option<Serves> {
    let project = timeout(PATIENCE, client.project(project)).await.ok()?.ok()?;
    Some(Serves::of(&project))
}
