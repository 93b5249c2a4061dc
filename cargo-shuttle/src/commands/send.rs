//! What `deploy` sends, and what it does where that does not arrive.

use std::time::Duration;

use platform_wire::{Deployment, ErrorCode, Origin, ProjectName};
use tokio::time::sleep;

use super::interruptible;
use crate::{
    client::{Client, ClientError, Sent, Upload},
    error::{Error, Following},
    project::Secrets,
    ui::Ui,
};

/// How long an upload that broke off waits before it begins again. Together they outlast a server that is started anew.
const WAITS: [Duration; 4] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(9)];
/// How long a further attempt keeps its body back. A server that refuses an upload closes the connection while this end
/// still writes, and its answer is lost in that; asked again it is heard.
const HOLD: Duration = Duration::from_millis(500);

/// The newest deployment before this one, where the server said so.
pub(super) type Latest = Option<Option<String>>;

/// What the server knew of the project before.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) latest: Latest,
    /// Where it was deployed from.
    pub(super) origin: Origin,
}

/// Looks whether the server is there and takes the key.
pub(super) async fn greet(client: &Client, name: &ProjectName) -> Result<Known, Error> {
    let (latest, origin) = match client.project(name).await {
        Ok(project) => (Some(project.latest.map(|deployment| deployment.id)), project.origin),
        Err(ClientError::Refused { error, .. }) if error.code == ErrorCode::NotFound => (Some(None), Origin::default()),
        // Trouble of which the upload will tell more.
        Err(ClientError::Refused { .. }) => (None, Origin::default()),
        Err(error) => return Err(error.into()),
    };
    Ok(Known { latest, origin })
}

/// Sends the secrets, which are in place before the archive is; the id of the set. Where there are none to send, the
/// project keeps those that it has.
pub(super) async fn secrets(client: &Client, name: &ProjectName, secrets: Option<&Secrets>) -> Result<Option<String>, Error> {
    let Some(secrets) = secrets else { return Ok(None) };
    let set = interruptible(Following::Upload, async { Ok(client.put_secrets(name, &secrets.set).await?) }).await?;
    Ok(Some(set.id))
}

/// Uploads, and begins again where that breaks off.
pub(super) async fn upload(
    client: &Client,
    name: &ProjectName,
    upload: &Upload,
    digest: &str,
    latest: &Latest,
    ui: &Ui,
) -> Result<Sent, Error> {
    if !ui.has_bars() {
        ui.status("Uploading", &format!("to {}", client.address()));
    }
    let sent = interruptible(Following::Upload, async {
        let mut hold = Duration::ZERO;
        let mut waits = WAITS.into_iter();
        loop {
            let bar = ui.upload(upload.size);
            let moving = bar.clone();
            let sent = client.deploy(name, upload, hold, move |count| moving.advance(count)).await;
            bar.clear();
            let error = match sent {
                Ok(sent) => return Ok(sent),
                Err(error) => error,
            };
            let Some(wait) = waits.next().filter(|_| breaks_off(&error)) else { return Err(error.into()) };
            ui.status("Retrying", &format!("the upload: {error}"));
            sleep(wait).await;
            if let Some(deployment) = arrived(client, name, digest, latest).await {
                return Ok(Sent::New(deployment));
            }
            hold = HOLD;
        }
    })
    .await?;
    let Sent::New(deployment) = &sent else { return Ok(sent) };
    ui.status("Uploaded", &format!("as deployment {}", deployment.id));
    if deployment.archive_digest != digest {
        ui.warning("the server has another digest of the archive than was sent; something on the way changes what passes");
    }
    Ok(sent)
}

/// Whether the same upload may succeed a moment later.
fn breaks_off(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } => true,
        ClientError::Refused { error, .. } => error.code == ErrorCode::Unavailable,
        _ => false,
    }
}

/// The deployment of an upload that arrived whole, and of which only the answer was lost.
async fn arrived(client: &Client, name: &ProjectName, digest: &str, latest: &Latest) -> Option<Deployment> {
    let before = latest.as_ref()?;
    let deployment = client.project(name).await.ok()?.latest?;
    (deployment.archive_digest == digest && before.as_ref() != Some(&deployment.id)).then_some(deployment)
}
