//! The attribute macro of shuttle-service: what stands on a user's function, and what it becomes.
//!
//! In three steps, each its own module: `parse` takes the function apart, `validate` finds what cannot be run and says so on
//! the exact token, all at once, `expand` writes the entry and the manifest. `settings` reads the annotation's arguments,
//! `attribute` those of attributes on parameters. The user's function is emitted again whatever happens, so that an editor
//! goes on understanding the rest of the file.
//!
//! It knows nothing of frameworks or clients: types are the compiler's matter, through traits of shuttle-service.

mod attribute;
mod entry;
mod errors;
mod expand;
#[allow(dead_code, reason = "features are cargo-shuttle's, which takes in the same file")]
mod moved;
mod nearest;
mod parse;
mod secrets;
mod settings;
#[cfg(test)]
mod tests;
mod validate;

use errors::Errors;
use expand::Target;

// Documented where shuttle-service exports it, with examples that compile.
#[proc_macro_attribute]
pub fn main(arguments: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    annotate(arguments.into(), item.into(), &Target::of_cargo()).into()
}

/// The macro. It runs outside of a compiler as well, for tests.
fn annotate(arguments: proc_macro2::TokenStream, item: proc_macro2::TokenStream, target: &Target) -> proc_macro2::TokenStream {
    let mut errors = Errors::default();
    let arguments = settings::parse(arguments, &mut errors);
    let Some(function) = errors.take(parse::parse(item.clone())) else {
        return quote::quote!(#item #errors);
    };
    let function = expand::emitted(function, target);
    match validate::validate(&function, arguments.krate.as_ref(), &mut errors) {
        Some(app) if errors.is_empty() => expand::expand(&function, &app, &arguments, target),
        _ => expand::only_errors(&function, &errors, target),
    }
}
