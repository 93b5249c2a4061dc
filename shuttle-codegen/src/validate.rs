//! What a function must be to be an app. Every mistake is an error of its own, on the token that is wrong.

use proc_macro2::Ident;
use syn::{
    Attribute, FnArg, GenericParam, Lifetime, Pat, PatType, Path, ReturnType, Signature, Type, TypeReference,
    ext::IdentExt,
    visit::{self, Visit},
};

use crate::{
    attribute::{self, Kind, Refined},
    entry::Value,
    errors::Errors,
    moved,
    parse::{self, Function},
};

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
    pub(crate) refined: Option<Refined>,
}

/// The app, where nothing is wrong with it. `krate` is the path of shuttle-service, where it has another name.
pub(crate) fn validate<'a>(function: &'a Function, krate: Option<&Path>, errors: &mut Errors) -> Option<App<'a>> {
    let signature = &function.signature;
    check_attributes(&function.attributes, errors);
    check_kind(signature, errors);
    OfThen { krate, errors }.visit_signature(signature);
    let inputs = signature.inputs.iter().zip(&function.refinements);
    let params: Vec<_> = inputs.filter_map(|(input, refinements)| check_param(input, refinements, errors)).collect();
    check_names(&params, errors);
    let returns = check_return(signature, errors)?;
    Some(App { params, returns })
}

/// Two ways to run one function.
fn check_attributes(attributes: &[Attribute], errors: &mut Errors) {
    for attribute in attributes {
        let path = attribute.path();
        let last = path.segments.last().map(|segment| segment.ident.to_string());
        let of_a_framework = path.segments.len() > 1 && last.as_deref() == Some("main");
        if of_a_framework || matches!(last.as_deref(), Some("launch" | "test")) {
            errors.add(path, "the platform starts the function, on a runtime of its own: remove this attribute");
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
    for generic in &signature.generics.params {
        match generic {
            GenericParam::Lifetime(_) => {
                errors
                    .add(generic, "an annotated function has no lifetimes: it owns its parameters, and nobody lends it anything");
            }
            _ => errors.add(generic, "an annotated function is not generic: the platform has no types to give it"),
        }
    }
    if let (true, Some(clause)) = (signature.generics.params.is_empty(), &signature.generics.where_clause) {
        errors.add(clause, "an annotated function has no `where` clause");
    }
    if let Some(variadic) = &signature.variadic {
        errors.add(variadic, "an annotated function has a fixed number of parameters");
    }
}

fn check_param<'a>(input: &'a FnArg, refinements: &[Attribute], errors: &mut Errors) -> Option<Param<'a>> {
    match input {
        FnArg::Receiver(receiver) => {
            errors.add(receiver, "an annotated function stands alone: it has no `self`");
            None
        }
        FnArg::Typed(param) => {
            let refined = check_refinements(refinements, errors);
            let name = check_name(param, errors);
            Owned(errors).visit_type(&param.ty);
            let cfgs = param.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg")).collect();
            Some(Param { name: name?.unraw().to_string(), ty: &param.ty, cfgs, refined })
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

/// Types out of crates that have another platform in them: `shuttle_axum::ShuttleAxum`.
struct OfThen<'a> {
    /// Where shuttle-service is. Its names are no others: a dependency may be called `shuttle_runtime` and be shuttle-service.
    krate: Option<&'a Path>,
    errors: &'a mut Errors,
}

impl OfThen<'_> {
    fn is_sdk(&self, name: &Ident) -> bool {
        self.krate.is_some_and(|path| path.segments.iter().any(|segment| segment.ident == *name))
    }
}

impl<'ast> Visit<'ast> for OfThen<'_> {
    fn visit_path(&mut self, path: &'ast Path) {
        if path.segments.len() > 1
            && let Some(first) = path.segments.first()
            && !self.is_sdk(&first.ident)
            && let Some(instead) = moved::instead(moved::CRATES, &first.ident.to_string().replace('_', "-"))
        {
            self.errors.add(&first.ident, format!("this crate belongs to a platform that has ended: {instead}"));
        }
        visit::visit_path(self, path);
    }

    /// Of an attribute's path only the last segment counts.
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

/// A type that can be made from nothing but what the platform gives: nameable, whole, and borrowing nothing.
struct Owned<'a>(&'a mut Errors);

impl<'ast> Visit<'ast> for Owned<'_> {
    fn visit_type(&mut self, ty: &'ast Type) {
        match ty {
            Type::ImplTrait(_) => self.0.add(ty, "a parameter has a type of its own: the type says which resource it is"),
            Type::Infer(_) => self.0.add(ty, "a parameter's type is written out: the type says which resource it is"),
            // Whatever these take or give, they own it.
            Type::BareFn(_) | Type::TraitObject(_) => {}
            _ => visit::visit_type(self, ty),
        }
    }

    fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
        self.0.add(reference, "a parameter is owned, not a reference: the resource is the function's to keep");
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if lifetime.ident != "static" {
            self.0.add(lifetime, "a parameter borrows from nobody: there is no lifetime but `'static`");
        }
    }
}

fn check_refinements(attributes: &[Attribute], errors: &mut Errors) -> Option<Refined> {
    let mut refined: Option<Refined> = None;
    for attribute in attributes {
        let Some(kind) = errors.take(parse::refinement(attribute)) else { continue };
        let next = attribute::parse(kind, attribute, errors);
        match &refined {
            Some(first) => errors
                .add(attribute.path(), format!("a parameter is one resource: `#[{}]` stands on it already", first.kind.name())),
            None => refined = Some(next),
        }
    }
    refined
}

/// Two parameters that ask for the same database by name would have one with the options of both. Parameters that are there
/// under some condition may exclude each other.
fn check_names(params: &[Param<'_>], errors: &mut Errors) {
    let mut seen: Vec<(Kind, String, &str)> = Vec::new();
    for param in params.iter().filter(|param| param.cfgs.is_empty()) {
        let Some(refined) = &param.refined else { continue };
        if !matches!(refined.kind, Kind::Postgres | Kind::Redis) {
            continue;
        }
        let names = refined.options.iter().filter(|option| option.name == "name");
        for (text, name) in names.filter_map(|option| match &option.value {
            Value::Text(text) => Some((text, text.value())),
            _ => None,
        }) {
            match seen.iter().find(|(kind, other, _)| (*kind, other) == (refined.kind, &name)) {
                Some((_, _, first)) => errors
                    .add(text, format!("the parameter `{first}` is `{name}` already: clone it, or give this one another name")),
                None => seen.push((refined.kind, name, &param.name)),
            }
        }
    }
}

fn check_return<'a>(signature: &'a Signature, errors: &mut Errors) -> Option<&'a Type> {
    match &signature.output {
        ReturnType::Type(_, ty) => Some(ty),
        ReturnType::Default => {
            errors.add_at(
                signature.paren_token.span.close(),
                "an annotated function returns the service: add a return type, such as `-> shuttle_service::ShuttleAxum`",
            );
            None
        }
    }
}
