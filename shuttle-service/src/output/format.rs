//! Events and spans of `tracing`, and key-values of `log`, as one line of text: `request{id=1}: done status=200`.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};

/// The message and the other fields of an event or a span.
#[derive(Debug, Default)]
pub(super) struct Fields {
    message: String,
    others: String,
}

impl Fields {
    /// Appends an event: its message, then its fields.
    pub(super) fn push_event(&self, to: &mut String) {
        to.push_str(&self.message);
        if !self.message.is_empty() && !self.others.is_empty() {
            to.push(' ');
        }
        to.push_str(&self.others);
    }

    fn push(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => self.message.write_fmt(value),
            name => {
                let space = if self.others.is_empty() { "" } else { " " };
                write!(self.others, "{space}{name}={value}")
            }
        };
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.push(field, format_args!("{value}"))
        } else {
            self.push(field, format_args!("{value:?}"))
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, format_args!("{value:?}"));
    }
}

/// Appends the key-values of a record of `log`, in the form of `tracing`'s fields.
pub(super) fn push_pairs(to: &mut String, pairs: &dyn log::kv::Source) {
    struct Pairs<'a>(&'a mut String);

    impl<'kvs> log::kv::VisitSource<'kvs> for Pairs<'_> {
        fn visit_pair(&mut self, key: log::kv::Key<'kvs>, value: log::kv::Value<'kvs>) -> Result<(), log::kv::Error> {
            if !self.0.is_empty() {
                self.0.push(' ');
            }
            // Writing to a string does not fail; what a value's own `fmt` says is left out.
            let _ = match value.to_borrowed_str() {
                Some(text) => write!(self.0, "{key}={text:?}"),
                None => write!(self.0, "{key}={value}"),
            };
            Ok(())
        }
    }

    let _ = pairs.visit(&mut Pairs(to));
}

/// Appends a span that an event is in.
pub(super) fn push_span(to: &mut String, name: &str, fields: Option<&Fields>) {
    to.push_str(name);
    if let Some(fields) = fields.filter(|fields| !fields.others.is_empty()) {
        to.push('{');
        to.push_str(&fields.others);
        to.push('}');
    }
    to.push_str(": ");
}
