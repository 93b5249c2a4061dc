//! What the macro expands to, and that the function is emitted again whatever stands on it.
//!
//! After a change of the expansion: `INSTA_UPDATE=always cargo test -p shuttle-codegen`, then read the difference.

use proc_macro2::TokenStream;
use quote::quote;

use crate::{annotate, expand::Target};

fn target(program: bool) -> Target {
    Target { crate_name: "my_app".to_owned(), program }
}

fn expanded(arguments: TokenStream, function: TokenStream, program: bool) -> String {
    let tokens = annotate(arguments, function, &target(program));
    prettyplease::unparse(&syn::parse2(tokens).expect("the expansion is a file"))
}

fn hello() -> TokenStream {
    quote! {
        /// Says hello.
        pub async fn hello() -> shuttle_service::ShuttleAxum {
            Ok(Router::new().route("/", get(async || "Hello")))
        }
    }
}

#[test]
fn no_parameter() {
    insta::assert_snapshot!(expanded(quote!(), hello(), false));
}

#[test]
fn parameters() {
    let function = quote! {
        async fn app(
            pool: sqlx::PgPool,
            #[cfg(feature = "stats")]
            #[shared::Postgres(name = "stats", extensions = ["pgcrypto"], max_connections = 2, local_uri = "postgres://h/d")]
            stats: sqlx::PgPool,
            #[allow(unused)]
            #[shuttle_service::Secrets(required = ["KEY"])]
            secrets: SecretStore,
            #[resource(sender = "{secrets.SENDER}", retries = -1, tls, r#type = false)]
            mut r#async: own::Mailer,
        ) -> Result<impl Service, Error> {
            Ok(made(pool, secrets, r#async))
        }
    };
    insta::assert_snapshot!(expanded(quote!(crate = other::name), function, false));
}

#[test]
fn settings() {
    let arguments = quote!(idle_timeout = "10m", health_path = "/healthz", memory = "256 MiB", instances = 2, always_on = false);
    insta::assert_snapshot!(expanded(arguments, hello(), false));
}

#[test]
fn program() {
    let function = quote! {
        async fn main(client: redis::Client) -> ShuttleAxum {
            Ok(app(client))
        }
    };
    insta::assert_snapshot!(expanded(quote!(), function, true));
}

/// The function, its errors beside it; in a program with a `main`, so that there is no error more than the mistakes.
#[test]
fn mistakes() {
    let function = quote! {
        fn app(#[shared::Redis(naem = "a")] &client: impl Client) {
            serve(client)
        }
    };
    insta::assert_snapshot!(expanded(quote!(memory = 1, idle = 2), function, true));
}

#[test]
fn whatever_stands_on_it_the_function_is_emitted_again() {
    let arguments = [
        "",
        "x",
        "crate",
        "crate = ",
        "crate = 1",
        "= 1",
        "a = [1, \"\"]",
        "\"a\" \"b\",,",
        "a = -",
        "a = {}",
        "#",
        "crate = a, crate = b",
    ];
    let signatures = [
        "fn app()",
        "async fn app(self, a: &str, _: impl A, ...) -> R",
        "async fn app(#[] a: A) -> R",
        "async fn app(#[shared::Postgres(name = )] a: A, #[resource(= 1)] #[Redis(])] b: B) -> R",
        "pub(crate) const unsafe extern \"C\" fn app<'a, T, const N: usize>() where T: Sized",
        "async fn app(#[shared::Postgres] #[shared::Postgres(\"\")] #[cfg(x)] #[doc = \"\"] a: A) -> R",
    ];
    for arguments in arguments.iter().filter_map(|text| text.parse::<TokenStream>().ok()) {
        for signature in signatures {
            let Ok(item) = format!("{signature} {{ body_of_it. }}").parse::<TokenStream>() else { continue };
            let emitted = annotate(arguments.clone(), item, &target(false)).to_string();
            assert!(emitted.contains("body_of_it .") && emitted.contains("fn app"), "{arguments} {signature}: {emitted}");
        }
    }
}
