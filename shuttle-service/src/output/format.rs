//! Events and spans of `tracing` as one line of text: `request{id=1}: done status=200`.

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
