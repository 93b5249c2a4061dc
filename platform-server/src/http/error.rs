//! Errors of the API, rendered in one place: the outside to the client, the inside to the server's log, the same
//! request id in both.

use std::io;

use axum::{
    Json,
    http::{HeaderValue, Method, StatusCode, header::CONNECTION},
    response::{IntoResponse, Response},
};
use platform_wire::{ApiError, ErrorCode, FailureKind, InvalidEnv, InvalidName, InvalidSecrets, Origin, ProjectName};

use crate::{
    archive::ArchiveError, build::is_disk_full, db::DbError, deployment::launcher::LaunchError, listing::shown, vault::VaultError,
};

/// An error on its way to a client.
#[derive(Debug, Clone)]
pub(super) struct Error {
    code: ErrorCode,
    message: String,
    hint: Option<String>,
    /// For the server's log alone.
    inside: Option<String>,
}

impl Error {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, inside: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(super) fn unauthorized(message: &str) -> Self {
        Self::new(ErrorCode::Unauthorized, message).hint(
            "the server's key is in the file that platform-server names when it starts (admin.key in its data directory); give it by `cargo shuttle login` or SHUTTLE_API_KEY",
        )
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }

    /// Where a body is not the JSON that it has to be. The parser's own message could repeat a value.
    pub(super) fn not_of_the_form(form: &str, body: &[u8], error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let why = if body.is_empty() { "it is empty".to_owned() } else { format!("see line {line}, column {column}") };
        Self::bad_request(format!("the body is not of the form {form}: {why}"))
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Conflict, message)
    }

    pub(super) fn other_origin(project: &ProjectName, was: &Origin, is: &Origin) -> Self {
        Self::new(ErrorCode::OtherOrigin, format!("`{project}` was last deployed from {was}, and this is {is}")).hint(
            "if it is meant to replace that, deploy it with --yes; if it is an app of its own, give it another name with --name",
        )
    }

    pub(super) fn method_not_allowed(method: &Method) -> Self {
        Self::new(ErrorCode::MethodNotAllowed, format!("this path of the API has no method {method}"))
    }

    pub(super) fn too_large(limit: u64) -> Self {
        Self::new(ErrorCode::TooLarge, format!("the archive is over the limit of {limit} bytes"))
            .hint("leave out what the build does not need (.gitignore works), or raise the server's --max-archive-bytes")
    }

    pub(super) fn broken_off(error: &axum::Error) -> Self {
        Self::bad_request(format!("the upload broke off: {error}")).hint("try again: nothing was changed")
    }

    pub(super) fn too_many_secrets(limit: usize) -> Self {
        Self::new(ErrorCode::TooLarge, format!("the secrets are over the limit of {limit} bytes"))
            .hint("secrets are for keys and passwords; deploy larger things as files, or keep them in a PersistDir")
    }

    pub(super) fn too_much_env(limit: usize) -> Self {
        Self::new(ErrorCode::TooLarge, format!("the environment variables are over the limit of {limit} bytes"))
            .hint("environment variables are for short settings; deploy larger ones as files")
    }

    pub(super) fn too_many(limit: usize) -> Self {
        Self::new(ErrorCode::TooManyRequests, format!("{limit} deployments are waiting to be built already"))
            .hint("try again when some are done, or raise the server's --max-queued")
    }

    pub(super) fn not_started(error: &LaunchError) -> Self {
        if error.kind() == FailureKind::Internal {
            return Self::internal(error.to_string());
        }
        Self::new(ErrorCode::NotStarted, error.to_string()).hint(error.hint())
    }

    pub(super) fn stopping() -> Self {
        Self::new(ErrorCode::Unavailable, "the server is stopping").hint("try again when it is back")
    }

    fn disk_full(inside: String) -> Self {
        let hint = "free some space there, then try again; nothing was changed";
        Self { inside: Some(inside), ..Self::new(ErrorCode::DiskFull, "the server's disk is full").hint(hint) }
    }

    fn internal(inside: String) -> Self {
        let hint = "the server's log says why, in a line with the request's id";
        Self { inside: Some(inside), ..Self::new(ErrorCode::Internal, "the server could not do that").hint(hint) }
    }

    fn status(&self) -> StatusCode {
        match self.code {
            ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::BadRequest | ErrorCode::InvalidName | ErrorCode::InvalidSecrets | ErrorCode::UnknownSecrets => {
                StatusCode::BAD_REQUEST
            }
            ErrorCode::BadArchive | ErrorCode::NotStarted => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            ErrorCode::Conflict | ErrorCode::OtherOrigin => StatusCode::CONFLICT,
            ErrorCode::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
            ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Internal | ErrorCode::Other => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<DbError> for Error {
    fn from(error: DbError) -> Self {
        if let DbError::Env(error) = error {
            return error.into();
        }
        if let DbError::UnknownSecrets(_) = error {
            return Self::new(ErrorCode::UnknownSecrets, error.to_string()).hint(
                "send the secrets again (PUT /projects/NAME/secrets, as cargo shuttle deploy does) and use the id in the answer",
            );
        }
        if let DbError::Unreadable(_) = error {
            let inside = error.to_string();
            return Self { inside: Some(inside.clone()), ..Self::new(ErrorCode::Internal, inside) }
                .hint("deploy the project again; or run the platform-server that stored it, if that was a newer one");
        }
        if error.is_disk_full() { Self::disk_full(error.to_string()) } else { Self::internal(error.to_string()) }
    }
}

impl From<InvalidEnv> for Error {
    fn from(error: InvalidEnv) -> Self {
        let refused = Self::bad_request(error.to_string());
        match error.hint() {
            Some(hint) => refused.hint(hint),
            None => refused,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if is_disk_full(&error) { Self::disk_full(error.to_string()) } else { Self::internal(error.to_string()) }
    }
}

impl From<ArchiveError> for Error {
    fn from(error: ArchiveError) -> Self {
        if error.is_disk_full() {
            return Self::disk_full(error.to_string());
        }
        if !error.is_refusal() {
            return Self::internal(error.to_string());
        }
        let hint = match error.limit_flag() {
            Some(flag) => format!("leave out what the build does not need (.gitignore works), or raise the server's {flag}"),
            None if error.is_over_limit() => "leave it out (.gitignore works); the server takes none that is larger".to_owned(),
            None => "deploy with cargo shuttle, which packs what the server takes".to_owned(),
        };
        Self::new(ErrorCode::BadArchive, error.to_string()).hint(hint)
    }
}

impl From<InvalidName> for Error {
    fn from(error: InvalidName) -> Self {
        Self::new(ErrorCode::InvalidName, error.to_string()).hint("choose another name: `cargo shuttle deploy --name my-app`")
    }
}

impl From<InvalidSecrets> for Error {
    fn from(error: InvalidSecrets) -> Self {
        Self::new(ErrorCode::InvalidSecrets, error.to_string()).hint("change it in Secrets.toml and deploy again")
    }
}

impl From<VaultError> for Error {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Db(error) => error.into(),
            VaultError::Io { error: inner, .. } if is_disk_full(&inner) => inner.into(),
            error => {
                let inside = error.to_string();
                Self { inside: Some(inside.clone()), ..Self::new(ErrorCode::Internal, inside).hint(error.hint()) }
            }
        }
    }
}

impl IntoResponse for Error {
    /// The body is written by [`render`], which knows the request.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives an error its body, and logs its inside. Errors of extractors, which have no code of ours, get one.
pub(super) fn render(mut response: Response, request_id: &str, method: &Method, path: &str) -> Response {
    let status = response.status();
    if status.is_success() || status.is_informational() {
        return response;
    }
    let error = response.extensions_mut().remove::<Error>().unwrap_or_else(|| match status {
        StatusCode::NOT_FOUND => Error::not_found(format!("the API has no path `{}`", shown(path))),
        StatusCode::METHOD_NOT_ALLOWED => Error::method_not_allowed(method),
        status if status.is_client_error() => Error::bad_request(format!("the request was refused with {status}")),
        status => Error::internal(format!("a response with status {status}")),
    });
    match &error.inside {
        Some(inside) => tracing::error!(request_id, %method, path, inside, "{}", error.message),
        None => tracing::debug!(request_id, %method, path, "{}", error.message),
    }
    let status = error.status();
    let body = ApiError { code: error.code, message: error.message, hint: error.hint, request_id: request_id.to_owned() };
    let mut response = (status, Json(body)).into_response();
    // What is too large may not have been read: a client must not take this connection for its next request.
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
