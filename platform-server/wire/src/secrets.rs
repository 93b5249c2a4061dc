//! A project's secrets on their way to the server, and what may be in them.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// Longest name, in bytes.
pub const MAX_NAME: usize = 128;
/// Most secrets in a set.
pub const MAX_SECRETS: usize = 256;
/// Longest value, in bytes.
pub const MAX_VALUE: usize = 32 * 1024;
/// All values of a set together, in bytes.
pub const MAX_VALUES: usize = 256 * 1024;
/// Longest body of `PUT /projects/{name}/secrets`, in bytes: JSON may need six for one of a value's.
pub const MAX_BODY: usize = 2 * 1024 * 1024;

/// Body of `PUT /projects/{name}/secrets`: all secrets of the project, by their names.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    pub secrets: BTreeMap<String, String>,
}

/// Their names only.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.secrets.keys()).finish()
    }
}

/// Answer to `PUT /projects/{name}/secrets`: a new set, which no deployment uses yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretSet {
    /// Opaque; `POST /deploy` takes it as `secrets`.
    pub id: String,
    /// How many secrets it has.
    pub count: usize,
}

/// Why secrets are refused. No value stands in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecrets {
    #[error(
        "`{0}` cannot be a secret's name: it must be 1 to {MAX_NAME} characters of A-Z, a-z, 0-9 and `_`, and not begin with a digit"
    )]
    Name(String),
    #[error("there are {0} secrets, and {MAX_SECRETS} are the most that a project may have")]
    TooMany(usize),
    #[error("the secret `{name}` has {bytes} bytes, and {MAX_VALUE} are the most that one may have")]
    TooLong { name: String, bytes: usize },
    #[error("the secrets have {0} bytes, and {MAX_VALUES} are the most that all of a project may have together")]
    TooLarge(usize),
}

impl Secrets {
    /// Whether a server takes them.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), InvalidSecrets> {
        if self.secrets.len() > MAX_SECRETS {
            return Err(InvalidSecrets::TooMany(self.secrets.len()));
        }
        for (name, value) in &self.secrets {
            check_name(name)?;
            if value.len() > MAX_VALUE {
                return Err(InvalidSecrets::TooLong { name: name.clone(), bytes: value.len() });
            }
        }
        let bytes = self.secrets.values().map(String::len).sum();
        if bytes > MAX_VALUES { Err(InvalidSecrets::TooLarge(bytes)) } else { Ok(()) }
    }
}

/// Whether a secret may have this name: `[A-Za-z_][A-Za-z0-9_]*`, at most [`MAX_NAME`] bytes.
///
/// # Errors
/// [`InvalidSecrets::Name`] where it may not.
pub fn check_name(name: &str) -> Result<(), InvalidSecrets> {
    let is_of_a_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let begins_well = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if is_of_a_name && begins_well && name.len() <= MAX_NAME {
        return Ok(());
    }
    Err(InvalidSecrets::Name(name.chars().take(MAX_NAME).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(secrets: impl IntoIterator<Item = (String, String)>) -> Secrets {
        Secrets { secrets: secrets.into_iter().collect() }
    }

    #[test]
    fn names_are_those_of_variables() {
        for name in ["A", "_", "api_key", "KEY_2", &"a".repeat(MAX_NAME)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "2A", "a-b", "a b", "é", "a.b", "a\n", &"a".repeat(MAX_NAME + 1)] {
            assert!(matches!(check_name(name), Err(InvalidSecrets::Name(_))), "{name}");
        }
    }

    #[test]
    fn each_limit_is_met_exactly() {
        let many = |count: usize| of((0..count).map(|number| (format!("S{number}"), "x".to_owned())));
        assert_eq!(many(MAX_SECRETS).check(), Ok(()));
        assert_eq!(many(MAX_SECRETS + 1).check(), Err(InvalidSecrets::TooMany(MAX_SECRETS + 1)));
        let long = |bytes: usize| of([("A".to_owned(), "x".repeat(bytes))]);
        assert_eq!(long(MAX_VALUE).check(), Ok(()));
        assert_eq!(long(MAX_VALUE + 1).check(), Err(InvalidSecrets::TooLong { name: "A".into(), bytes: MAX_VALUE + 1 }));
        let full: Vec<_> = (0..MAX_VALUES / MAX_VALUE).map(|number| (format!("S{number}"), "x".repeat(MAX_VALUE))).collect();
        assert_eq!(of(full.clone()).check(), Ok(()));
        let more = full.into_iter().chain([("MORE".to_owned(), "x".to_owned())]);
        assert_eq!(of(more).check(), Err(InvalidSecrets::TooLarge(MAX_VALUES + 1)));
    }

    #[test]
    fn the_largest_set_that_is_allowed_fits_the_body() {
        let value = "\u{1}".repeat(MAX_VALUES / MAX_SECRETS);
        let secrets = of((0..MAX_SECRETS).map(|number| (format!("{:_>MAX_NAME$}", format!("S{number}")), value.clone())));
        assert_eq!(secrets.check(), Ok(()));
        assert!(serde_json::to_vec(&secrets).unwrap().len() <= MAX_BODY);
    }

    #[test]
    fn no_value_is_in_what_is_printed() {
        let secrets = of([("KEY".to_owned(), "hidden".to_owned())]);
        assert_eq!(format!("{secrets:?}"), r#"{"KEY"}"#);
    }
}
