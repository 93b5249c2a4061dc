//! The annotation's own arguments: where shuttle-service is, and what the service asks for.

use std::ops::RangeInclusive;

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    LitStr, Path, Token,
    parse::{ParseStream, Parser},
};

use crate::{
    entry::{self, Entry, Value},
    errors::Errors,
    nearest,
};

/// The arguments, checked.
#[derive(Default)]
pub(crate) struct Arguments {
    /// The path of shuttle-service, where it is not `::shuttle_service`.
    pub(crate) krate: Option<Path>,
    pub(crate) settings: Settings,
}

/// As in the manifest. `None` is the platform's default.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) idle_timeout_s: Option<u64>,
    pub(crate) always_on: Option<bool>,
    pub(crate) health_path: Option<String>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) instances: Option<u32>,
    /// The names of those that only concern a service that is sent requests.
    pub(crate) of_requests: Vec<syn::Ident>,
}

const KNOWN: [&str; 6] = ["always_on", "crate", "health_path", "idle_timeout", "instances", "memory"];

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;
const IDLE_TIMEOUT: RangeInclusive<u64> = 1..=30 * DAY;
const MEMORY: RangeInclusive<u64> = 16 << 20..=1 << 40;
const INSTANCES: RangeInclusive<u64> = 1..=64;
/// Longer than any path that is asked for by hand, shorter than what a server refuses.
const HEALTH_PATH: usize = 1024;

pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Arguments {
    let mut arguments = Arguments::default();
    let (krates, chunks) = entry::chunks(tokens, errors).into_iter().partition(is_crate);
    arguments.set_crate(krates, errors);
    let entries = entry::parse(chunks, errors);
    for entry in &entries {
        arguments.set(entry, errors);
    }
    let idle = entries.iter().find(|entry| entry.name == "idle_timeout");
    if let (Some(idle), Some(true)) = (idle, arguments.settings.always_on) {
        errors.add(&idle.name, "what is `always_on` is never idle: leave one of the two out");
    }
    arguments
}

/// The one argument that is no literal.
fn is_crate(chunk: &TokenStream) -> bool {
    matches!(chunk.clone().into_iter().next(), Some(TokenTree::Ident(name)) if name == "crate")
}

impl Arguments {
    fn set_crate(&mut self, chunks: Vec<TokenStream>, errors: &mut Errors) {
        let parse = |input: ParseStream<'_>| {
            input.parse::<Token![crate]>()?;
            input.parse::<Token![=]>()?;
            input.call(Path::parse_mod_style)
        };
        for chunk in chunks {
            match parse.parse2(chunk.clone()) {
                Ok(_) if self.krate.is_some() => errors.add(chunk, "`crate` is given twice"),
                Ok(path) => self.krate = Some(path),
                Err(_) => errors.add(chunk, "`crate` is the path of shuttle-service: `crate = other_name`"),
            }
        }
    }

    fn set(&mut self, entry: &Entry, errors: &mut Errors) {
        let settings = &mut self.settings;
        let name = entry.name();
        let at = &entry.value;
        match (name.as_str(), at) {
            ("always_on", Value::Flag(flag)) => settings.always_on = Some(flag.value),
            ("always_on", _) => errors.add(at, "`always_on` stands alone, or is `true` or `false`"),
            ("idle_timeout", _) => settings.idle_timeout_s = check(at, idle_timeout(at), errors),
            ("memory", _) => settings.memory_bytes = check(at, memory(at), errors),
            ("instances", _) => settings.instances = check(at, instances(at), errors),
            ("health_path", Value::Text(path)) => settings.health_path = check(at, health_path(path), errors),
            ("health_path", _) => errors.add(at, "`health_path` is a string: `health_path = \"/healthz\"`"),
            _ => {
                let hint = nearest::hint(&name, &KNOWN);
                errors.add(&entry.name, format!("`#[shuttle_service::main]` takes no `{name}`: {hint}"));
            }
        }
        if matches!(name.as_str(), "idle_timeout" | "health_path") {
            settings.of_requests.push(entry.name.clone());
        }
    }
}

fn check<T>(at: &Value, value: Result<T, String>, errors: &mut Errors) -> Option<T> {
    value.map_err(|message| errors.add(at, message)).ok()
}

fn idle_timeout(value: &Value) -> Result<u64, String> {
    const FORMS: &str =
        "`idle_timeout` is a duration such as `\"90s\"`, `\"10m\"`, `\"1h\"` or `\"2d\"`, or an integer of seconds";
    let seconds = match value {
        Value::Text(text) => measure(&text.value(), |unit| match unit {
            "s" => Some(1),
            "m" => Some(MINUTE),
            "h" => Some(60 * MINUTE),
            "d" => Some(DAY),
            _ => None,
        }),
        Value::Number { number, .. } => u64::try_from(*number).ok(),
        _ => None,
    };
    match seconds {
        Some(seconds) if IDLE_TIMEOUT.contains(&seconds) => Ok(seconds),
        Some(0) => Err("an app that sleeps at once would never answer: the least is one second, `\"1s\"`".to_owned()),
        Some(_) => Err("`idle_timeout` is at most 30 days; an app that never sleeps is `always_on`".to_owned()),
        None => Err(FORMS.to_owned()),
    }
}

