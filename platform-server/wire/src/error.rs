//! The body of every answer that is not a success.

use serde::{Deserialize, Serialize};

/// What went wrong, in a form to match on, and in one to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub code: ErrorCode,
    /// One sentence for the user.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Stands in the server's log beside the inside of the error.
    #[serde(default)]
    pub request_id: String,
}

/// The kinds of errors. A client that does not know one reads it as [`ErrorCode::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// 401: no key, or a wrong one.
    Unauthorized,
    /// 404: no such project, deployment or path.
    NotFound,
    /// 400: a parameter or header is wrong.
    BadRequest,
    /// 400: the project's name is no DNS label.
    InvalidName,
    /// 400: a secret's name or size is not allowed; the message names it.
    InvalidSecrets,
    /// 400: the project has no set of secrets with this id.
    UnknownSecrets,
    /// 422: the archive is broken or hostile; the message names the entry.
    BadArchive,
    /// 422: the app does not start.
    NotStarted,
    /// 413: the archive is over the limit.
    TooLarge,
    /// 405: this path has no such method.
    MethodNotAllowed,
    /// 409: the state of the thing does not allow this now.
    Conflict,
    /// 409: the project was deployed from another folder or repository, and nobody said that it may be replaced.
    OtherOrigin,
    /// 429: a limit on waiting deployments is reached.
    TooManyRequests,
    /// 507: the server's disk is full.
    DiskFull,
    /// 503: the server is stopping.
    Unavailable,
    /// 500: a fault of the server's; its log has the rest.
    Internal,
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_code_is_read_as_other() {
        let error: ApiError = serde_json::from_str(r#"{"code":"brand_new","message":"m"}"#).unwrap();
        assert_eq!(error.code, ErrorCode::Other);
        assert_eq!(error.hint, None);
    }
}
