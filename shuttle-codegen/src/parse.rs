//! From tokens to the function and the arguments of the attribute.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{
    Attribute, Error, FnArg, ItemFn, Path, Token,
    parse::{ParseStream, Parser},
};

/// The annotated function, and what the attribute said.
pub(crate) struct Parsed {
    pub(crate) function: ItemFn,
    pub(crate) arguments: Arguments,
}

/// The attribute's arguments.
#[derive(Default)]
pub(crate) struct Arguments {
    /// The path of shuttle-service, where it is not `::shuttle_service`.
    pub(crate) krate: Option<Path>,
}

impl Parsed {
    /// The function as it is to be emitted: without attributes that would only be a second error of the same mistake.
    pub(crate) fn stripped(&self) -> TokenStream {
        let mut function = self.function.clone();
        for input in &mut function.sig.inputs {
            if let FnArg::Typed(param) = input {
                param.attrs.retain(is_known);
            }
        }
        function.into_token_stream()
    }
}

/// Whether an attribute may stand on a parameter: `#[cfg]`, which its entry in the manifest gets as well, and lints, which
/// are the function's matter. Anything else would be passed over in silence.
pub(crate) fn is_known(attribute: &Attribute) -> bool {
    const KNOWN: [&str; 6] = ["cfg", "allow", "expect", "warn", "deny", "forbid"];
    KNOWN.iter().any(|known| attribute.path().is_ident(known))
}

pub(crate) fn parse(arguments: TokenStream, item: TokenStream) -> Result<Parsed, Error> {
    let arguments = parse_arguments.parse2(arguments);
    let function = parse_function(item);
    match (arguments, function) {
        (Ok(arguments), Ok(function)) => Ok(Parsed { function, arguments }),
        (Err(mut error), Err(other)) => {
            error.combine(other);
            Err(error)
        }
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
    }
}

fn parse_function(item: TokenStream) -> Result<ItemFn, Error> {
    // The whole item first: its span is the better place for the message than where a function ceased to be one.
    match syn::parse2::<syn::Item>(item)? {
        syn::Item::Fn(function) => Ok(function),
        other => Err(Error::new_spanned(first_tokens(&other), "`#[shuttle_service::main]` stands on an `async fn`")),
    }
}

/// The head of an item: an error on all of it would underline a screenful.
fn first_tokens(item: &syn::Item) -> TokenStream {
    let tokens = item.to_token_stream().into_iter();
    tokens.skip_while(|token| !matches!(token, proc_macro2::TokenTree::Ident(_))).take(2).collect()
}

fn parse_arguments(input: ParseStream<'_>) -> Result<Arguments, Error> {
    let mut arguments = Arguments::default();
    while !input.is_empty() {
        if input.peek(Token![crate]) {
            input.parse::<Token![crate]>()?;
            input.parse::<Token![=]>()?;
            arguments.krate = Some(input.call(Path::parse_mod_style)?);
        } else {
            return Err(input.error("`#[shuttle_service::main]` takes no such argument; it knows `crate = path` only"));
        }
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(arguments)
}