fn memory(value: &Value) -> Result<u64, String> {
    const FORMS: &str = "`memory` is a size such as `\"256 MiB\"`, `\"64MB\"` or `\"1 GiB\"`, or an integer of bytes";
    let bytes = match value {
        Value::Text(text) => measure(&text.value(), |unit| {
            Some(match unit.to_ascii_lowercase().as_str() {
                "kb" => 1000,
                "kib" => 1 << 10,
                "mb" => 1_000_000,
                "mib" => 1 << 20,
                "gb" => 1_000_000_000,
                "gib" => 1 << 30,
                "tb" => 1_000_000_000_000,
                "tib" => 1 << 40,
                _ => return None,
            })
        }),
        Value::Number { number, .. } => u64::try_from(*number).ok(),
        _ => None,
    };
    match bytes {
        Some(bytes) if MEMORY.contains(&bytes) => Ok(bytes),
        Some(bytes) => Err(format!("`memory` is from 16 MiB to 1 TiB; this is {bytes} bytes")),
        None => Err(FORMS.to_owned()),
    }
}

/// A number and its unit, with or without a space. What is too large for a number is the largest one: it is out of every
/// range.
fn measure(text: &str, unit: fn(&str) -> Option<u64>) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, rest) = text.split_at(end);
    let unit = unit(rest.strip_prefix(' ').unwrap_or(rest))?;
    if digits.is_empty() {
        return None;
    }
    Some(digits.parse::<u64>().map_or(u64::MAX, |number| number.saturating_mul(unit)))
}

fn instances(value: &Value) -> Result<u32, String> {
    let (least, most) = (INSTANCES.start(), INSTANCES.end());
    match value {
        Value::Number { number, .. } => match u32::try_from(*number) {
            Ok(number) if INSTANCES.contains(&number.into()) => Ok(number),
            _ => Err(format!("`instances` is from {least} to {most}")),
        },
        _ => Err(format!("`instances` is an integer from {least} to {most}: `instances = 1`")),
    }
}

fn health_path(path: &LitStr) -> Result<String, String> {
    let path = path.value();
    if !path.starts_with('/') {
        return Err("`health_path` starts with `/`: it is asked for at the app's own address".to_owned());
    }
    if let Some(wrong) = path.chars().find(|c| c.is_whitespace() || c.is_control() || *c == '#' || !c.is_ascii()) {
        return Err(format!("{wrong:?} cannot stand in a path that is sent as it is: percent-encode it"));
    }
    if path.len() > HEALTH_PATH {
        return Err(format!("`health_path` is at most {HEALTH_PATH} bytes long"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn settings(tokens: TokenStream) -> Result<Settings, String> {
        let mut errors = Errors::default();
        let arguments = parse(tokens, &mut errors);
        if errors.is_empty() { Ok(arguments.settings) } else { Err(quote!(#errors).to_string()) }
    }

    #[test]
    fn durations_are_in_seconds() {
        for (text, seconds) in [("1s", 1), ("90s", 90), ("10m", 600), ("10 m", 600), ("1h", 3600), ("30d", 2_592_000)] {
            assert_eq!(settings(quote!(idle_timeout = #text)).unwrap().idle_timeout_s, Some(seconds), "{text}");
        }
        assert_eq!(settings(quote!(idle_timeout = 90)).unwrap().idle_timeout_s, Some(90));
        for text in ["", "10", "m", "10x", "-1s", "1h30m", "1  s", " 1s", "1.5h"] {
            assert!(settings(quote!(idle_timeout = #text)).unwrap_err().contains("a duration such as"), "{text:?}");
        }
        for text in ["31d", "99999999999999999999s", "9999999999999999h"] {
            assert!(settings(quote!(idle_timeout = #text)).unwrap_err().contains("30 days"), "{text:?}");
        }
        assert!(settings(quote!(idle_timeout = 0)).unwrap_err().contains("one second"));
        assert!(settings(quote!(idle_timeout = -5)).unwrap_err().contains("a duration such as"));
    }

    #[test]
    fn sizes_are_in_bytes() {
        for (text, bytes) in [("64MB", 64_000_000), ("256 MiB", 256 << 20), ("1gib", 1 << 30), ("1 TiB", 1 << 40)] {
            assert_eq!(settings(quote!(memory = #text)).unwrap().memory_bytes, Some(bytes), "{text}");
        }
        assert_eq!(settings(quote!(memory = 16777216)).unwrap().memory_bytes, Some(16 << 20));
        for text in ["256", "256 M", "lots", "1,5 GB"] {
            assert!(settings(quote!(memory = #text)).unwrap_err().contains("a size such as"), "{text:?}");
        }
        for text in ["16MB", "2 TiB", "99999999999999999999 TiB"] {
            assert!(settings(quote!(memory = #text)).unwrap_err().contains("16 MiB to 1 TiB"), "{text:?}");
        }
    }

    #[test]
    fn paths_are_sent_as_they_are() {
        assert_eq!(settings(quote!(health_path = "/a/b?c=%20d")).unwrap().health_path.as_deref(), Some("/a/b?c=%20d"));
        for path in ["", "healthz", "http://x/"] {
            assert!(settings(quote!(health_path = #path)).unwrap_err().contains("starts with `/`"), "{path:?}");
        }
        for path in ["/a b", "/a\r\nHost: x", "/#a", "/\0", "/ü"] {
            assert!(settings(quote!(health_path = #path)).unwrap_err().contains("percent-encode"), "{path:?}");
        }
        let long = format!("/{}", "a".repeat(HEALTH_PATH));
        assert!(settings(quote!(health_path = #long)).unwrap_err().contains("1024"));
    }
}
