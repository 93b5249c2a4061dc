//! `POST /deploy`: receives an archive as a stream, checks and unpacks it, and hands it to the driver. What is answered
//! with 202 is on the disk and in the database.

use std::{fs, io, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use axum::{
    Json,
    body::{Body, BodyDataStream},
    extract::State,
    http::{HeaderMap, StatusCode, header::CONTENT_LENGTH},
};
use futures_util::StreamExt;
use platform_wire::{ArchiveIndex, BuildMode, Deployment, Origin, ProjectName};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt;

use super::{
    Api, Shared,
    error::Error,
    parameters::{Parameters, wrong},
};
use crate::{
    archive::unpack,
    build::blocking,
    db::{NewDeployment, now_ms},
    deployment::{self, Digest, launcher::files},
    provision::secret,
};

/// Longest reading of an upload that is refused already.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn deploy(
    State(api): Shared,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Deployment>), Error> {
    let name = parameters.text("project")?;
    let name = name.ok_or_else(|| Error::bad_request("the query parameter `project` is missing: POST /deploy?project=NAME"))?;
    let project: ProjectName = name.parse()?;
    let build = match parameters.text("build")? {
        None => BuildMode::default(),
        Some(mode) => mode.parse().map_err(|_| wrong("build", "`fast`, `optimised` or `both`", mode))?,
    };
    // Whether it is built though it is the very same as what serves.
    let force = parameters.flag("force")?;
    // The id of a set of them.
    let secrets = parameters.text("secrets")?.map(str::to_owned);
    if api.stop.is_cancelled() {
        return Err(Error::stopping());
    }
    // As `Origin::to_query` writes it.
    let origin = Origin::from_query(parameters.text("origin")?.unwrap_or_default());
    let known = api.db.origin(project.clone()).await?;
    // Whether it may replace what was deployed from elsewhere.
    if !parameters.flag("replace")? && !known.is_same(&origin) {
        return Err(Error::other_origin(&project, &known, &origin));
    }
    if api.driver.queue.len() >= api.limits.max_queued {
        return Err(Error::too_many(api.limits.max_queued));
    }
    // Not a byte of it is read: the connection takes care that the client sees the answer.
    if announced(&headers).is_some_and(|length| length > api.limits.max_archive_bytes) {
        return Err(Error::too_large(api.limits.max_archive_bytes));
    }
    let mut pieces = body.into_data_stream();
    let received = receive(&api, &mut pieces).await;
    if received.is_err() {
        drain(&mut pieces, api.limits.max_archive_bytes).await;
    }
    let (archive, digest) = received?;
    let wanted = Wanted { project, archive: digest, secrets, build, origin };
    if !force && let Some(serving) = unchanged(&api, &wanted).await? {
        return Ok((StatusCode::OK, Json(serving)));
    }
    // In a task of its own: a client that goes away now has sent everything, and nothing must be left half done.
    let accepting = tokio::spawn(async move { accept(&api, wanted, archive).await });
    let deployment = accepting.await.map_err(io::Error::other)??;
    Ok((StatusCode::ACCEPTED, Json(deployment)))
}

/// How long a body is to be.
pub(super) fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What is asked for.
struct Wanted {
    project: ProjectName,
    archive: Digest,
    secrets: Option<String>,
    build: BuildMode,
    origin: Origin,
}

/// What serves already, where it is made of the same and runs. One that crashes is made anew.
async fn unchanged(api: &Api, wanted: &Wanted) -> Result<Option<Deployment>, Error> {
    let Wanted { project, archive, secrets, build, .. } = wanted;
    let Some(serving) = api.db.same(project.clone(), archive.clone(), secrets.clone(), *build).await? else { return Ok(None) };
    if !api.driver.instances.runs(serving.built.meta.project_id) {
        return Ok(None);
    }
    let url = api.driver.launcher.address.url(project);
    Ok(Some(deployment::Deployment::Deployed(serving).to_wire(url)))
}

/// Puts the files in place and the deployment into the queue: both, or neither.
async fn accept(api: &Arc<Api>, wanted: Wanted, archive: tempfile::NamedTempFile) -> Result<Deployment, Error> {
    let Wanted { project, archive: digest, secrets, build, origin } = wanted;
    let id = new_id()?;
    // Until the row refers to it, nothing else says that the archive is needed.
    let _storing = api.driver.retention.in_use.hold_to_store(&id);
    let index = place(api, &id, archive, digest.clone()).await?;
    let new = NewDeployment { id: id.clone(), project: project.clone(), archive: digest, index, secrets, build, origin };
    match api.driver.submit(new).await {
        Ok(deployment) => Ok(deployment.to_wire(api.driver.launcher.address.url(&project))),
        Err(error) => {
            let (folder, trash) = (api.deployments.join(&id), api.trash.clone());
            blocking(move || trash.discard(&folder)).await?;
            Err(error.into())
        }
    }
}

/// Writes the body to a file beside the archives, never holding more than a piece of it.
async fn receive(api: &Api, stream: &mut BodyDataStream) -> Result<(tempfile::NamedTempFile, Digest), Error> {
    let archives = api.archives.clone();
    let temporary = blocking(move || archives.temporary()).await?;
    let mut file = tokio::fs::File::from_std(temporary.as_file().try_clone()?);
    let (mut hash, mut received) = (Sha256::new(), 0u64);
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| Error::broken_off(&error))?;
        received += piece.len() as u64;
        if received > api.limits.max_archive_bytes {
            return Err(Error::too_large(api.limits.max_archive_bytes));
        }
        hash.update(&piece);
        file.write_all(&piece).await?;
    }
    // It is written to the disk when it is stored.
    file.flush().await?;
    Ok((temporary, Digest::new(&hash.finalize())))
}

/// Reads on what a client still sends, within reason: one whose connection is closed in the middle of its upload reports a
/// broken pipe instead of the answer.
pub(super) async fn drain(stream: &mut BodyDataStream, most: u64) {
    let mut left = most;
    let reading = async {
        while let Some(Ok(piece)) = stream.next().await {
            left = left.saturating_sub(piece.len() as u64);
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_LIMIT, reading).await;
}

/// Unpacks the archive into the deployment's own folder and keeps it under its digest.
async fn place(api: &Arc<Api>, id: &str, archive: tempfile::NamedTempFile, digest: Digest) -> Result<ArchiveIndex, Error> {
    let (deployments, id, limits) = (api.deployments.clone(), id.to_owned(), api.archive_limits.clone());
    let (archives, trash) = (api.archives.clone(), api.trash.clone());
    blocking(move || {
        let folder = deployments.join(&id);
        // The server's alone, until the app it belongs to is started.
        fs::create_dir(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        let unpacked = (|| {
            let reader = io::BufReader::new(archive.reopen()?);
            let unpacked = unpack(reader, &files(&deployments, &id), &limits);
            if unpacked.is_ok() {
                archives.store(archive, &digest)?;
            }
            Ok(unpacked)
        })();
        if !matches!(unpacked, Ok(Ok(_))) {
            // At once, however much of it has been unpacked: somebody waits for the answer.
            trash.discard_or_tell(&folder);
        }
        unpacked
    })
    .await?
    .map_err(Error::from)
}

/// Unique, and sorted by age: the time in milliseconds, then random bits.
fn new_id() -> io::Result<String> {
    Ok(format!("{:012x}{}", now_ms(), secret(4)?))
}
