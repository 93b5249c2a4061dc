//! From a function that can be an app to the function, its entry and its manifest.
//!
//! All of it stands in one unnamed constant, so that no name of it meets a user's, and all of its tokens are the macro's,
//! so that a user's `forbid(unsafe_code)` and `deny(warnings)` do not concern it. Only a parameter's type and the reference
//! to the function are put where the user wrote theirs: that is where a wrong type is reported.
//!
//! In a program the same stands in its `fn main`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};

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
    let name = Ident::new("_ONLY_ONE_FUNCTION_OF_A_CRATE_IS_ANNOTATED", macros_own(function.span()));
    quote!(const #name: () = ();)
}

/// The exported symbol. A second one in the same crate is the compiler's to refuse: it is told on the second function.
fn export(function: &Ident, target: &Target) -> TokenStream {
    let symbol = format!("__shuttle_service_entry_{}", target.crate_name);
    let name = Ident::new("__EXPORT", macros_own(function.span()));
    quote! {
        #[unsafe(export_name = #symbol)]
        static #name: __shuttle::Export = __shuttle::Export::new(__run, &__RECORD);
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
    let cfgs = &param.cfgs;
    let kind = refined.kind.manifest_type().map(|kind| {
        let (written, call) = (refined.kind.name(), spread(&refined.path, constant, "check_kind"));
        quote!(#(#cfgs)* const _: () = #call(#written, #kind);)
    });
    let options = refined.options.iter().enumerate().map(|(index, option)| {
        let call = spread(&option.name, constant, "check_option");
        quote!(#(#cfgs)* const _: () = #call(#index);)
    });
    kind.into_iter().chain(options).collect()
}

/// `constant.method`, from the first of these tokens to the last.
fn spread(at: &impl ToTokens, constant: &Ident, method: &str) -> TokenStream {
    let (first, last) = ends(at);
    let (constant, method) = (Ident::new(&constant.to_string(), first), Ident::new(method, last));
    quote_spanned!(last=> #constant.#method)
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
    let numbers = settings.idle_timeout_s.map(|seconds| quote!(idle_timeout_s: ::core::option::Option::Some(#seconds),));
    let always_on = settings.always_on.map(|flag| quote!(always_on: ::core::option::Option::Some(#flag),));
    let path = settings.health_path.iter().map(|path| quote!(health_path: ::core::option::Option::Some(#path),));
    let memory = settings.memory_bytes.map(|bytes| quote!(memory_bytes: ::core::option::Option::Some(#bytes),));
    let instances = settings.instances.map(|count| quote!(instances: ::core::option::Option::Some(#count),));
    let checks = settings.of_requests.iter().map(|name| {
        let (at, text) = (macros_own(name.span()), name.to_string());
        let (service, method) = (Ident::new("__SERVICE", at), Ident::new("check_is_sent_requests", at));
        let call = quote_spanned!(at=> #service.#method(#text));
        quote!(const _: () = #call;)
    });
    quote! {
        const __SETTINGS: __shuttle::SettingsInfo = __shuttle::SettingsInfo {
            #numbers #always_on #(#path)* #memory #instances
            ..__shuttle::SettingsInfo::DEFAULT
        };
        #(#checks)*
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
