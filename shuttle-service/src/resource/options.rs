//! The options of a parameter: what an attribute on it says, such as `#[shared::Postgres(max_connections = 10)]`.

use std::{collections::BTreeMap, fmt};

use super::SecretStore;
use crate::Error;

/// How a literal refers to a secret.
const OPEN: &str = "{secrets.";

/// An option as it stands in the source.
#[derive(Debug, Clone, Copy)]
pub struct OptionEntry {
    pub name: &'static str,
    pub value: OptionValue,
}

/// What an option is set to.
#[derive(Debug, Clone, Copy)]
pub enum OptionValue {
    Text(&'static str),
    Number(i64),
    Flag(bool),
    List(&'static [&'static str]),
}

impl OptionValue {
    /// Whether a `{secrets.NAME}` stands in it.
    pub(crate) const fn refers_to_secrets(&self) -> bool {
        match self {
            Self::Text(text) => refers_to_secrets(text),
            Self::Number(_) | Self::Flag(_) => false,
            Self::List(texts) => {
                let mut i = 0;
                while i < texts.len() {
                    if refers_to_secrets(texts[i]) {
                        return true;
                    }
                    i += 1;
                }
                false
            }
        }
    }
}

const fn refers_to_secrets(text: &str) -> bool {
    let (text, open) = (text.as_bytes(), OPEN.as_bytes());
    let mut start = 0;
    while start + open.len() <= text.len() {
        let mut i = 0;
        while i < open.len() && text[start + i] == open[i] {
            i += 1;
        }
        if i == open.len() {
            return true;
        }
        start += 1;
    }
    false
}

/// The options of one parameter, as a [`Resource`](super::Resource) reads them. Every `{secrets.NAME}` in a text has been
/// replaced by the secret.
///
/// ```
/// use shuttle_service::Options;
///
/// let options = Options::new().with("sender", "app@example.com").with("retries", 3).with("tls", true);
/// assert_eq!(options.text("sender").unwrap(), Some("app@example.com"));
/// assert_eq!(options.number("retries").unwrap(), Some(3));
/// assert_eq!(options.flag("tls").unwrap(), Some(true));
/// assert_eq!(options.text("subject").unwrap(), None);
/// assert_eq!(options.text("retries").unwrap_err().to_string(), "the option `retries` is a number, not a text");
/// ```
#[derive(Clone, Default)]
pub struct Options(BTreeMap<String, Value>);

#[derive(Clone)]
enum Value {
    Text(String),
    Number(i64),
    Flag(bool),
    List(Vec<String>),
}

/// What an [`Options`] can be made with: a text, a number, a flag or a list of texts.
///
/// ```
/// use shuttle_service::{IntoOption, Options};
///
/// fn only(name: &str, value: impl IntoOption) -> Options {
///     Options::new().with(name, value)
/// }
/// assert_eq!(only("retries", 3).number("retries").unwrap(), Some(3));
/// assert_eq!(only("sender", "me").text("sender").unwrap(), Some("me"));
/// ```
pub trait IntoOption: sealed::IntoValue {}

impl<T: sealed::IntoValue> IntoOption for T {}

mod sealed {
    use super::Value;

    pub trait IntoValue {
        #[expect(private_interfaces, reason = "sealed: nobody outside can name it")]
        fn into_value(self) -> Value;
    }
}

macro_rules! into_value {
    ($($from:ty, $value:ident => $made:expr;)*) => {$(
        impl sealed::IntoValue for $from {
            #[expect(private_interfaces, reason = "sealed: nobody outside can name it")]
            fn into_value(self) -> Value {
                let $value = self;
                $made
            }
        }
    )*};
}

into_value! {
    &str, text => Value::Text(text.to_owned());
    String, text => Value::Text(text);
    i64, number => Value::Number(number);
    bool, flag => Value::Flag(flag);
    &[&str], list => Value::List(list.iter().map(|text| (*text).to_owned()).collect());
}

impl Options {
    /// None.
    ///
    /// ```
    /// assert_eq!(shuttle_service::Options::new().text("sender").unwrap(), None);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These and one more. For tests: the platform takes them from the attribute on the parameter.
    ///
    /// ```
    /// use shuttle_service::Options;
    ///
    /// // As `#[resource(sender = "me", tags = ["a", "b"])]` says it.
    /// let options = Options::new().with("sender", "me").with("tags", ["a", "b"].as_slice());
    /// assert_eq!(options.text("sender").unwrap(), Some("me"));
    /// ```
    #[must_use]
    pub fn with(mut self, name: &str, value: impl IntoOption) -> Self {
        self.0.insert(name.to_owned(), value.into_value());
        self
    }

