//! The public addresses of apps.

use platform_wire::ProjectName;

/// How an app's address is made from its name.
#[derive(Debug, Clone)]
pub(crate) struct AppAddress {
    domain: String,
    port: u16,
}

impl AppAddress {
    pub(crate) fn new(domain: &str, port: u16) -> Self {
        Self { domain: domain.to_owned(), port }
    }

    /// `my-app.example.com`, with the port where it is not HTTP's own.
    pub(crate) fn host(&self, project: &ProjectName) -> String {
        match self.port {
            80 => format!("{project}.{}", self.domain),
            port => format!("{project}.{}:{port}", self.domain),
        }
    }

    /// The shape of all addresses, for people.
    pub(crate) fn pattern(&self) -> String {
        match self.port {
            80 => format!("http://NAME.{}", self.domain),
            port => format!("http://NAME.{}:{port}", self.domain),
        }
    }

    /// Without a trailing slash.
    pub(crate) fn url(&self, project: &ProjectName) -> String {
        format!("http://{}", self.host(project))
    }
}
