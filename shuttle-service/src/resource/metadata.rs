//! What the platform knows of the app.

use super::{Accepts, Needs, Parameter, Slot};
use crate::{Error, VERSION};

/// What the platform knows of the app: its project, deployment and URL.
///
/// ```
/// use shuttle_service::Metadata;
///
/// async fn app(metadata: Metadata) -> shuttle_service::ShuttleAxum {
///     println!("{} is at {}", metadata.project(), metadata.url());
///     Ok(axum::Router::new())
/// }
///
/// // In a test:
/// # let _ =
/// app(Metadata::local("my-app"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    project: String,
    deployment: String,
    url: String,
    environment: String,
}

impl Metadata {
    /// For tests, and for running without the platform: an app at no URL, in the environment `local`.
    ///
    /// ```
    /// let metadata = shuttle_service::Metadata::local("my-app");
    /// assert_eq!((metadata.project(), metadata.environment(), metadata.url()), ("my-app", "local", ""));
    /// ```
    #[must_use]
    pub fn local(project: impl Into<String>) -> Self {
        Self { project: project.into(), deployment: String::new(), url: String::new(), environment: "local".to_owned() }
    }

    /// The same with a URL, for tests of what is made of it.
    ///
    /// ```
    /// let metadata = shuttle_service::Metadata::local("my-app").with_url("http://localhost:3000/");
    /// assert_eq!(format!("{}/login", metadata.url()), "http://localhost:3000/login");
    /// ```
    #[must_use]
    pub fn with_url(mut self, url: &str) -> Self {
        self.url = url.trim_end_matches('/').to_owned();
        self
    }

    /// The project's name: the first label of its host name.
    ///
    /// ```
    /// let metadata = shuttle_service::Metadata::local("my-app");
    /// assert_eq!(format!("mails from {}", metadata.project()), "mails from my-app");
    /// ```
    #[must_use]
    pub fn project(&self) -> &str {
        &self.project
    }

    /// Id of the deployment that runs.
    ///
    /// ```
    /// /// For the header of every response.
    /// fn version(metadata: &shuttle_service::Metadata) -> String {
    ///     format!("{}/{}", metadata.project(), metadata.deployment())
    /// }
    /// ```
    #[must_use]
    pub fn deployment(&self) -> &str {
        &self.deployment
    }

    /// The app's public URL, without a slash at its end.
    ///
    /// ```
    /// fn callback(metadata: &shuttle_service::Metadata) -> String {
    ///     format!("{}/oauth/callback", metadata.url())
    /// }
    /// ```
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `production` on a server of the platform's, `local` elsewhere.
    ///
    /// ```
    /// let metadata = shuttle_service::Metadata::local("my-app");
    /// let secure_cookies = metadata.environment() != "local";
    /// assert!(!secure_cookies);
    /// ```
    #[must_use]
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// Version of shuttle-service in the app.
    ///
    /// ```
    /// let metadata = shuttle_service::Metadata::local("my-app");
    /// println!("built with shuttle-service {}", metadata.sdk_version());
    /// # assert!(metadata.sdk_version().starts_with(|first: char| first.is_ascii_digit()));
    /// ```
    #[must_use]
    pub fn sdk_version(&self) -> &'static str {
        VERSION
    }
}

impl Parameter for Metadata {
    const NEEDS: Needs = Needs::One { kind: "metadata", options: &[] };
    const ACCEPTS: Accepts = Accepts::NONE;

    async fn take(slot: Slot<'_>) -> Result<Self, Error> {
        slot.data("metadata")?;
        let given = slot.given();
        Ok(Self {
            project: given.project.clone(),
            deployment: given.deployment.clone(),
            url: given.url.clone(),
            environment: given.environment.clone(),
        })
    }
}
