//! The project's secrets.

use std::{
    collections::{BTreeMap, btree_map},
    fmt,
    str::FromStr,
};

use super::{Accepts, Needs, Parameter, Slot};
use crate::Error;

/// Its type in the manifest.
pub(crate) const KIND: &str = "secrets";

/// The secrets of the project: what stands in `Secrets.toml` beside the package's `Cargo.toml` when it is deployed. The file
/// is never part of what is built; its values are sent apart from it and encrypted on the server's disk.
///
/// ```
/// use shuttle_service::SecretStore;
///
/// async fn app(secrets: SecretStore) -> shuttle_service::ShuttleAxum {
///     let key: String = secrets.require("API_KEY")?;
///     let retries: u8 = secrets.require("RETRIES")?;
///     let proxy = secrets.get("PROXY");
///     println!("{} characters of key, {retries} retries, a proxy: {}", key.len(), proxy.is_some());
///     Ok(axum::Router::new())
/// }
///
/// // In a test:
/// # let _ =
/// app(SecretStore::from_iter([("API_KEY", "for tests"), ("RETRIES", "3")]));
/// ```
///
/// Option: `#[shuttle_service::Secrets(required = ["API_KEY"])]` on the parameter makes a deployment fail before it starts where one is
/// missing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretStore {
    secrets: BTreeMap<String, String>,
}

impl SecretStore {
    /// A secret, or `None` where the project has none of this name.
    ///
    /// ```
    /// let secrets = shuttle_service::SecretStore::from_iter([("API_KEY", "k")]);
    /// assert_eq!(secrets.get("API_KEY").as_deref(), Some("k"));
    /// assert_eq!(secrets.get("PROXY"), None);
    /// ```
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        self.secrets.get(name).cloned()
    }

    /// The secrets for this machine, from `Secrets.dev.toml` beside the package's `Cargo.toml`: for tests. Outside of cargo,
    /// the file is looked for in the working directory. It is never sent to a server.
    ///
    /// ```
    /// use shuttle_service::SecretStore;
    ///
    /// async fn app(secrets: SecretStore) -> shuttle_service::ShuttleAxum {
    ///     println!("{} characters of key", secrets.require::<String>("API_KEY")?.len());
    ///     Ok(axum::Router::new())
    /// }
    ///
    /// // In a module of tests, with #[tokio::test]:
    /// async fn it_starts() -> Result<(), shuttle_service::Error> {
    ///     app(SecretStore::local()?).await.map(drop)
    /// }
    /// ```
    ///
    /// # Errors
    /// When the file is missing, is no TOML, or a value in it is no string. The error names the file and the secret, never a
    /// value.
    #[cfg(feature = "secrets")]
    pub fn local() -> Result<Self, Error> {
        let folder = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
        let path = std::path::Path::new(&folder).join("Secrets.dev.toml");
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Error::msg(format!("{}: {error}; write one secret a line: NAME = \"value\"", path.display())))?;
        Self::from_toml(&text).map_err(|error| Error::msg(format!("{}: {error}", path.display())))
    }

    /// Secrets from a text in the form of `Secrets.toml`.
    ///
    /// ```
    /// use shuttle_service::SecretStore;
    ///
    /// let secrets = SecretStore::from_toml("API_KEY = \"k\" # for tests").unwrap();
    /// assert_eq!(secrets.get("API_KEY").as_deref(), Some("k"));
    /// let error = SecretStore::from_toml("RETRIES = 3").unwrap_err().to_string();
    /// assert_eq!(error, "the secret `RETRIES` is no string: put its value in quotes");
    /// ```
    ///
    /// # Errors
    /// When it is no TOML, or a value is no string.
    #[cfg(feature = "secrets")]
    pub fn from_toml(text: &str) -> Result<Self, Error> {
        // Without the line that it is about: the secret stands there.
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count()) + 1;
            Error::msg(format!("line {line}: no TOML: write one secret a line: NAME = \"value\""))
        })?;
        let pairs = table.into_iter().map(|(name, value)| match value {
            toml::Value::String(value) => Ok((name, value)),
            _ => Err(Error::msg(format!("the secret `{name}` is no string: put its value in quotes"))),
        });
        Ok(Self { secrets: pairs.collect::<Result<_, _>>()? })
    }

    /// A secret that has to be there, as a text, a number, or whatever else can be parsed.
    ///
    /// ```
    /// use shuttle_service::SecretStore;
    ///
    /// let secrets = SecretStore::from_iter([("RETRIES", "three")]);
    /// assert_eq!(secrets.require::<String>("RETRIES").unwrap(), "three");
    /// let error = secrets.require::<u8>("RETRIES").unwrap_err().to_string();
    /// assert_eq!(error, "the secret `RETRIES` is not a valid u8: invalid digit found in string");
    /// let error = secrets.require::<String>("API_KEY").unwrap_err().to_string();
    /// assert!(error.starts_with("the secret `API_KEY` is missing: add `API_KEY = \"…\"` to Secrets.toml"));
    /// ```
    ///
    /// # Errors
    /// When it is missing, or does not parse. The error names the secret, never its value.
    pub fn require<T: FromStr<Err: fmt::Display>>(&self, name: &str) -> Result<T, Error> {
        let value = self.secrets.get(name).ok_or_else(|| {
            Error::msg(format!(
                "the secret `{name}` is missing: add `{name} = \"…\"` to Secrets.toml beside the package's Cargo.toml and deploy again"
            ))
        })?;
        value.parse().map_err(|error| {
            let wanted = std::any::type_name::<T>();
            Error::msg(format!("the secret `{name}` is not a valid {wanted}: {error}"))
        })
    }

    /// Names and values, sorted by name.
    ///
    /// ```
    /// let secrets = shuttle_service::SecretStore::from_iter([("B", "2"), ("A", "1")]);
    /// assert_eq!(secrets.iter().collect::<Vec<_>>(), [("A", "1"), ("B", "2")]);
    /// let owned: Vec<(String, String)> = secrets.into_iter().collect();
    /// assert_eq!(owned[0].0, "A");
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.secrets.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for SecretStore {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(secrets: I) -> Self {
        Self { secrets: secrets.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }
}

impl IntoIterator for SecretStore {
    type Item = (String, String);
    type IntoIter = btree_map::IntoIter<String, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.secrets.into_iter()
    }
}

