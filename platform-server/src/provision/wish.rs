//! What a parameter asks for: its type and its options, checked. They come from the user's code, so nothing is taken for
//! granted: what this server does not know is refused, never ignored.

use platform_wire::secrets::check_name;
use serde_json::{Map, Value};
use shuttle_abi::ResourceManifest;

use super::ProvisionError;

/// Longest name of a resource or extension, in bytes.
const MAX_NAME: usize = 63;
/// Most extensions of one parameter.
const MAX_EXTENSIONS: usize = 32;

/// One parameter's wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    Postgres {
        /// Empty for the database that unnamed parameters share.
        name: String,
        extensions: Vec<String>,
        /// That the parameter opens at most, as far as it says.
        connections: Option<u32>,
    },
    Redis {
        name: String,
    },
    Secrets {
        /// Those without which the app is not started.
        required: Vec<String>,
    },
    Persist,
    Metadata,
}

impl Wish {
    pub(super) fn read(resource: &ResourceManifest) -> Result<Self, ProvisionError> {
        let options = Options { parameter: &resource.name, values: &resource.options };
        match resource.kind.as_str() {
            "postgres" => {
                options.only(&["name", "extensions", "max_connections"])?;
                let extensions = options.list("extensions", "an extension's name of a-z, 0-9, `_` and `-`", is_extension)?;
                if extensions.len() > MAX_EXTENSIONS {
                    return Err(options.wrong("extensions", &format!("at most {MAX_EXTENSIONS} names")));
                }
                // What it may be is for the app to say, of whose type the option is.
                let connections = options.values.get("max_connections").and_then(Value::as_u64);
                let connections = connections.map(|number| u32::try_from(number).unwrap_or(u32::MAX));
                Ok(Self::Postgres { name: options.name()?, extensions, connections })
            }
            "redis" => {
                options.only(&["name"])?;
                Ok(Self::Redis { name: options.name()? })
            }
            "secrets" => {
                options.only(&["required"])?;
                let required =
                    options.list("required", "a secret's name of A-Z, a-z, 0-9 and `_`", |name| check_name(name).is_ok())?;
                Ok(Self::Secrets { required })
            }
            "persist" => options.only(&[]).map(|()| Self::Persist),
            "metadata" => options.only(&[]).map(|()| Self::Metadata),
            _ => Err(ProvisionError::Unknown { name: resource.name.clone(), kind: resource.kind.clone() }),
        }
    }
}

/// Quoted in SQL as it is.
fn is_extension(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

struct Options<'a> {
    parameter: &'a str,
    values: &'a Map<String, Value>,
}

impl Options<'_> {
    /// Refuses all but these.
    fn only(&self, known: &[&str]) -> Result<(), ProvisionError> {
        match self.values.keys().find(|option| !known.contains(&option.as_str())) {
            Some(option) => Err(ProvisionError::Option { name: self.parameter.to_owned(), option: option.clone() }),
            None => Ok(()),
        }
    }

    fn wrong(&self, option: &'static str, wanted: &str) -> ProvisionError {
        ProvisionError::BadOption { name: self.parameter.to_owned(), option, wanted: wanted.to_owned() }
    }

    /// The option `name`; empty without it.
    fn name(&self) -> Result<String, ProvisionError> {
        match self.values.get("name") {
            None => Ok(String::new()),
            Some(Value::String(name)) if is_name(name) => Ok(name.clone()),
            Some(_) => Err(self.wrong("name", &format!("1 to {MAX_NAME} characters of a-z, A-Z, 0-9, `_` and `-`"))),
        }
    }

    /// A list of texts, each of which `fits`; empty without it.
    fn list(&self, option: &'static str, wanted: &str, fits: impl Fn(&str) -> bool) -> Result<Vec<String>, ProvisionError> {
        let wrong = || self.wrong(option, &format!("a list, each of it {wanted}"));
        let Some(value) = self.values.get(option) else { return Ok(Vec::new()) };
        let texts = value.as_array().ok_or_else(wrong)?.iter().map(|text| text.as_str().filter(|text| fits(text)));
        texts.map(|text| text.map(str::to_owned).ok_or_else(wrong)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(kind: &str, options: Value) -> Result<Wish, String> {
        let Value::Object(options) = options else { panic!("{options}") };
        let resource = ResourceManifest { name: "pool".into(), kind: kind.into(), options };
        Wish::read(&resource).map_err(|error| error.to_string())
    }

    #[test]
    fn what_the_sdk_writes_is_understood() {
        let name = "second".to_owned();
        let extensions = vec!["pgcrypto".to_owned(), "uuid-ossp".to_owned()];
        let of = json!({"name": "second", "extensions": ["pgcrypto", "uuid-ossp"], "max_connections": 7});
        assert_eq!(read("postgres", of), Ok(Wish::Postgres { name: name.clone(), extensions, connections: Some(7) }));
        let plain = Wish::Postgres { name: String::new(), extensions: vec![], connections: None };
        assert_eq!(read("postgres", json!({})), Ok(plain));
        assert_eq!(read("redis", json!({"name": "second"})), Ok(Wish::Redis { name }));
        assert_eq!(read("secrets", json!({"required": ["A_b"]})), Ok(Wish::Secrets { required: vec!["A_b".into()] }));
        assert_eq!(read("persist", json!({})), Ok(Wish::Persist));
        assert_eq!(read("metadata", json!({})), Ok(Wish::Metadata));
    }

    #[test]
    fn whatever_else_stands_there_is_refused_and_named() {
        for (kind, options, words) in [
            ("kafka", json!({}), "`kafka`"),
            ("postgres", json!({"colour": "red"}), "`colour`"),
            ("redis", json!({"extensions": []}), "`extensions`"),
            ("persist", json!({"name": "a"}), "`name`"),
            ("postgres", json!({"name": ""}), "`name`"),
            ("postgres", json!({"name": "a b"}), "`name`"),
            ("postgres", json!({"name": "../../etc"}), "`name`"),
            ("postgres", json!({"name": 3}), "`name`"),
            ("redis", json!({"name": "a".repeat(64)}), "`name`"),
            ("postgres", json!({"extensions": "pgcrypto"}), "`extensions`"),
            ("postgres", json!({"extensions": ["a\"; DROP DATABASE x; --"]}), "`extensions`"),
            ("postgres", json!({"extensions": ["Upper"]}), "`extensions`"),
            ("postgres", json!({"extensions": vec!["a"; 33]}), "at most 32"),
            ("secrets", json!({"required": ["a-b"]}), "`required`"),
            ("secrets", json!({"required": [1]}), "`required`"),
        ] {
            let error = read(kind, options.clone()).unwrap_err();
            assert!(error.contains(words) && error.contains("`pool`"), "{kind} {options}: {error}");
        }
    }
}
