//! The proxy's own answers: what happened, to which project, and what to do. HTML for browsers, else plain text.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{self, HeaderValue},
};

use super::{
    body::{BodyFault, ResponseBody},
    headers::OF_PROXY,
    host::HostFault,
};

/// What the proxy has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page<'a> {
    BadHost(HostFault),
    /// The first line of the request makes no sense.
    BadTarget(&'static str),
    /// The client did not send the body that it began.
    BadBody(BodyFault),
    /// CONNECT: this is no forward proxy.
    NoTunnels,
    /// The host is not `<project>.<domain>`.
    NoSuchHost {
        host: &'a str,
        domain: &'a str,
    },
    NoSuchProject {
        project: &'a str,
    },
    /// Held for as long as a request is held.
    Starting {
        project: &'a str,
    },
    Down {
        project: &'a str,
    },
    /// It serves no HTTP.
    Background {
        project: &'a str,
    },
    /// No connection to the app could be made.
    Unreachable {
        project: &'a str,
    },
    /// The app closed the connection, or what it said is not HTTP.
    Broken {
        project: &'a str,
    },
    /// The app did not begin to answer within this time.
    TooSlow {
        project: &'a str,
        limit: Duration,
    },
    /// The app has as many requests as one may have.
    Busy {
        project: &'a str,
        limit: usize,
    },
    /// The client has as many requests as one may have.
    TooMany {
        limit: usize,
    },
    /// All apps together have as many requests as the server takes.
    Full {
        limit: usize,
    },
}

struct Text {
    status: StatusCode,
    /// Value of `x-shuttle-proxy`.
    tag: &'static str,
    title: String,
    /// Paragraphs.
    body: Vec<String>,
}

/// Seconds after which to try again, said with 503.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

impl Page<'_> {
    /// The page as an answer to a request with these headers.
    pub(super) fn answer(self, request: &HeaderMap) -> Response<ResponseBody> {
        let text = self.text();
        let (kind, content) = if wants_html(request) {
            ("text/html; charset=utf-8", text.html())
        } else {
            ("text/plain; charset=utf-8", text.plain())
        };
        let mut response = Response::new(ResponseBody::Page(Full::new(Bytes::from(content))));
        *response.status_mut() = text.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(OF_PROXY, HeaderValue::from_static(text.tag));
        if text.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }

    fn text(self) -> Text {
        let of = |status, tag, title: &str, body: &[String]| Text { status, tag, title: title.to_owned(), body: body.to_vec() };
        let look = |project: &str| {
            format!(
                "If it is yours: `cargo shuttle status --name {project}` says how it is, `cargo shuttle logs --name {project}` what it printed."
            )
        };
        match self {
            Self::BadHost(fault) => {
                let what = match fault {
                    HostFault::Missing => "The request names no host.",
                    HostFault::Several => "The request names more than one host.",
                    HostFault::Malformed => "The host that the request names is no host name.",
                };
                of(StatusCode::BAD_REQUEST, "bad-request", "Bad request", &[what.into()])
            }
            Self::BadTarget(what) => of(StatusCode::BAD_REQUEST, "bad-request", "Bad request", &[what.into()]),
            Self::BadBody(BodyFault::Broken) => of(
                StatusCode::BAD_REQUEST,
                "bad-request",
                "Bad request",
                &["The request's body is malformed, or shorter than it was announced.".into()],
            ),
            Self::BadBody(BodyFault::TooSlow(pace)) => of(
                StatusCode::REQUEST_TIMEOUT,
                "slow-body",
                "The body did not come",
                &[format!(
                    "A request's body may pause for {} s, and must come at {} bytes a second; this one did not. The server's owner can raise `--body-timeout`.",
                    pace.timeout.as_secs(),
                    pace.rate
                )],
            ),
            Self::NoTunnels => of(
                StatusCode::METHOD_NOT_ALLOWED,
                "bad-request",
                "Not a forward proxy",
                &["CONNECT is not supported here.".into()],
            ),
            Self::NoSuchHost { host, domain } => of(
                StatusCode::NOT_FOUND,
                "not-found",
                "No app at this address",
                &[
                    format!("There is no app at `{host}`. Apps answer at `<project>.{domain}`."),
                    "`cargo shuttle status`, run in a project's folder, says where it answers.".into(),
                ],
            ),
            Self::NoSuchProject { project } => of(
                StatusCode::NOT_FOUND,
                "not-found",
                "No such app",
                &[
                    format!("No app named `{project}` is deployed here."),
                    "To put one here, run `cargo shuttle deploy` in its folder; `cargo shuttle status` says how a deployment is."
                        .into(),
                ],
            ),
            Self::Starting { project } => of(
                StatusCode::SERVICE_UNAVAILABLE,
                "starting",
                "Still starting",
                &[format!("The app `{project}` is starting and was not ready in time. Try again in a moment."), look(project)],
            ),
            Self::Background { project } => of(
                StatusCode::NOT_FOUND,
                "background",
                "A background service",
                &[format!("The app `{project}` is a background service: it runs, and serves no HTTP."), look(project)],
            ),
            Self::Down { project } => of(
                StatusCode::BAD_GATEWAY,
                "down",
                "Not running",
                &[format!("The app `{project}` is not running."), look(project)],
            ),
            Self::Unreachable { project } => of(
                StatusCode::BAD_GATEWAY,
                "unreachable",
                "Not reachable",
                &[format!("The app `{project}` takes no connections."), look(project)],
            ),
            Self::Broken { project } => of(
                StatusCode::BAD_GATEWAY,
                "broken",
                "No answer",
                &[format!("The app `{project}` ended the connection before it had answered."), look(project)],
            ),
            Self::TooSlow { project, limit } => of(
                StatusCode::GATEWAY_TIMEOUT,
                "timeout",
                "No answer in time",
                &[
                    format!(
                        "The app `{project}` took the request and did not begin to answer it within {} s. Longer work can begin its answer early and stream it, or go on in a background task; the server's owner can raise `--response-timeout`.",
                        limit.as_secs_f64()
                    ),
                    look(project),
                ],
            ),
            Self::Busy { project, limit } => of(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "Too many requests",
                &[
                    format!(
                        "The app `{project}` has {limit} requests and open streams already, as many as one app may have. The server's owner can raise `--max-requests-per-app`."
                    ),
                    look(project),
                ],
            ),
            Self::TooMany { limit } => of(
                StatusCode::SERVICE_UNAVAILABLE,
                "too-many-connections",
                "Too many requests",
                &[format!(
                    "This address has {limit} requests and connections already, as many as one may have. The server's owner can raise `--max-connections-per-client`."
                )],
            ),
            Self::Full { limit } => of(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "Too many requests",
                &[format!(
                    "The server has {limit} requests already, as many as it takes. Its owner can raise `--max-connections`."
                )],
            ),
        }
    }
}

