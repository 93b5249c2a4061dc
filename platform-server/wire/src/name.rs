//! A project's name, which is also the first label of its host name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest name, in bytes: what DNS allows for one label.
pub const MAX_LENGTH: usize = 63;

/// A name that can be a DNS label: 1 to 63 of `a-z`, `0-9` and `-`, not at either end a `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProjectName(String);

/// Why a string is no [`ProjectName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot be a project's name: {why}. The name becomes a part of the address (name.domain), so it must be 1 to 63 characters of a-z, 0-9 and `-`, with no `-` at either end{}", suggestion.as_ref().map(|s| format!("; for example `{s}`")).unwrap_or_default())]
pub struct InvalidName {
    pub name: String,
    pub why: &'static str,
    /// The nearest name that is valid, where there is one.
    pub suggestion: Option<String>,
}

impl ProjectName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest valid name: lower case, other characters as `-`.
    #[must_use]
    pub fn suggest(from: &str) -> Option<Self> {
        let replaced: String =
            from.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        let cut: String = replaced.trim_matches('-').chars().take(MAX_LENGTH).collect();
        check(cut.trim_end_matches('-')).ok().map(|()| Self(cut.trim_end_matches('-').to_owned()))
    }
}

fn check(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > MAX_LENGTH {
        return Err("it is too long");
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err("it has a `-` at its start or end");
    }
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("it has an upper-case letter");
    }
    if name.contains('_') {
        return Err("it has a `_`");
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err("it has a character that no host name may have");
    }
    Ok(())
}

impl FromStr for ProjectName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        match check(name) {
            Ok(()) => Ok(Self(name.to_owned())),
            Err(why) => {
                let shown: String = name.chars().take(80).collect();
                Err(InvalidName { name: shown, why, suggestion: Self::suggest(name).map(String::from) })
            }
        }
    }
}

impl TryFrom<String> for ProjectName {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, InvalidName> {
        name.parse()
    }
}

impl From<ProjectName> for String {
    fn from(name: ProjectName) -> Self {
        name.0
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_labels_are_names() {
        for name in ["a", "my-app", "4ever", "x--y", &"a".repeat(63)] {
            assert_eq!(name.parse::<ProjectName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn other_strings_are_refused_with_the_nearest_name() {
        for (name, suggestion) in [
            ("My_App", Some("my-app")),
            ("-a-", Some("a")),
            ("", None),
            ("é", None),
            ("a.b", Some("a-b")),
            ("a/../b", Some("a----b")),
        ] {
            assert_eq!(name.parse::<ProjectName>().unwrap_err().suggestion.as_deref(), suggestion, "{name}");
        }
        assert!("a".repeat(64).parse::<ProjectName>().is_err());
    }
}
