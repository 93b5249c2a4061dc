//! What stands in the parentheses of an attribute: `name = literal`, or a name alone, separated by commas.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Error, Ident, Lit, LitBool, LitInt, LitStr, Token,
    ext::IdentExt,
    parse::{ParseStream, Parser},
    punctuated::Punctuated,
};

use crate::errors::Errors;

/// `name = value`.
pub(crate) struct Entry {
    pub(crate) name: Ident,
    pub(crate) value: Value,
}

pub(crate) enum Value {
    Text(LitStr),
    Number { at: TokenStream, number: i64 },
    Flag(LitBool),
    List { at: TokenStream, texts: Vec<LitStr> },
}

impl Entry {
    pub(crate) fn name(&self) -> String {
        self.name.unraw().to_string()
    }
}

impl ToTokens for Value {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Text(text) => text.to_tokens(tokens),
            Self::Flag(flag) => flag.to_tokens(tokens),
            Self::Number { at, .. } | Self::List { at, .. } => at.to_tokens(tokens),
        }
    }
}

/// All entries that are well-formed. One that is not is a mistake of its own and does not hide the next.
pub(crate) fn parse(chunks: Vec<TokenStream>, errors: &mut Errors) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for chunk in chunks {
        let Some(entry) = errors.take(parse_entry.parse2(chunk)) else { continue };
        if entries.iter().any(|other| other.name() == entry.name()) {
            errors.add(&entry.name, format!("`{}` is given twice", entry.name()));
        } else {
            entries.push(entry);
        }
    }
    entries
}

/// What stands between commas. After the last one there may be nothing.
pub(crate) fn chunks(tokens: TokenStream, errors: &mut Errors) -> Vec<TokenStream> {
    let mut chunks = Vec::new();
    let mut chunk = TokenStream::new();
    for token in tokens {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ',' => {
                if chunk.is_empty() {
                    errors.add(punct, "nothing stands before this comma: leave it out");
                } else {
                    chunks.push(std::mem::take(&mut chunk));
                }
            }
            token => chunk.extend([token]),
        }
    }
    if !chunk.is_empty() {
        chunks.push(chunk);
    }
    chunks
}

fn parse_entry(input: ParseStream<'_>) -> Result<Entry, Error> {
    if !input.peek(Ident::peek_any) {
        return Err(input.error("a name is expected here, as in `name = \"value\"`"));
    }
    let name = input.call(Ident::parse_any)?;
    if input.is_empty() {
        let value = Value::Flag(LitBool::new(true, name.span()));
        return Ok(Entry { name, value });
    }
    if !input.peek(Token![=]) {
        return Err(input.error(format!("`=` is expected after `{name}`, or a comma")));
    }
    input.parse::<Token![=]>()?;
    if input.is_empty() {
        return Err(Error::new(name.span(), format!("`{name} =` has no value after it")));
    }
    let value = parse_value(input)?;
    if !input.is_empty() {
        return Err(input.error("a comma is expected here"));
    }
    Ok(Entry { name, value })
}

fn parse_value(input: ParseStream<'_>) -> Result<Value, Error> {
    let all: TokenStream = input.fork().parse()?;
    if input.peek(syn::token::Bracket) {
        let inner;
        let bracket = syn::bracketed!(inner in input);
        let at = TokenTree::from(group(&bracket, &inner)?).into();
        let literals = Punctuated::<Lit, Token![,]>::parse_terminated(&inner).map_err(|error| not_literal(error.span()))?;
        let texts = literals.into_iter().map(|literal| match literal {
            Lit::Str(text) => Ok(text),
            other => Err(Error::new_spanned(other, "a list is of strings: `[\"one\", \"two\"]`")),
        });
        return Ok(Value::List { at, texts: texts.collect::<Result<_, _>>()? });
    }
    let minus: Option<Token![-]> = input.parse()?;
    match (minus, input.parse::<Lit>()) {
        (None, Ok(Lit::Str(text))) => Ok(Value::Text(text)),
        (None, Ok(Lit::Bool(flag))) => Ok(Value::Flag(flag)),
        (minus, Ok(Lit::Int(int))) => number(minus, &int),
        (_, Ok(other)) => Err(Error::new_spanned(other, LITERALS)),
        (_, Err(_)) => {
            // All of an expression, not only where it ceased to be a literal.
            input.parse::<TokenStream>()?;
            Err(Error::new_spanned(
                all,
                format!("this is no literal: the value is read from the source, before anything runs. {LITERALS}"),
            ))
        }
    }
}

const LITERALS: &str = "A value is a string, an integer, `true`, `false`, or a list of strings";

fn not_literal(at: Span) -> Error {
    Error::new(at, "a list is of strings: `[\"one\", \"two\"]`")
}

fn group(bracket: &syn::token::Bracket, inner: ParseStream<'_>) -> Result<proc_macro2::Group, Error> {
    let mut group = proc_macro2::Group::new(proc_macro2::Delimiter::Bracket, inner.fork().parse()?);
    group.set_span(bracket.span.join());
    Ok(group)
}

fn number(minus: Option<Token![-]>, int: &LitInt) -> Result<Value, Error> {
    let at = quote::quote!(#minus #int);
    if !int.suffix().is_empty() {
        return Err(Error::new_spanned(at, format!("an integer stands here without a suffix: `{}`", int.base10_digits())));
    }
    let sign = if minus.is_some() { "-" } else { "" };
    match format!("{sign}{}", int.base10_digits()).parse() {
        Ok(number) => Ok(Value::Number { at, number }),
        Err(_) => Err(Error::new_spanned(at, "this integer is too large: it has to fit in an `i64`")),
    }
}
