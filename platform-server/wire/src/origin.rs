//! Where a deployment is from: which repository, or which folder.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most identifiers of an origin.
pub const MAX_IDS: usize = 16;
/// Longest identifier, in bytes.
pub const MAX_ID: usize = 1024;

/// What tells the folder that something was deployed from apart from others. The same project has several identifiers, and
/// not everywhere all of them (a shallow clone, a checkout that was moved), so one in common is enough to be the same.
///
/// | Identifier | Of |
/// |---|---|
/// | `git:HOST/PATH#FOLDER` | a repository's remote, without scheme and credentials, and the package's folder in it |
/// | `commit:ID#FOLDER` | a repository's first commit |
/// | `folder:MACHINE:PATH` | a folder on a machine |
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Origin(Vec<String>);

impl Origin {
    /// Of these identifiers, as many as an origin may have.
    #[must_use]
    pub fn new(ids: impl IntoIterator<Item = String>) -> Self {
        let fits = |id: &String| !id.is_empty() && id.len() <= MAX_ID && !id.contains(char::is_control);
        Self(ids.into_iter().filter(fits).take(MAX_IDS).collect())
    }

    /// Nobody said where it is from.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the two may be the same. An unknown one may be any.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.is_unknown() || other.is_unknown() || self.0.iter().any(|id| other.0.contains(id))
    }

    /// Identified by what identifies either.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        let new: Vec<_> = other.0.into_iter().filter(|id| !self.0.contains(id)).collect();
        self.0.extend(new);
        self
    }

    /// As the parameter `origin` of `POST /deploy` has it: one identifier a line.
    #[must_use]
    pub fn to_query(&self) -> String {
        self.0.join("\n")
    }

    /// From the parameter `origin`.
    #[must_use]
    pub fn from_query(text: &str) -> Self {
        Self::new(text.split('\n').map(str::to_owned))
    }
}

/// The one that says most to a person.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |prefix: &str| self.0.iter().find_map(|id| id.strip_prefix(prefix));
        let within = |id: &str| match id.split_once('#') {
            Some((repository, folder)) if !folder.is_empty() => format!("{repository} ({folder})"),
            _ => id.trim_end_matches('#').to_owned(),
        };
        if let Some(id) = of("git:") {
            write!(f, "the repository {}", within(id))
        } else if let Some(id) = of("folder:") {
            write!(f, "the folder {}", id.split_once(':').map_or(id, |(_, path)| path))
        } else if let Some(id) = of("commit:") {
            write!(f, "a repository whose first commit is {}", within(id))
        } else {
            f.write_str("an unknown place")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(ids: &[&str]) -> Origin {
        Origin::new(ids.iter().map(|id| (*id).to_owned()))
    }

    #[test]
    fn one_identifier_in_common_is_the_same() {
        let clone = origin(&["git:host/me/app#", "commit:1#", "folder:m:/srv/me/app"]);
        assert!(clone.is_same(&origin(&["git:host/me/app#", "folder:ci:/tmp/1"])));
        assert!(!clone.is_same(&origin(&["git:host/me/app#other", "folder:m:/srv/me/other"])));
        assert!(clone.is_same(&Origin::default()) && Origin::default().is_same(&clone));
        let either = origin(&["folder:m:/a"]).or(origin(&["folder:m:/b", "folder:m:/a"]));
        assert_eq!(either, origin(&["folder:m:/a", "folder:m:/b"]));
    }

    #[test]
    fn a_query_gives_it_back_and_nothing_too_long() {
        let sent = origin(&["git:host/me/app#", "folder:m:/srv/me and you/app"]);
        assert_eq!(Origin::from_query(&sent.to_query()), sent);
        assert!(Origin::from_query("").is_unknown() && Origin::from_query(&"x".repeat(MAX_ID + 1)).is_unknown());
        assert_eq!(Origin::from_query(&"x\n".repeat(100)).0.len(), MAX_IDS);
    }

    #[test]
    fn a_person_is_told_the_repository_or_the_folder() {
        for (ids, said) in [
            (&["git:host/me/app#", "folder:m:/srv/me/app"][..], "the repository host/me/app"),
            (&["git:host/me/app#services/api"], "the repository host/me/app (services/api)"),
            (&["commit:12ab#", "folder:m:/srv/me/app"], "the folder /srv/me/app"),
            (&["commit:12ab#"], "a repository whose first commit is 12ab"),
            (&[], "an unknown place"),
        ] {
            assert_eq!(origin(ids).to_string(), said);
        }
    }
}
