//! Attributes on parameters: `#[shared::Postgres(name = "analytics")]`. Which there are, which options each has, and what
//! an option may be set to.
//!
//! Whether the parameter's type is one that the attribute fits is the compiler's matter: see `expand`.

use std::ops::RangeInclusive;

use proc_macro2::TokenStream;
use syn::{Attribute, LitStr, Meta, Path};

use crate::{
    entry::{self, Entry, Value},
    errors::Errors,
    moved, nearest, secrets,
};

/// What the attribute's last segment says. What stands before it is whatever the app's author calls it: in apps of other
/// years `shared`, `shuttle_shared_db`, `shuttle_secrets`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    Redis,
    Secrets,
    Persist,
    Metadata,
    /// For a type of the app's own, whose options nobody else knows.
    Resource,
}

/// One attribute on a parameter.
pub(crate) struct Refined {
    pub(crate) kind: Kind,
    pub(crate) path: Path,
    pub(crate) options: Vec<Entry>,
}

impl Kind {
    const ALL: [Self; 6] = [Self::Postgres, Self::Redis, Self::Secrets, Self::Persist, Self::Metadata, Self::Resource];

    pub(crate) fn of(attribute: &Attribute) -> Option<Self> {
        let last = &attribute.path().segments.last()?.ident;
        Self::ALL.into_iter().find(|kind| last == kind.name())
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "Postgres",
            Self::Redis => "Redis",
            Self::Secrets => "Secrets",
            Self::Persist => "Persist",
            Self::Metadata => "Metadata",
            Self::Resource => "resource",
        }
    }

    /// The type in the manifest that the parameter has to be made of.
    pub(crate) fn manifest_type(self) -> Option<&'static str> {
        match self {
            Self::Postgres => Some("postgres"),
            Self::Redis => Some("redis"),
            Self::Secrets => Some("secrets"),
            Self::Persist => Some("persist"),
            Self::Metadata => Some("metadata"),
            Self::Resource => None,
        }
    }

    /// Its options; `None` where any name may be one.
    fn options(self) -> Option<&'static [Known]> {
        match self {
            Self::Postgres => Some(POSTGRES),
            Self::Redis => Some(REDIS),
            Self::Secrets => Some(SECRETS),
            Self::Persist | Self::Metadata => Some(&[]),
            Self::Resource => None,
        }
    }
}

/// What to say to an attribute that is none of these.
pub(crate) fn unknown(attribute: &Attribute) -> String {
    let names = Kind::ALL.map(Kind::name);
    let name = attribute.path().segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
    if let Some(instead) = moved::instead(moved::ATTRIBUTES, &name) {
        return instead.to_owned();
    }
    format!("no such attribute stands on a parameter: {}, and `cfg`", nearest::hint(&name, &names))
}

/// An option of an attribute.
struct Known {
    name: &'static str,
    takes: Takes,
    /// Whether a secret may stand in it: it is read in the app. The others the platform reads from the built artifact.
    secrets: bool,
    /// Whether it is the deployed app's. One that is not stands in no manifest.
    deployed: bool,
}

enum Takes {
    Text {
        example: &'static str,
        check: fn(&str) -> Result<(), String>,
    },
    Number(RangeInclusive<i64>),
    /// Distinct ones.
    Texts {
        example: &'static str,
        check: fn(&str) -> Result<(), String>,
    },
}

const NAME: Known =
    Known { name: "name", takes: Takes::Text { example: "analytics", check: name }, secrets: false, deployed: true };
// As many as the pools of shuttle-service open at most.
const MAX: Known = Known { name: "max_connections", takes: Takes::Number(1..=50), secrets: false, deployed: true };
const MIN: Known = Known { name: "min_connections", takes: Takes::Number(0..=50), secrets: false, deployed: true };

const POSTGRES: &[Known] = &[
    NAME,
    Known { name: "extensions", takes: Takes::Texts { example: "pgcrypto", check: extension }, secrets: false, deployed: true },
    MAX,
    MIN,
    Known { name: "migrations", takes: Takes::Text { example: "migrations", check: folder }, secrets: true, deployed: true },
    Known {
        name: "local_uri",
        takes: Takes::Text { example: "postgres://localhost/dev", check: uri },
        secrets: true,
        deployed: false,
    },
];
const REDIS: &[Known] = &[NAME, MAX, MIN];
const SECRETS: &[Known] =
    &[Known { name: "required", takes: Takes::Texts { example: "API_KEY", check: secret }, secrets: false, deployed: true }];

/// The attribute with its options, checked. Those that do not concern a deployed app are left out.
pub(crate) fn parse(kind: Kind, attribute: &Attribute, errors: &mut Errors) -> Refined {
    let tokens = match &attribute.meta {
        Meta::Path(_) => TokenStream::new(),
        Meta::List(list) => list.tokens.clone(),
        Meta::NameValue(meta) => {
            errors.add(&meta.value, format!("options stand in parentheses: `#[{}(name = value)]`", kind.name()));
            TokenStream::new()
        }
    };
    let mut options = entry::parse(entry::chunks(tokens, errors), errors);
    options.retain(|option| check(kind, option, errors));
    check_sizes(&options, errors);
    Refined { kind, path: attribute.path().clone(), options }
}

