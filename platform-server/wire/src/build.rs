//! How a deployment is built.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Which builds a deployment is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildMode {
    /// The profile that the project chose, made incremental and without link-time optimisation: the soonest live.
    Fast,
    /// The profile as it stands; live once that is done.
    Optimised,
    /// The fast build goes live. The optimised one is made when the server has nothing else to do, and takes its place at
    /// the next start of the app.
    #[default]
    Both,
}

/// No [`BuildMode`] is called so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way to build; there are fast, optimised and both")]
pub struct UnknownMode(pub String);

impl BuildMode {
    pub const ALL: [Self; 3] = [Self::Fast, Self::Optimised, Self::Both];

    /// The mode's name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Optimised => "optimised",
            Self::Both => "both",
        }
    }

    /// The build that goes live first.
    #[must_use]
    pub fn first(self) -> BuildKind {
        match self {
            Self::Fast | Self::Both => BuildKind::Fast,
            Self::Optimised => BuildKind::Optimised,
        }
    }
}

impl fmt::Display for BuildMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BuildMode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == name).ok_or_else(|| UnknownMode(name.chars().take(80).collect()))
    }
}

/// How one artifact was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildKind {
    #[default]
    Fast,
    Optimised,
    #[serde(other)]
    Other,
}

impl BuildKind {
    /// The kind's name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Optimised => "optimised",
            Self::Other => "other",
        }
    }
}

/// What has become of the optimised build that follows a fast one ([`BuildMode::Both`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LaterBuild {
    /// It is made when the server has nothing else to do.
    Waiting,
    /// The app's next start is from it.
    Ready,
    /// There is none, and none is tried again: the fast build goes on serving.
    Failed {
        /// One sentence.
        message: String,
    },
    #[serde(other)]
    Other,
}
