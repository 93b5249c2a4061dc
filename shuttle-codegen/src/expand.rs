//! From a function that can be an app to the function, its entry and its manifest.
//!
//! All of it stands in one unnamed constant, so that no name of it meets a user's, and all of its tokens are the macro's,
//! so that a user's `forbid(unsafe_code)` and `deny(warnings)` do not concern it. Only a parameter's type and the reference
//! to the function are put where the user wrote theirs: that is where a wrong type is reported.
//!
//! In a program the same stands in its `fn main`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::Attribute;

use crate::{
    entry::{Entry, Value},
    errors::Errors,
    parse::Function,
    settings::{Arguments, Settings},
    validate::{App, Param},
};

/// What is being compiled.
pub(crate) struct Target {
    /// Its crate name, underscores for hyphens.
    pub(crate) crate_name: String,
    /// Whether it is a program, and not a library.
    pub(crate) program: bool,
}

impl Target {
    /// As cargo says. An editor may expand without saying anything.
    pub(crate) fn of_cargo() -> Self {
        Self {
            crate_name: std::env::var("CARGO_CRATE_NAME").unwrap_or_else(|_| "unknown".to_owned()),
            program: std::env::var_os("CARGO_BIN_NAME").is_some(),
        }
    }
}

/// The item, and the errors beside it. A program keeps its `main`, as a missing one would be one more error.
pub(crate) fn only_errors(item: impl ToTokens, errors: &Errors, target: &Target) -> TokenStream {
    let main = target.program.then(|| {
        quote!(
            fn main() {}
        )
    });
    quote!(#item #main #errors)
}

/// The function under a name that a program's `main` does not take from it.
pub(crate) fn emitted(mut function: Function, target: &Target) -> Function {
    let name = &mut function.signature.ident;
    if target.program && name == "main" {
        *name = Ident::new("__shuttle_main", name.span());
    }
    function
}

pub(crate) fn expand(function: &Function, app: &App<'_>, arguments: &Arguments, target: &Target) -> TokenStream {
    let name = &function.signature.ident;
    let krate = match &arguments.krate {
        Some(path) => quote!(#path),
        None => quote!(::shuttle_service),
    };
    let params = params(app);
    let service = service(name, app);
    let settings = settings(&arguments.settings);
    let crate_name = &target.crate_name;
    let infos = app.params.iter().enumerate().map(|(index, param)| {
        let (cfgs, constant) = (&param.cfgs, param_constant(index));
        quote!(#(#cfgs)* #constant.info)
    });
    let start = start(name, app);
    let only_one = only_one(name);

    let inside = quote! {
        use #krate::__private as __shuttle;

        #params
        #service
        #settings

        const __MANIFEST: __shuttle::Manifest = __shuttle::Manifest {
            crate_name: #crate_name,
            service: __SERVICE.info,
            settings: __SETTINGS,
            params: &[#(#infos),*],
        };

        #[used]
        #[cfg_attr(target_os = "linux", unsafe(link_section = ".shuttle.manifest"))]
        static __RECORD: [u8; __MANIFEST.record_len()] = __MANIFEST.record();
    };
    if target.program {
        return quote! {
            #function
            #only_one

            fn main() -> ::std::process::ExitCode {
                #inside

                __shuttle::main(&__SERVICE, &__RECORD, #start)
            }
        };
    }
    let export = export(name, target);
    quote! {
        #function
        #only_one

        const _: () = {
            #inside

            extern "C" fn __run(__launch: *const u8, __len: usize) -> i32 {
                // SAFETY: the runner calls this as the ABI says: once, with so many bytes at `__launch`.
                unsafe { __shuttle::run(__launch, __len, &__SERVICE, #start) }
            }

            #export
        };
    }
}

/// A name that a second annotated function of the same module meets: its error says what is wrong.
fn only_one(function: &Ident) -> TokenStream {
    quote_spanned!(macros_own(function.span())=> const _ONLY_ONE_FUNCTION_OF_A_CRATE_IS_ANNOTATED: () = ();)
}

/// The exported symbol. A second one in the same crate is the compiler's to refuse: it is told on the second function.
fn export(function: &Ident, target: &Target) -> TokenStream {
    let symbol = format!("__shuttle_service_entry_{}", target.crate_name);
    quote_spanned! {macros_own(function.span())=>
        #[unsafe(export_name = #symbol)]
        static __EXPORT: __shuttle::Export = __shuttle::Export::new(__run, &__RECORD);
    }
}

/// A place in the user's code, for tokens that are the macro's.
fn macros_own(at: Span) -> Span {
    Span::call_site().located_at(at)
}

fn param_constant(index: usize) -> Ident {
    format_ident!("__PARAM_{index}")
}

/// One constant a parameter: the only place where its type has to be a resource.
fn params(app: &App<'_>) -> TokenStream {
    let constants = app.params.iter().enumerate().map(|(index, param)| {
        let (cfgs, name, ty, constant) = (&param.cfgs, &param.name, param.ty, param_constant(index));
        let options = param.refined.iter().flat_map(|refined| &refined.options).map(option);
        let checks = checks(&constant, param);
        quote! {
            #(#cfgs)*
            const #constant: __shuttle::Param<#ty> = __shuttle::param::<#ty>(#name, &[#(#options),*]);
            #(#checks)*
        }
    });
    quote!(#(#constants)*)
}

fn option(option: &Entry) -> TokenStream {
    let name = option.name();
    let value = match &option.value {
        Value::Text(text) => {
            let text = text.value();
            quote!(Text(#text))
        }
        Value::Number { number, .. } => quote!(Number(#number)),
        Value::Flag(flag) => {
            let flag = flag.value;
            quote!(Flag(#flag))
        }
        Value::List { texts, .. } => {
            let texts = texts.iter().map(syn::LitStr::value);
            quote!(List(&[#(#texts),*]))
        }
    };
    quote!(__shuttle::OptionEntry { name: #name, value: __shuttle::OptionValue::#value })
}

/// Whether the attribute fits the parameter's type, each check where its error is to be.
fn checks(constant: &Ident, param: &Param<'_>) -> Vec<TokenStream> {
    let Some(refined) = &param.refined else { return Vec::new() };
    let constant = &constant.to_string();
    let cfgs = &param.cfgs;
    let kind = refined.kind.manifest_type().map(|kind| {
        let written = refined.kind.name();
        check(cfgs, spread(&refined.path, constant, "check_kind", &quote!(#written, #kind)))
    });
    let options = refined
        .options
        .iter()
        .enumerate()
        .map(|(index, option)| check(cfgs, spread(&option.name, constant, "check_option", &quote!(#index))));
    kind.into_iter().chain(options).collect()
}

/// A call that is made at compile time.
fn check(cfgs: &[&Attribute], call: TokenStream) -> TokenStream {
    quote!(#(#cfgs)* const _: () = #call;)
}

/// `constant.method(arguments)`, from the first of these tokens to the last.
fn spread(at: &impl ToTokens, constant: &str, method: &str, arguments: &TokenStream) -> TokenStream {
    let (first, last) = ends(at);
    let (constant, method) = (Ident::new(constant, first), Ident::new(method, last));
    quote_spanned!(last=> #constant.#method(#arguments))
}

/// What is known of the service, learned from a call that is typed and never made: the only place where the function's
/// result has to be a service. The call stands where the return type does.
fn service(function: &Ident, app: &App<'_>) -> TokenStream {
    let arguments = app.params.iter().map(|param| {
        let cfgs = &param.cfgs;
        quote!(#(#cfgs)* __args.any())
    });
    let (first, last) = ends(app.returns);
    let (scope, name) = (quote_spanned!(first=> __shuttle::), quote_spanned!(last=> service));
    let call = quote_spanned!(last=> (&|__args: __shuttle::Args| #function(#(#arguments),*)));
    quote! {
        const __SERVICE: __shuttle::ServiceEntry = #scope #name #call;
    }
}

/// What the annotation asks for, and whether the service can have it.
fn settings(settings: &Settings) -> TokenStream {
    let Settings { idle_timeout_s, always_on, health_path, memory_bytes, instances, .. } = settings;
    let (idle_timeout_s, always_on) = (optional(idle_timeout_s.as_ref()), optional(always_on.as_ref()));
    let (health_path, memory_bytes) = (optional(health_path.as_ref()), optional(memory_bytes.as_ref()));
    let instances = optional(instances.as_ref());
    let checks = settings.of_requests.iter().map(|name| {
        let text = name.to_string();
        check(&[], spread(name, "__SERVICE", "check_is_sent_requests", &quote!(#text)))
    });
    quote! {
        const __SETTINGS: __shuttle::SettingsInfo = __shuttle::SettingsInfo {
            idle_timeout_s: #idle_timeout_s,
            always_on: #always_on,
            health_path: #health_path,
            memory_bytes: #memory_bytes,
            instances: #instances,
        };
        #(#checks)*
    }
}

fn optional(value: Option<&impl ToTokens>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

/// Spans of the first and the last token, as the macro's own code: an expression from the one to the other is underlined
/// as they would be.
fn ends(tokens: &impl ToTokens) -> (Span, Span) {
    let tokens: Vec<_> = tokens.to_token_stream().into_iter().collect();
    match (tokens.first(), tokens.last()) {
        (Some(first), Some(last)) => (macros_own(first.span()), macros_own(last.span())),
        _ => (Span::call_site(), Span::call_site()),
    }
}

/// The closure that makes the resources and calls the function.
fn start(function: &Ident, app: &App<'_>) -> TokenStream {
    let values: Vec<_> = (0..app.params.len()).map(|index| format_ident!("__param_{index}")).collect();
    let makes = app.params.iter().enumerate().map(|(index, param)| {
        let (cfgs, constant, value) = (&param.cfgs, param_constant(index), &values[index]);
        quote! {
            #(#cfgs)*
            let #value = #constant.make(&__resources).await?;
        }
    });
    let arguments = app.params.iter().zip(&values).map(|(param, value)| {
        let cfgs = &param.cfgs;
        quote!(#(#cfgs)* #value)
    });
    quote! {
        |__resources: __shuttle::Resources| async move {
            #(#makes)*
            ::core::result::Result::Ok(__resources.call(#function(#(#arguments),*)).await)
        }
    }
}
