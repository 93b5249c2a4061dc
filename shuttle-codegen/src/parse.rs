//! From tokens to the function, what stands on it, and what stands on its parameters.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Attribute, Error, FnArg, Signature, Visibility,
    parse::{ParseStream, Parser},
};

use crate::attribute;

/// The annotated function. Its body is not looked into: while it is being written it need not even be one that parses.
pub(crate) struct Function {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    /// Its parameters are without those attributes that are this macro's, or nobody's.
    pub(crate) signature: Signature,
    pub(crate) body: TokenStream,
    /// Those attributes, for each parameter.
    pub(crate) refinements: Vec<Vec<Attribute>>,
}

/// It has to be `async` whether it awaits anything or not, which is no fault of its author's.
impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { attributes, visibility, signature, body, .. } = self;
        tokens.extend(quote::quote! {
            #[allow(clippy::unused_async)]
            #(#attributes)*
            #visibility #signature #body
        });
    }
}

/// Whether an attribute on a parameter is somebody else's: `#[cfg]`, which its entry in the manifest gets as well, and lints,
/// which are the function's matter.
fn is_foreign(attribute: &Attribute) -> bool {
    const KNOWN: [&str; 6] = ["cfg", "allow", "expect", "warn", "deny", "forbid"];
    KNOWN.iter().any(|known| attribute.path().is_ident(known))
}

pub(crate) fn parse(item: TokenStream) -> Result<Function, Error> {
    match parse_function.parse2(item.clone()) {
        Ok(function) => Ok(function),
        Err(error) => Err(not_a_function(item).unwrap_or(error)),
    }
}

fn parse_function(input: ParseStream<'_>) -> Result<Function, Error> {
    let attributes = input.call(Attribute::parse_outer)?;
    let visibility = input.parse()?;
    let mut signature: Signature = input.parse()?;
    if !input.peek(syn::token::Brace) {
        return Err(input.error("an annotated function has a body: what it returns is the app"));
    }
    let body = TokenStream::from(input.parse::<TokenTree>()?);
    let refinements = signature.inputs.iter_mut().map(take_refinements).collect();
    Ok(Function { attributes, visibility, signature, body, refinements })
}

fn take_refinements(input: &mut FnArg) -> Vec<Attribute> {
    let attributes = match input {
        FnArg::Typed(param) => &mut param.attrs,
        FnArg::Receiver(receiver) => &mut receiver.attrs,
    };
    let (foreign, ours) = std::mem::take(attributes).into_iter().partition(is_foreign);
    *attributes = foreign;
    ours
}

/// The error for another item: where it begins is the better place than where it ceased to be a function.
fn not_a_function(item: TokenStream) -> Option<Error> {
    const MESSAGE: &str = "`#[shuttle_service::main]` stands on an `async fn`";
    let mut head = Vec::new();
    let mut tokens = item.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match &token {
            // An attribute of the item's own.
            TokenTree::Punct(punct) if punct.as_char() == '#' => drop(tokens.next()),
            TokenTree::Ident(ident) if ident == "fn" => return None,
            TokenTree::Ident(_) => head.push(token),
            // The scope of a `pub(…)`.
            TokenTree::Group(_) if head.len() == 1 && head[0].to_string() == "pub" => {}
            _ => break,
        }
    }
    let head: TokenStream = head.into_iter().take(2).collect();
    (!head.is_empty()).then(|| Error::new_spanned(head, MESSAGE))
}

/// What to say of an attribute on a parameter that is none of this macro's.
pub(crate) fn refinement(attribute: &Attribute) -> Result<attribute::Kind, Error> {
    attribute::Kind::of(attribute).ok_or_else(|| Error::new_spanned(attribute.path(), attribute::unknown(attribute)))
}