/// Checks one option; gives whether it is a deployed app's.
fn check(kind: Kind, option: &Entry, errors: &mut Errors) -> bool {
    let Some(known) = kind.options() else {
        check_references(&option.value, None, errors);
        return true;
    };
    let name = option.name();
    let Some(known) = known.iter().find(|known| known.name == name) else {
        let names: Vec<_> = known.iter().map(|known| known.name).collect();
        errors.add(&option.name, format!("`{}` has no option `{name}`: {}", kind.name(), nearest::hint(&name, &names)));
        return false;
    };
    if check_references(&option.value, (!known.secrets).then_some(known.name), errors) {
        known.takes.check(option, errors);
    }
    known.deployed
}

/// Checks what refers to secrets; `refused` is the name of an option in which nothing may. Gives whether all is well.
fn check_references(value: &Value, refused: Option<&str>, errors: &mut Errors) -> bool {
    let texts = match value {
        Value::Text(text) => std::slice::from_ref(text),
        Value::List { texts, .. } => texts,
        Value::Number { .. } | Value::Flag(_) => &[],
    };
    let mut well = true;
    for text in texts {
        let message = match (secrets::refers(&text.value()), refused) {
            (Ok(true), Some(name)) => format!(
                "no secret can stand in `{name}`: the platform reads it from the built app, to prepare what the app is then given"
            ),
            (Err(message), _) => message,
            (Ok(_), _) => continue,
        };
        errors.add(text, message);
        well = false;
    }
    well
}

impl Takes {
    fn check(&self, option: &Entry, errors: &mut Errors) {
        let name = option.name();
        match (self, &option.value) {
            (Self::Text { check, .. }, Value::Text(text)) => check_text(text, *check, errors),
            (Self::Number(range), Value::Number { at, number }) => {
                if !range.contains(number) {
                    errors.add(at, format!("`{name}` is from {} to {}", range.start(), range.end()));
                }
            }
            (Self::Texts { check, .. }, Value::List { texts, .. }) => check_list(texts, *check, errors),
            (Self::Text { example, .. }, other) => errors.add(other, format!("`{name}` is a string: `{name} = \"{example}\"`")),
            (Self::Number(range), other) => errors.add(
                other,
                format!("`{name}` is an integer from {} to {}: `{name} = {}`", range.start(), range.end(), range.end().min(&10)),
            ),
            (Self::Texts { example, .. }, other) => {
                errors.add(other, format!("`{name}` is a list of strings: `{name} = [\"{example}\"]`"));
            }
        }
    }
}

fn check_text(text: &LitStr, check: fn(&str) -> Result<(), String>, errors: &mut Errors) {
    if let Err(message) = check(&text.value()) {
        errors.add(text, message);
    }
}

fn check_list(texts: &[LitStr], check: fn(&str) -> Result<(), String>, errors: &mut Errors) {
    for (index, text) in texts.iter().enumerate() {
        check_text(text, check, errors);
        if texts.iter().take(index).any(|other| other.value() == text.value()) {
            errors.add(text, format!("`{}` is listed twice", text.value()));
        }
    }
}

/// The least is not more than the most.
fn check_sizes(options: &[Entry], errors: &mut Errors) {
    let number = |name: &str| {
        options.iter().find(|option| option.name() == name).and_then(|option| match option.value {
            Value::Number { number, .. } => Some((option, number)),
            _ => None,
        })
    };
    if let (Some((option, least)), Some((_, most))) = (number(MIN.name), number(MAX.name))
        && least > most
    {
        errors.add(&option.value, format!("`{}` is {least}, more than `{}`, which is {most}", MIN.name, MAX.name));
    }
}

fn name(name: &str) -> Result<(), String> {
    let well = name.len() <= 40
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if well { Ok(()) } else { Err("a name is 1 to 40 of `a` to `z`, digits and `_`, a letter first".to_owned()) }
}

fn extension(name: &str) -> Result<(), String> {
    let well = (1..=63).contains(&name.len()) && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    if well { Ok(()) } else { Err("an extension's name is of `a` to `z`, digits, `_` and `-`: `\"pgcrypto\"`".to_owned()) }
}

fn secret(name: &str) -> Result<(), String> {
    if secrets::is_name(name) { Ok(()) } else { Err("a secret's name is of letters, digits and `_`: `\"API_KEY\"`".to_owned()) }
}

fn folder(path: &str) -> Result<(), String> {
    if path.is_empty() || path.contains('\0') {
        return Err("the folder of the migrations is named here: `\"migrations\"`".to_owned());
    }
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err("the folder is one below the package's: a relative path without `..`".to_owned());
    }
    Ok(())
}

fn uri(uri: &str) -> Result<(), String> {
    if uri.starts_with("postgres://") || uri.starts_with("postgresql://") {
        return Ok(());
    }
    Err("this is a Postgres' URL: `\"postgres://localhost/dev\"`".to_owned())
}
