//! The error of an annotated function: anything that says why the app cannot start or go on.

use std::{error::Error as StdError, fmt};

/// The name that apps of 2022 use for the error they make by themselves; the same type as [`Error`].
///
/// ```
/// use shuttle_service::error::CustomError;
///
/// fn port(text: &str) -> Result<u16, shuttle_service::Error> {
///     Ok(text.parse().map_err(CustomError::new)?)
/// }
/// assert_eq!(port("x").unwrap_err().to_string(), "invalid digit found in string");
/// ```
pub type CustomError = Error;

/// Why an app cannot start, or why it ended.
///
/// `?` makes one of any error, of a `String` and of a `&str`, so that an annotated function may return
/// `Result<_, shuttle_service::Error>` and use whatever libraries it likes. Its whole chain of sources stands in the
/// deployment's failure.
///
/// Like other catch-all errors it does not implement [`std::error::Error`]: otherwise it could not be made from every type
/// that does.
///
/// ```
/// fn start(text: &str) -> Result<u16, shuttle_service::Error> {
///     let port: u16 = text.parse()?;
///     if port < 1024 {
///         return Err("a port below 1024 needs root".into());
///     }
///     Ok(port)
/// }
/// assert_eq!(start("80").unwrap_err().to_string(), "a port below 1024 needs root");
/// ```
pub struct Error(Box<dyn StdError + Send + Sync>);

impl Error {
    /// Wraps an error.
    ///
    /// ```
    /// use shuttle_service::Error;
    ///
    /// let port = "x".parse::<u16>().map_err(Error::new);
    /// assert_eq!(port.unwrap_err().to_string(), "invalid digit found in string");
    /// ```
    #[must_use]
    pub fn new(error: impl StdError + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }

    /// An error that is only a message.
    ///
    /// ```
    /// use shuttle_service::Error;
    ///
    /// fn worker(name: Option<&str>) -> Result<&str, Error> {
    ///     name.ok_or_else(|| Error::msg("the worker has no name"))
    /// }
    /// assert_eq!(worker(None).unwrap_err().to_string(), "the worker has no name");
    /// ```
    #[must_use]
    pub fn msg(message: impl fmt::Display) -> Self {
        Self(message.to_string().into())
    }

    /// What was wrapped.
    ///
    /// ```
    /// use shuttle_service::Error;
    ///
    /// let error = Error::new("x".parse::<u16>().unwrap_err());
    /// assert!(error.into_inner().is::<std::num::ParseIntError>());
    /// ```
    #[must_use]
    pub fn into_inner(self) -> Box<dyn StdError + Send + Sync> {
        self.0
    }

    /// The message and those of its sources, joined with `: `. A source whose message is already the end of what stands
    /// there is left out, as many libraries repeat theirs.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.0.to_string();
        let mut source = self.0.source();
        while let Some(error) = source {
            let message = error.to_string();
            if !text.ends_with(&message) {
                text.push_str(": ");
                text.push_str(&message);
            }
            source = error.source();
        }
        text
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for Error {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the port is wrong")
        }
    }

    impl StdError for Outer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn the_chain_of_sources_is_told() {
        let error = Error::new(Outer("x".parse::<u16>().unwrap_err()));
        assert_eq!(error.chain(), "the port is wrong: invalid digit found in string");
    }

    #[test]
    fn everything_becomes_an_error() {
        fn all(n: u8) -> Result<(), Error> {
            match n {
                0 => Err("text")?,
                1 => Err(String::from("text"))?,
                2 => Err(CustomError::msg("text"))?,
                _ => Err(Box::<dyn StdError + Send + Sync>::from("text"))?,
            }
        }
        for n in 0..4 {
            assert_eq!(all(n).unwrap_err().to_string(), "text");
        }
    }
}
