//! Finds the package that a command is about, and checks that it can be deployed. Reads manifests and sources through the
//! `cargo` library; never sends anything, and writes nothing but a lockfile, when it is told to.

mod advice;
mod detect;
mod differs;
mod function;
pub(crate) mod git;
mod locate;
mod origin;
mod plan;
mod problem;
mod secrets;
mod settings;

pub(crate) use differs::differences;
pub(crate) use git::Repo;
pub(crate) use locate::{cargo_path, context, locate, locate_all, workspace};
pub(crate) use origin::origin;
pub(crate) use plan::{Needs, PathDependency, Plan, plan};
pub(crate) use problem::{ProjectError, unreadable_hint};
pub(crate) use secrets::{Secrets, SecretsError};
pub(crate) use settings::{FILE_NAME as SETTINGS_FILE, Settings, SettingsError};

/// The package that a user's crate depends on.
const SDK: &str = "shuttle-service";
