//! Environment variables of an app, and which there may be.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Variables by their names.
pub type Env = BTreeMap<String, String>;

/// Longest name, in bytes.
pub const MAX_NAME: usize = 128;
/// Longest value, in bytes.
pub const MAX_VALUE: usize = 32 * 1024;
/// Most variables that a deployment brings, and as many that a project has beside them.
pub const MAX_VARIABLES: usize = 128;
/// All names and values of these together, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// Longest body of `PATCH /projects/{name}/env`, in bytes: JSON may need six for one of a value's.
pub const MAX_BODY: usize = 512 * 1024;

/// Names that are the platform's, with what to do instead.
const RESERVED: [(&str, &str); 5] = [
    ("PATH", "the platform sets it"),
    ("HOME", "the platform sets it to the app's own folder"),
    ("PORT", "the platform gives an app its listening socket, and no variable says where to listen"),
    ("GLIBC_TUNABLES", "the platform sets it, so that every allocator can be loaded"),
    ("PLATFORM_SERVER_INSTANCE", "the platform finds its processes by it"),
];
/// Beginnings of names that are the loader's or the platform's.
const RESERVED_PREFIXES: [(&str, &str); 2] =
    [("LD_", "it would change how the app is loaded"), ("SHUTTLE_", "names with this beginning are the platform's")];

/// Body of `PATCH /projects/{name}/env`. A name that is in both is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvChange {
    #[serde(default)]
    pub set: Env,
    #[serde(default)]
    pub unset: Vec<String>,
}

/// A project's variables, as its next instance gets them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variables {
    /// Kept for the project on the server; they go before those of a deployment.
    pub project: Env,
    /// Those that came with the deployment that serves, or else with the newest one.
    pub deployment: Env,
}

impl Variables {
    /// What an instance gets of them.
    #[must_use]
    pub fn merged(&self) -> Env {
        self.deployment.iter().chain(&self.project).map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// Why variables are refused. No value stands in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEnv {
    #[error(
        "`{0}` cannot be the name of an environment variable: it must be 1 to {MAX_NAME} characters of A-Z, a-z, 0-9 and `_`, and not begin with a digit"
    )]
    Name(String),
    #[error("the environment variable `{name}` cannot be set: {why}")]
    Reserved { name: String, why: &'static str },
    #[error("the value of the environment variable `{0}` has a zero byte in it")]
    Zero(String),
    #[error("the environment variable `{name}` has {bytes} bytes, and {MAX_VALUE} are the most that one may have")]
    TooLong { name: String, bytes: usize },
    #[error("there are {0} environment variables, and {MAX_VARIABLES} are the most that there may be")]
    TooMany(usize),
    #[error("the environment variables have {0} bytes, and {MAX_BYTES} are the most that all may have together")]
    TooLarge(usize),
}

impl InvalidEnv {
    /// What to do instead.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TooLong { .. } | Self::TooMany(_) | Self::TooLarge(_) => {
                Some("deploy larger settings as a file: an app runs in its package's folder".to_owned())
            }
            Self::Name(_) | Self::Reserved { .. } | Self::Zero(_) => None,
        }
    }
}

/// Whether an app may have this variable.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_variable(name: &str, value: &str) -> Result<(), InvalidEnv> {
    let is_of_a_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let begins_well = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if !is_of_a_name || !begins_well || name.len() > MAX_NAME {
        return Err(InvalidEnv::Name(name.chars().take(MAX_NAME).collect()));
    }
    let reserved = RESERVED.iter().find(|(reserved, _)| *reserved == name);
    if let Some((_, why)) = reserved.or_else(|| RESERVED_PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix))) {
        return Err(InvalidEnv::Reserved { name: name.to_owned(), why });
    }
    if value.contains('\0') {
        return Err(InvalidEnv::Zero(name.to_owned()));
    }
    if value.len() > MAX_VALUE {
        return Err(InvalidEnv::TooLong { name: name.to_owned(), bytes: value.len() });
    }
    Ok(())
}

/// Whether an app may have all of these.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(env: &Env) -> Result<(), InvalidEnv> {
    if env.len() > MAX_VARIABLES {
        return Err(InvalidEnv::TooMany(env.len()));
    }
    env.iter().try_for_each(|(name, value)| check_variable(name, value))?;
    let bytes = env.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_BYTES { Err(InvalidEnv::TooLarge(bytes)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(variables: impl IntoIterator<Item = (&'a str, String)>) -> Env {
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn names_that_are_the_platforms_or_none_are_refused() {
        for name in ["RUST_LOG", "_", "a", "LANG", "TZ", "PORTS", "MY_PATH"] {
            assert_eq!(check_variable(name, "x"), Ok(()), "{name}");
        }
        for name in ["", "1A", "a-b", "a b", "é", "A=B", &"a".repeat(MAX_NAME + 1)] {
            assert!(matches!(check_variable(name, "x"), Err(InvalidEnv::Name(_))), "{name}");
        }
        for name in
            ["PATH", "HOME", "PORT", "GLIBC_TUNABLES", "LD_PRELOAD", "LD_AUDIT", "SHUTTLE_LAUNCH_FD", "PLATFORM_SERVER_INSTANCE"]
        {
            assert!(matches!(check_variable(name, "x"), Err(InvalidEnv::Reserved { .. })), "{name}");
        }
        assert_eq!(check_variable("A", "x\0y"), Err(InvalidEnv::Zero("A".into())));
    }

    #[test]
    fn each_limit_is_met_exactly() {
        let many = |count: usize| (0..count).map(|number| (format!("V{number}"), String::new())).collect::<Env>();
        assert_eq!(check(&many(MAX_VARIABLES)), Ok(()));
        assert_eq!(check(&many(MAX_VARIABLES + 1)), Err(InvalidEnv::TooMany(MAX_VARIABLES + 1)));
        assert_eq!(check(&of([("A", "x".repeat(MAX_VALUE))])), Ok(()));
        let long = of([("A", "x".repeat(MAX_VALUE + 1))]);
        assert_eq!(check(&long), Err(InvalidEnv::TooLong { name: "A".into(), bytes: MAX_VALUE + 1 }));
        let full = |more: usize| of([("A", "x".repeat(MAX_VALUE - 1)), ("B", "x".repeat(MAX_VALUE - 1 + more))]);
        assert_eq!(check(&full(0)), Ok(()));
        assert_eq!(check(&full(1)), Err(InvalidEnv::TooLarge(MAX_BYTES + 1)));
        let largest =
            EnvChange { set: full(0).into_keys().map(|name| (name, "\u{1}".repeat(MAX_VALUE - 1))).collect(), unset: vec![] };
        assert!(serde_json::to_vec(&largest).unwrap().len() <= MAX_BODY);
    }

    #[test]
    fn the_projects_go_before_the_deployments() {
        let variables = Variables {
            project: of([("A", "project".into())]),
            deployment: of([("A", "deployment".into()), ("B", "deployment".into())]),
        };
        assert_eq!(variables.merged(), of([("A", "project".into()), ("B", "deployment".into())]));
    }
}