/// Their names only.
impl fmt::Debug for SecretStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.secrets.keys()).finish()
    }
}

impl Parameter for SecretStore {
    const NEEDS: Needs = Needs::One { kind: KIND, options: &["required"] };
    const ACCEPTS: Accepts = Accepts { own: &["required"], rest: None };

    async fn take(slot: Slot<'_>) -> Result<Self, Error> {
        Ok(Self { secrets: slot.data(KIND)?.values.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_printed() {
        let printed = format!("{:?}", SecretStore::from_iter([("KEY", "hidden")]));
        assert_eq!(printed, r#"{"KEY"}"#);
    }

    #[test]
    fn an_error_never_repeats_a_value() {
        let error = SecretStore::from_iter([("PORT", "hidden")]).require::<u16>("PORT").unwrap_err().to_string();
        assert!(error.contains("`PORT`") && error.contains("u16") && !error.contains("hidden"), "{error}");
    }

    #[cfg(feature = "secrets")]
    #[test]
    fn a_mistake_in_the_file_is_told_without_what_is_secret() {
        for text in ["A = \"x\"\nB = hush", "A = \"x\"\nB = [\"hush\"]", "A = \"x\"\n[B]\nC = \"hush\""] {
            let error = SecretStore::from_toml(text).unwrap_err().to_string();
            assert!((error.contains("line 2") || error.contains("`B`")) && !error.contains("hush"), "{error}");
        }
        assert!(SecretStore::local().unwrap_err().to_string().contains("Secrets.dev.toml"));
    }
}