    /// An option that is a text, such as `sender = "app@example.com"`; `None` where it is not given.
    ///
    /// ```
    /// let options = shuttle_service::Options::new().with("sender", "app@example.com");
    /// assert_eq!(options.text("sender").unwrap(), Some("app@example.com"));
    /// assert_eq!(options.text("subject").unwrap(), None);
    /// ```
    ///
    /// # Errors
    /// When it is given as something else.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Error> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(other.is_not(name, "a text")),
        }
    }

    /// An option that is an integer, such as `retries = 3`; `None` where it is not given.
    ///
    /// ```
    /// let options = shuttle_service::Options::new().with("retries", 3);
    /// assert_eq!(options.number("retries").unwrap().unwrap_or(1), 3);
    /// assert_eq!(options.number("timeout").unwrap(), None);
    /// ```
    ///
    /// # Errors
    /// When it is given as something else.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Error> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(*number)),
            Some(other) => Err(other.is_not(name, "a number")),
        }
    }

    /// An option that is `true` or `false`; `None` where it is not given. `tls` alone is `tls = true`.
    ///
    /// ```
    /// let options = shuttle_service::Options::new().with("tls", true);
    /// assert_eq!(options.flag("tls").unwrap(), Some(true));
    /// assert_eq!(options.flag("verbose").unwrap(), None);
    /// ```
    ///
    /// # Errors
    /// When it is given as something else.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Error> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Flag(flag)) => Ok(Some(*flag)),
            Some(other) => Err(other.is_not(name, "`true` or `false`")),
        }
    }

    /// An option that is a list of texts, such as `tags = ["a", "b"]`; `None` where it is not given.
    ///
    /// ```
    /// use shuttle_service::Options;
    ///
    /// let options = Options::new().with("tags", ["a", "b"].as_slice());
    /// assert_eq!(options.list("tags").unwrap(), Some(["a".to_owned(), "b".to_owned()].as_slice()));
    /// ```
    ///
    /// # Errors
    /// When it is given as something else.
    pub fn list(&self, name: &str) -> Result<Option<&[String]>, Error> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::List(list)) => Ok(Some(list)),
            Some(other) => Err(other.is_not(name, "a list of texts")),
        }
    }

    /// As they stand in the source, with secrets put in their places.
    pub(crate) fn resolve(entries: &[OptionEntry], secrets: Option<&SecretStore>) -> Result<Self, Error> {
        let resolve = |text: &str| match secrets {
            Some(secrets) => interpolate(text, secrets),
            None => Ok(text.to_owned()),
        };
        let mut options = BTreeMap::new();
        for entry in entries {
            let value = match entry.value {
                OptionValue::Text(text) => Value::Text(resolve(text)?),
                OptionValue::Number(number) => Value::Number(number),
                OptionValue::Flag(flag) => Value::Flag(flag),
                OptionValue::List(texts) => Value::List(texts.iter().map(|text| resolve(text)).collect::<Result<_, _>>()?),
            };
            options.insert(entry.name.to_owned(), value);
        }
        Ok(Self(options))
    }
}

/// Their names: a value may be a secret.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Value {
    fn is_not(&self, name: &str, wanted: &str) -> Error {
        let is = match self {
            Self::Text(_) => "a text",
            Self::Number(_) => "a number",
            Self::Flag(_) => "`true` or `false`",
            Self::List(_) => "a list of texts",
        };
        Error::msg(format!("the option `{name}` is {is}, not {wanted}"))
    }
}

/// Puts secrets in the place of every `{secrets.NAME}`.
fn interpolate(text: &str, secrets: &SecretStore) -> Result<String, Error> {
    let mut resolved = String::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once(OPEN) {
        let (name, after) =
            from.split_once('}').ok_or_else(|| Error::msg(format!("`{OPEN}` has no `}}` after it in an option")))?;
        resolved.push_str(before);
        resolved.push_str(&secrets.require::<String>(name)?);
        rest = after;
    }
    resolved.push_str(rest);
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stand_in_texts() {
        let secrets = SecretStore::from_iter([("KEY", "k{secrets.OTHER}"), ("HOST", "h")]);
        let entries = [
            OptionEntry { name: "url", value: OptionValue::Text("https://{secrets.KEY}@{secrets.HOST}/x") },
            OptionEntry { name: "all", value: OptionValue::List(&["{secrets.HOST}", "b"]) },
        ];
        assert!(entries.iter().all(|entry| entry.value.refers_to_secrets()));
        let options = Options::resolve(&entries, Some(&secrets)).unwrap();
        assert_eq!(options.text("url").unwrap(), Some("https://k{secrets.OTHER}@h/x"), "a secret is not looked into");
        assert_eq!(options.list("all").unwrap().unwrap(), ["h", "b"]);
    }

    #[test]
    fn a_missing_secret_is_named() {
        let entries = [OptionEntry { name: "key", value: OptionValue::Text("{secrets.NOPE}") }];
        let error = Options::resolve(&entries, Some(&SecretStore::default())).unwrap_err().to_string();
        assert!(error.contains("NOPE") && error.contains("Secrets.toml"), "{error}");
    }
}
