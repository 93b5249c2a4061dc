//! The manifest: what an app says of itself before it runs.
//!
//! It stands in the ELF section [`MANIFEST_SECTION`] as a sequence of records, one for each annotated crate that was
//! linked: [`RECORD_MAGIC`], a length (u32, little endian), and so many bytes of JSON.

use serde::{Deserialize, Serialize};

/// Name of the section.
pub const MANIFEST_SECTION: &str = ".shuttle.manifest";
/// Version of the JSON's meaning.
///
/// 2 added background services, settings and options; a server reads all versions up to its own.
pub const MANIFEST_VERSION: u32 = 2;
/// First bytes of each record.
pub const RECORD_MAGIC: [u8; 4] = *b"SHMF";

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`] of the SDK that wrote it.
    pub manifest: u32,
    /// The SDK's version.
    pub sdk: String,
    /// The annotated crate, underscores for hyphens.
    #[serde(rename = "crate")]
    pub crate_name: String,
    pub service: ServiceManifest,
    /// What the parameters need, in their order. A parameter that is made of several things has an entry for each.
    pub resources: Vec<ResourceManifest>,
}

/// What is served, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceManifest {
    /// Name of the framework: `axum`, `rocket`.
    pub framework: String,
    pub kind: Kind,
    pub listen: Listen,
    /// What the annotation asks for.
    #[serde(default)]
    pub settings: Settings,
}

/// What an annotation asks for beyond its function: `#[shuttle_service::main(always_on, …)]`. `None` is the platform's
/// default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// After so many seconds without a request the app may be put to sleep.
    pub idle_timeout_s: Option<u64>,
    /// Never put to sleep.
    pub always_on: Option<bool>,
    /// The path that is asked before requests are sent to a new instance; it has to answer with a status of 2xx or 3xx.
    pub health_path: Option<String>,
    /// Most memory of one instance, in bytes.
    pub memory_bytes: Option<u64>,
    /// How many instances run.
    pub instances: Option<u32>,
}

/// What the platform does with the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It serves HTTP; the proxy sends it requests.
    Http,
    /// It listens on nothing, always runs, and is sent no requests.
    Background,
}

/// Which listening socket the service wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listen {
    /// An inherited Unix socket.
    Unix,
    /// An inherited TCP socket on loopback.
    Tcp,
    /// None: it binds a loopback port by itself and reports it when ready.
    Own,
    /// None at all: a background service.
    None,
}

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceManifest {
    /// The parameter's name. Where it is made of several things, it is followed by `.` and the part's place in it:
    /// `mailer.0`, `mailer.1`; the secrets that its options refer to are `mailer.secrets`.
    pub name: String,
    /// The resource's type: `postgres`, `redis`, `secrets`, `persist`, `metadata`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Those of its options that are the platform's to honour; an empty object where there are none. Values are strings,
    /// integers, booleans, or arrays of strings.
    #[serde(default)]
    pub options: serde_json::Map<String, serde_json::Value>,
}

/// Why a section is no sequence of manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestError {
    /// Not laid out as records.
    Malformed(String),
    /// Written by a newer SDK than this reader.
    Newer { found: u32, sdk: String },
}

impl std::fmt::Display for ManifestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "the section {MANIFEST_SECTION} is malformed: {why}"),
            Self::Newer { found, sdk } => write!(
                f,
                "the app's manifest has version {found}; this platform reads up to version {MANIFEST_VERSION}: update platform-server to {sdk} or later, or use an older shuttle-service"
            ),
        }
    }
}

impl std::error::Error for ManifestError {}

/// What every version of a manifest has.
#[derive(Deserialize)]
struct Envelope {
    manifest: u32,
    sdk: String,
}

impl Manifest {
    /// Reads all records of a section.
    ///
    /// # Errors
    /// [`ManifestError::Malformed`] for anything but whole records, [`ManifestError::Newer`] for a record whose
    /// version is above [`MANIFEST_VERSION`].
    pub fn parse_section(mut section: &[u8]) -> Result<Vec<Self>, ManifestError> {
        let malformed = |why: &str| ManifestError::Malformed(why.to_owned());
        let mut manifests = Vec::new();
        while !section.is_empty() {
            let rest = section.strip_prefix(&RECORD_MAGIC).ok_or_else(|| malformed("a record does not start with its magic"))?;
            let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| malformed("a record has no length"))?;
            let length = u32::from_le_bytes(*length) as usize;
            let (json, rest) = rest.split_at_checked(length).ok_or_else(|| malformed("a record is longer than the section"))?;
            manifests.push(Self::parse(json)?);
            section = rest;
        }
        Ok(manifests)
    }

    fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        let malformed = |error: serde_json::Error| ManifestError::Malformed(told(&error.to_string()));
        let envelope: Envelope = serde_json::from_slice(json).map_err(malformed)?;
        if envelope.manifest > MANIFEST_VERSION {
            return Err(ManifestError::Newer { found: envelope.manifest, sdk: told(&envelope.sdk) });
        }
        serde_json::from_slice(json).map_err(malformed)
    }
}

/// A text with parts of a manifest in it, which may be anybody's: cut, and fit for a terminal.
fn told(text: &str) -> String {
    const LONGEST: usize = 300;
    let mut told = String::new();
    for c in text.chars().take(LONGEST) {
        if c.is_control() {
            told.extend(c.escape_default());
        } else {
            told.push(c);
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        told.push('…');
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: &str) -> Vec<u8> {
        let mut bytes = RECORD_MAGIC.to_vec();
        bytes.extend((json.len() as u32).to_le_bytes());
        bytes.extend(json.as_bytes());
        bytes
    }

    const JSON: &str = r#"{"manifest":1,"sdk":"0.1.0","crate":"a","service":{"framework":"axum","kind":"http","listen":"unix"},
        "resources":[{"name":"pool","type":"postgres","options":{}}]}"#;

    #[test]
    fn records_follow_each_other() {
        let section = [record(JSON), record(JSON)].concat();
        let manifests = Manifest::parse_section(&section).unwrap();
        assert_eq!(manifests.len(), 2);
        assert_eq!(manifests[0].resources[0].kind, "postgres");
        assert_eq!(manifests[0].service.listen, Listen::Unix);
    }

    #[test]
    fn a_newer_manifest_names_its_version_even_when_the_rest_is_unknown() {
        let error = Manifest::parse_section(&record(r#"{"manifest":9,"sdk":"9.1.0"}"#)).unwrap_err();
        assert_eq!(error, ManifestError::Newer { found: 9, sdk: "9.1.0".into() });
    }

    #[test]
    fn what_a_manifest_says_is_cut_in_errors() {
        let long = "x".repeat(100_000);
        for json in [JSON.replace("unix", &long), format!(r#"{{"manifest":9,"sdk":"{long}"}}"#)] {
            let error = Manifest::parse_section(&record(&json)).unwrap_err().to_string();
            assert!(error.contains("xxx") && error.len() < 600, "{} bytes", error.len());
        }
        let error = Manifest::parse_section(&record(&JSON.replace("unix", r"\u001b[2J"))).unwrap_err().to_string();
        assert!(error.contains(r"\u{1b}[2J") && !error.contains('\u{1b}'), "{error}");
    }

    #[test]
    fn every_cut_of_a_section_is_refused() {
        let section = record(JSON);
        for end in 1..section.len() {
            assert!(matches!(Manifest::parse_section(&section[..end]), Err(ManifestError::Malformed(_))), "cut at {end}");
        }
    }
}
