//! From a function that can be an app to the function, its entry and its manifest.
//!
//! All of it stands in one unnamed constant, so that no name of it meets a user's, and all of its tokens are the macro's,
//! so that a user's `forbid(unsafe_code)` and `deny(warnings)` do not concern it. Only a parameter's type and the reference
//! to the function are put where the user wrote theirs: that is where a wrong type is reported.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Error, Type, spanned::Spanned};

use crate::{parse::Parsed, validate::App};

/// The item, and the errors beside it.
pub(crate) fn only_errors(item: &TokenStream, error: &Error) -> TokenStream {
    let error = error.to_compile_error();
    quote!(#item #error)
}

pub(crate) fn expand(parsed: &Parsed, app: &App<'_>) -> TokenStream {
    let function = parsed.stripped();
    let krate = match &parsed.arguments.krate {
        Some(path) => quote!(#path),
        None => quote!(::shuttle_service),
    };
    let crate_name = crate_name();
    let symbol = format!("__shuttle_service_entry_{crate_name}");
    let params = params(app);
    let service = service(&parsed.function.sig.ident, app);
    let run = run(&parsed.function.sig.ident, app);
    let infos = app.params.iter().enumerate().map(|(index, param)| {
        let (cfgs, constant) = (&param.cfgs, param_constant(index));
        quote!(#(#cfgs)* #constant.info)
    });

    quote! {
        #function

        const _: () = {
            use #krate::__private as __shuttle;

            #params
            #service

            const __MANIFEST: __shuttle::Manifest = __shuttle::Manifest {
                crate_name: #crate_name,
                service: __SERVICE.info,
                settings: __shuttle::SettingsInfo::DEFAULT,
                params: &[#(#infos),*],
            };

            #[used]
            #[cfg_attr(target_os = "linux", unsafe(link_section = ".shuttle.manifest"))]
            static __RECORD: [u8; __MANIFEST.record_len()] = __MANIFEST.record();

            #run

            #[unsafe(export_name = #symbol)]
            static __EXPORT: __shuttle::Export = __shuttle::Export::new(__run, &__RECORD);
        };
    }
}

/// The crate that is being compiled, underscores for hyphens. An editor may expand without saying which.
fn crate_name() -> String {
    std::env::var("CARGO_CRATE_NAME").unwrap_or_else(|_| "unknown".to_owned())
}

fn param_constant(index: usize) -> Ident {
    format_ident!("__PARAM_{index}")
}

/// One constant a parameter: the only place where its type has to be a resource.
fn params(app: &App<'_>) -> TokenStream {
    let constants = app.params.iter().enumerate().map(|(index, param)| {
        let (cfgs, name, ty, constant) = (&param.cfgs, &param.name, param.ty, param_constant(index));
        quote! {
            #(#cfgs)*
            const #constant: __shuttle::Param<#ty> = __shuttle::param::<#ty>(#name, &[]);
        }
    });
    quote!(#(#constants)*)
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

/// Spans of a type's first and last token, as the macro's own code: an expression from the one to the other is underlined
/// as the type would be.
fn ends(ty: &Type) -> (Span, Span) {
    let tokens: Vec<_> = quote!(#ty).into_iter().collect();
    let at = |span: Span| Span::call_site().located_at(span);
    match (tokens.first(), tokens.last()) {
        (Some(first), Some(last)) => (at(first.span()), at(last.span())),
        _ => (at(ty.span()), at(ty.span())),
    }
}

/// The entry behind the exported symbol.
fn run(function: &Ident, app: &App<'_>) -> TokenStream {
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
        extern "C" fn __run(__launch: *const u8, __len: usize) -> i32 {
            // SAFETY: the runner calls this as the ABI says: once, with so many bytes at `__launch`.
            unsafe {
                __shuttle::run(__launch, __len, &__SERVICE, |__resources: __shuttle::Resources| async move {
                    #(#makes)*
                    ::core::result::Result::Ok(__resources.call(#function(#(#arguments),*)).await)
                })
            }
        }
    }
}
