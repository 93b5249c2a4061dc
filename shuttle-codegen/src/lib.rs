//! The attribute macro of shuttle-service: what stands on a user's function, and what it becomes.
//!
//! In three steps, each its own module: `parse` takes the function and the attribute's arguments apart, `validate`
//! finds what cannot be run and says so on the exact token, all at once, `expand` writes the entry and the manifest. The
//! user's function is emitted again whatever happens, so that an editor goes on understanding the rest of the file.
//!
//! It knows nothing of frameworks or resources: types are the compiler's matter, through traits of shuttle-service.

mod expand;
mod parse;
mod validate;

use proc_macro::TokenStream;

/// Makes a function the app: its parameters are the resources it needs, its result is the service it serves.
///
/// It stands on one `async fn` of a library, with any number of parameters whose types implement
/// `Resource`, and returns a `Result` of a `Service` and any error.
///
/// ```ignore
/// #[shuttle_service::main]
/// async fn app(pool: sqlx::PgPool, redis: redis::Client) -> shuttle_service::ShuttleAxum {
///     Ok(axum::Router::new().with_state((pool, redis)))
/// }
/// ```
///
/// The name of a parameter is the name of the resource: two parameters of one type are two names for it.
///
/// A parameter may carry `#[cfg(…)]`. Where shuttle-service has another name in `Cargo.toml`, say
/// `#[other_name::main(crate = other_name)]`.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    let parsed = match parse::parse(arguments.into(), item.clone()) {
        Ok(parsed) => parsed,
        Err(error) => return expand::only_errors(&item, &error).into(),
    };
    match validate::validate(&parsed) {
        Ok(app) => expand::expand(&parsed, &app).into(),
        Err(error) => expand::only_errors(&parsed.stripped(), &error).into(),
    }
}
