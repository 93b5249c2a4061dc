//! What a function must be to be an app. Every mistake is an error of its own, on the token that is wrong.

use quote::ToTokens;
use syn::{Attribute, Error, FnArg, Ident, Pat, PatType, ReturnType, Signature, Type, ext::IdentExt};

use crate::parse::{Parsed, is_known};

/// A function that can be an app.
pub(crate) struct App<'a> {
    pub(crate) params: Vec<Param<'a>>,
    pub(crate) returns: &'a Type,
}

/// One of its parameters.
pub(crate) struct Param<'a> {
    /// Its name, as the manifest has it: without an `r#`.
    pub(crate) name: String,
    pub(crate) ty: &'a Type,
    pub(crate) cfgs: Vec<&'a Attribute>,
}

pub(crate) fn validate(parsed: &Parsed) -> Result<App<'_>, Error> {
    let signature = &parsed.function.sig;
    let mut errors = Errors(None);
    check_kind(signature, &mut errors);
    let params = signature.inputs.iter().filter_map(|input| check_param(input, &mut errors)).collect();
    let returns = check_return(signature, &mut errors);
    match (errors.0, returns) {
        (None, Some(returns)) => Ok(App { params, returns }),
        (Some(errors), _) => Err(errors),
        (None, None) => Err(Error::new_spanned(&signature.ident, "this function returns nothing")),
    }
}

struct Errors(Option<Error>);

impl Errors {
    fn add(&mut self, at: impl ToTokens, message: &str) {
        self.combine(Error::new_spanned(at, message));
    }

    fn combine(&mut self, error: Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            none => *none = Some(error),
        }
    }
}

fn check_kind(signature: &Signature, errors: &mut Errors) {
    if signature.asyncness.is_none() {
        errors.add(signature.fn_token, "an annotated function is `async`: write `async fn`");
    }
    if let Some(constness) = &signature.constness {
        errors.add(constness, "an annotated function is not `const`");
    }
    if let Some(unsafety) = &signature.unsafety {
        errors.add(unsafety, "an annotated function is not `unsafe`: the platform calls it");
    }
    if let Some(abi) = &signature.abi {
        errors.add(abi, "an annotated function is an ordinary one; the exported symbol is made for it");
    }
    if !signature.generics.params.is_empty() {
        errors.add(&signature.generics, "an annotated function is not generic: the platform has no types to give it");
    } else if let Some(clause) = &signature.generics.where_clause {
        errors.add(clause, "an annotated function has no `where` clause");
    }
    if let Some(variadic) = &signature.variadic {
        errors.add(variadic, "an annotated function has a fixed number of parameters");
    }
}

fn check_param<'a>(input: &'a FnArg, errors: &mut Errors) -> Option<Param<'a>> {
    match input {
        FnArg::Receiver(receiver) => {
            errors.add(receiver, "an annotated function stands alone: it has no `self`");
            None
        }
        FnArg::Typed(param) => {
            check_type(&param.ty, errors);
            let cfgs = check_attributes(&param.attrs, errors);
            let name = check_name(param, errors)?;
            Some(Param { name: name.unraw().to_string(), ty: &param.ty, cfgs })
        }
    }
}

fn check_name<'a>(param: &'a PatType, errors: &mut Errors) -> Option<&'a Ident> {
    match &*param.pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => Some(&pat.ident),
        pattern => {
            errors.add(pattern, "a parameter is a plain name, as it names the resource: take it apart in the body");
            None
        }
    }
}

fn check_type(ty: &Type, errors: &mut Errors) {
    match ty {
        Type::ImplTrait(_) => errors.add(ty, "a parameter has a type of its own: the type says which resource it is"),
        Type::Reference(_) => errors.add(ty, "a parameter is owned, not a reference: the resource is the function's to keep"),
        _ => {}
    }
}

fn check_attributes<'a>(attributes: &'a [Attribute], errors: &mut Errors) -> Vec<&'a Attribute> {
    for attribute in attributes.iter().filter(|attribute| !is_known(attribute)) {
        errors.add(attribute, "a parameter takes no attribute but `#[cfg(…)]`: its type says which resource it is");
    }
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).collect()
}

fn check_return<'a>(signature: &'a Signature, errors: &mut Errors) -> Option<&'a Type> {
    match &signature.output {
        ReturnType::Type(_, ty) => Some(ty),
        ReturnType::Default => {
            errors.combine(Error::new(
                signature.paren_token.span.close(),
                "an annotated function returns the service: add a return type, such as `-> shuttle_service::ShuttleAxum`",
            ));
            None
        }
    }
}