impl Text {
    fn heading(&self) -> String {
        format!("{}: {}", self.status.as_u16(), self.title)
    }

    fn plain(&self) -> String {
        format!("{}\n\n{}\n", self.heading(), self.body.join("\n"))
    }

    fn html(&self) -> String {
        let heading = escape(&self.heading());
        let body: String = self.body.iter().map(|paragraph| format!("<p>{}</p>\n", with_code(&escape(paragraph)))).collect();
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{heading}</title>\
             <meta name=\"viewport\" content=\"width=device-width\">\
             <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}}\
             code{{background:#8882;padding:.1em .3em}}</style></head>\n<body><h1>{heading}</h1>\n{body}</body></html>\n"
        )
    }
}

fn wants_html(request: &HeaderMap) -> bool {
    let accepts = request.get_all(header::ACCEPT).iter();
    accepts.filter_map(|value| value.to_str().ok()).any(|value| value.to_ascii_lowercase().contains("text/html"))
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
        escaped
    })
}

/// Text between backquotes as code; of escaped text, since this writes tags.
fn with_code(escaped: &str) -> String {
    let parts = escaped.split('`').enumerate();
    parts.map(|(i, part)| if i % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_client_wrote_is_escaped() {
        let html = Page::NoSuchProject { project: "<script>'\"&" }.text().html();
        assert!(html.contains("<code>&lt;script&gt;&#39;&quot;&amp;</code>"), "{html}");
        assert!(!html.contains("<script"));
    }

    #[test]
    fn every_page_of_an_app_names_it_and_what_to_do() {
        let project = "my-app";
        for page in [
            Page::Starting { project },
            Page::Down { project },
            Page::Background { project },
            Page::Unreachable { project },
            Page::Broken { project },
            Page::TooSlow { project, limit: Duration::from_secs(120) },
            Page::Busy { project, limit: 1536 },
        ] {
            let plain = page.text().plain();
            assert!(plain.contains("`my-app`") && plain.contains("cargo shuttle logs"), "{plain}");
        }
    }
}
