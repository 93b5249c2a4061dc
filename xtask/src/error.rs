//! What goes wrong in xtask: a message, and where there is one, what to do next.

use std::{fmt, io, path::Path};

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// A message for the user. Nobody matches on it, so it is one struct and not an enum.
#[derive(Debug)]
pub(crate) struct Error {
    message: String,
    pub(crate) hint: Option<String>,
    /// The user pressed Ctrl-C: not worth a log's tail.
    pub(crate) interrupted: bool,
}

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, interrupted: false }
    }

    pub(crate) fn interrupted() -> Self {
        Self { interrupted: true, ..Self::new("interrupted") }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<lexopt::Error> for Error {
    fn from(error: lexopt::Error) -> Self {
        Self::new(error.to_string()).hint("`cargo xtask help` lists what there is")
    }
}

/// Says which file an I/O error is about.
pub(crate) trait At<T> {
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|error| Error::new(format!("{}: {error}", path.display())))
    }
}
