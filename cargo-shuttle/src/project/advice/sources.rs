//! What changes in the sources of a package that is written for Shuttle's own platform, or for running by itself.

use std::{fs, ops::Range, path::Path};

use cargo::core::Package;
use syn::{Attribute, Expr, Item, ItemFn, ReturnType, Stmt, spanned::Spanned as _};

use super::{
    super::{detect, function},
    edits::Edits,
    frameworks::Framework,
};

/// Crates of then whose names give their place to `shuttle_service`.
const RENAMED: [&str; 13] = [
    "shuttle_runtime",
    "shuttle_axum",
    "shuttle_rocket",
    "shuttle_actix_web",
    "shuttle_poem",
    "shuttle_warp",
    "shuttle_salvo",
    "shuttle_tide",
    "shuttle_thruster",
    "shuttle_tower",
    "shuttle_secrets",
    "shuttle_metadata",
    "shuttle_codegen",
];
/// Those whose names only ever stood in an attribute, of which nothing but the last segment counts.
const ATTRIBUTES_ONLY: [&str; 2] = ["shuttle_shared_db", "shuttle_aws_rds"];
/// Crates with a `main` that starts a runtime.
const RUNTIMES: [&str; 5] = ["tokio", "actix_web", "rocket", "async_std", "actix_rt"];

type Replacement = (Range<usize>, String);

/// The changes of all files of the package's library and programs.
pub(super) fn edits(package: &Package, framework: &Framework, base: &Path) -> Vec<Edits> {
    let roots = function::targets(package).filter_map(|target| target.src_path().path());
    let mut files: Vec<_> = roots.flat_map(detect::sources).collect();
    files.sort();
    files.dedup();
    let of = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(path).ok()?;
        let name = path.strip_prefix(base).unwrap_or(path).display().to_string();
        let edits = Edits::of(name, &text, replacements(&text, framework));
        (!edits.is_empty()).then_some(edits)
    };
    files.iter().filter_map(of).collect()
}

/// The line of a `fn main` that no platform's or runtime's attribute stands on.
pub(super) fn plain_main(file: &Path) -> Option<usize> {
    let parsed = syn::parse_file(&fs::read_to_string(file).ok()?).ok()?;
    parsed.items.iter().find_map(|item| match item {
        Item::Fn(function) if function.sig.ident == "main" => Some(function.sig.fn_token.span.start().line),
        _ => None,
    })
}

fn replacements(text: &str, framework: &Framework) -> Vec<Replacement> {
    let mut found = names(text, framework);
    let Ok(parsed) = syn::parse_file(text) else { return found };
    for item in &parsed.items {
        let Item::Fn(function) = item else { continue };
        if function.attrs.iter().any(is_of_then) {
            found.extend(into_removed(function));
        } else if let Some(attribute) = function.attrs.iter().find(|attribute| starts_a_runtime(attribute)) {
            found.extend(of_a_runtime(function, attribute, text, framework));
        }
    }
    found
}

/// Paths into crates of then.
fn names(text: &str, framework: &Framework) -> Vec<Replacement> {
    let mut found = Vec::new();
    let begins = |at: usize| !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    for name in RENAMED {
        for (at, _) in text.match_indices(&format!("{name}::")).filter(|(at, _)| begins(*at)) {
            let after = &text[at + name.len() + 2..];
            let next: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let end = at + name.len() + 2 + next.len();
            let is_reexported = [name.trim_start_matches("shuttle_"), "tokio", "async_trait"].contains(&next.as_str());
            let written = match next.as_str() {
                _ if is_reexported => next,
                "ShuttleAxum" if framework.feature != "axum" && framework.name == "axum" => {
                    let is_import = text[..at].rsplit('\n').next().is_some_and(|line| line.trim_start().starts_with("use "));
                    format!("shuttle_service::{}{}", framework.returns, if is_import { " as ShuttleAxum" } else { "" })
                }
                _ => format!("shuttle_service::{next}"),
            };
            found.push((at..end, written));
        }
    }
    for name in ATTRIBUTES_ONLY {
        for (at, _) in text.match_indices(&format!("use {name}::")) {
            let end = text[at..].find(';').map_or(text.len(), |end| at + end + 1);
            found.push((at..end, String::new()));
        }
    }
    found
}

fn is_of_then(attribute: &Attribute) -> bool {
    let segments: Vec<_> = attribute.path().segments.iter().map(|segment| segment.ident.to_string()).collect();
    matches!(segments.as_slice(), [name, main] if name.starts_with("shuttle_") && main == "main")
}

fn starts_a_runtime(attribute: &Attribute) -> bool {
    let segments: Vec<_> = attribute.path().segments.iter().map(|segment| segment.ident.to_string()).collect();
    match segments.as_slice() {
        [launch] => launch == "launch",
        [name, main] => (main == "main" && RUNTIMES.contains(&name.as_str())) || (name == "rocket" && main == "launch"),
        _ => false,
    }
}

/// `Ok(service.into())` made the wrapper of then; now it is `Ok(service)`.
fn into_removed(function: &ItemFn) -> Option<Replacement> {
    let Some(Stmt::Expr(Expr::Call(call), None)) = function.block.stmts.last() else { return None };
    let Some(Expr::MethodCall(into)) = call.args.first() else { return None };
    let is_into = into.method == "into" && into.args.is_empty();
    is_into.then(|| (into.dot_token.span().byte_range().start..into.paren_token.span.close().byte_range().end, String::new()))
}

/// A `main` that serves by itself becomes a function that returns what it served.
fn of_a_runtime(function: &ItemFn, attribute: &Attribute, text: &str, framework: &Framework) -> Vec<Replacement> {
    let served = served(&function.block.stmts, text);
    // Half of it would be worse than an example.
    if served.is_empty() {
        return served;
    }
    let signature = &function.sig;
    let mut found = vec![(attribute.span().byte_range(), "#[shuttle_service::main]".to_owned())];
    if signature.asyncness.is_none() {
        let at = signature.fn_token.span().byte_range().start;
        found.push((at..at, "async ".to_owned()));
    }
    let returns = format!(" -> shuttle_service::{}", framework.returns);
    let parameters = signature.paren_token.span.close().byte_range().end;
    let end = match &signature.output {
        ReturnType::Default => parameters,
        ReturnType::Type(_, ty) => ty.span().byte_range().end,
    };
    found.push((parameters..end, returns));
    found.extend(served);
    found
}

/// The statement that serves gives its place to what it serves. What binds a socket goes, and so does what speaks of that.
fn served(statements: &[Stmt], text: &str) -> Vec<Replacement> {
    let source = |span: proc_macro2::Span| &text[span.byte_range()];
    let last = statements.len().saturating_sub(1);
    let Some((index, service)) = statements.iter().enumerate().find_map(|(index, statement)| {
        let expression = match statement {
            Stmt::Expr(expression, _) => expression,
            Stmt::Local(local) => &*local.init.as_ref()?.expr,
            _ => return None,
        };
        let is_last = index == last && matches!(statement, Stmt::Expr(_, None));
        service(expression, &source)
            .or_else(|| (is_last && is_rocket(expression)).then(|| source(expression.span()).to_owned()))
            .map(|service| (index, service))
    }) else {
        return Vec::new();
    };
    let mut found = vec![(statements[index].span().byte_range(), format!("Ok({service})"))];
    let mut sockets: Vec<String> = Vec::new();
    for (at, statement) in statements.iter().enumerate().filter(|(at, _)| *at != index) {
        let said = source(statement.span());
        let binds = matches!(statement, Stmt::Local(_)) && (said.contains("::bind(") || said.contains(".bind("));
        if let (true, Stmt::Local(local)) = (binds, statement) {
            sockets.push(source(local.pat.span()).trim_start_matches("mut ").to_owned());
        }
        let speaks = at < index && sockets.iter().any(|socket| said.contains(&format!("{socket}.")));
        if binds || speaks || at > index {
            found.push((statement.span().byte_range(), String::new()));
        }
    }
    found
}

fn is_rocket(expression: &Expr) -> bool {
    let mut expression = expression;
    while let Expr::MethodCall(call) = expression {
        expression = &call.receiver;
    }
    matches!(expression, Expr::Call(call) if matches!(&*call.func, Expr::Path(path) if ["build", "custom"].iter().any(|name| path.path.segments.last().is_some_and(|last| last.ident == name))))
}

/// What a call serves, in the way of each framework.
fn service<'a>(expression: &Expr, source: &impl Fn(proc_macro2::Span) -> &'a str) -> Option<String> {
    match expression {
        Expr::Await(inner) => service(&inner.base, source),
        Expr::Try(inner) => service(&inner.expr, source),
        Expr::Call(call) => {
            let Expr::Path(path) = &*call.func else { return None };
            let name = path.path.segments.last()?.ident.to_string();
            // `axum::serve(listener, router)`
            (name == "serve" && call.args.len() == 2).then(|| {
                let router = source(call.args[1].span());
                router.split(".into_make_service").next().unwrap_or(router).to_owned()
            })
        }
        Expr::MethodCall(call) => {
            let (name, receiver) = (call.method.to_string(), source(call.receiver.span()));
            let argument = call.args.first().map(|argument| source(argument.span()).to_owned());
            match name.as_str() {
                "unwrap" | "expect" | "map_err" | "with_graceful_shutdown" => service(&call.receiver, source),
                // rocket, tide
                "launch" | "listen" if call.args.len() < 2 => Some(receiver.to_owned()),
                // `warp::serve(routes).run(address)`
                "run" if receiver.starts_with("warp::serve(") => {
                    let Expr::Call(serve) = &*call.receiver else { return None };
                    Some(format!("{}.boxed()", source(serve.args.first()?.span())))
                }
                // poem, salvo
                "run" | "serve" if call.args.len() == 1 && receiver.contains("Server::new(") => argument,
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::frameworks::FRAMEWORKS, *};

    fn changed(text: &str, framework: &str) -> String {
        let framework = FRAMEWORKS.iter().find(|one| one.feature == framework).unwrap();
        let mut replacements = replacements(text, framework);
        replacements.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
        let mut text = text.to_owned();
        for (range, new) in replacements {
            text.replace_range(range, &new);
        }
        text.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn names_of_then_become_those_of_now() {
        let text = "use shuttle_runtime::SecretStore;\nuse shuttle_shared_db::Postgres;\nuse my_shuttle_axum::x;\n\
                    #[shuttle_runtime::main]\nasync fn main(#[shuttle_runtime::Secrets] s: SecretStore) -> shuttle_axum::ShuttleAxum {\n\
                    let r = shuttle_axum::axum::Router::new();\nOk(r.into())\n}";
        let expected = "use shuttle_service::SecretStore;\nuse my_shuttle_axum::x;\n\
                    #[shuttle_service::main]\nasync fn main(#[shuttle_service::Secrets] s: SecretStore) -> shuttle_service::ShuttleAxum07 {\n\
                    let r = axum::Router::new();\nOk(r)\n}";
        assert_eq!(changed(text, "axum-0-7"), expected);
    }

    #[test]
    fn what_serves_by_itself_returns_what_it_served() {
        for (framework, text, expected) in [
            (
                "axum",
                "#[tokio::main]\nasync fn main() -> Result<(), E> {\nlet app = Router::new();\nlet listener = TcpListener::bind(\"0.0.0.0:1\").await?;\nprintln!(\"{}\", listener.local_addr()?);\naxum::serve(listener, app.into_make_service()).await?;\nOk(())\n}",
                "#[shuttle_service::main]\nasync fn main() -> shuttle_service::ShuttleAxum {\nlet app = Router::new();\nOk(app)\n}",
            ),
            (
                "rocket",
                "#[launch]\nfn rocket() -> _ {\nrocket::build().mount(\"/\", routes![a])\n}",
                "#[shuttle_service::main]\nasync fn rocket() -> shuttle_service::ShuttleRocket {\nOk(rocket::build().mount(\"/\", routes![a]))\n}",
            ),
            (
                "rocket",
                "#[rocket::main]\nasync fn main() -> Result<(), rocket::Error> {\nlet _rocket = rocket::build().launch().await?;\nOk(())\n}",
                "#[shuttle_service::main]\nasync fn main() -> shuttle_service::ShuttleRocket {\nOk(rocket::build())\n}",
            ),
            (
                "tide",
                "#[async_std::main]\nasync fn main() -> tide::Result<()> {\nlet mut app = tide::new();\napp.listen(\"127.0.0.1:1\").await?;\nOk(())\n}",
                "#[shuttle_service::main]\nasync fn main() -> shuttle_service::ShuttleTide<()> {\nlet mut app = tide::new();\nOk(app)\n}",
            ),
            (
                "warp",
                "#[tokio::main]\nasync fn main() {\nlet hi = warp::path::end();\nwarp::serve(hi).run(([0, 0, 0, 0], 1)).await;\n}",
                "#[shuttle_service::main]\nasync fn main() -> shuttle_service::ShuttleWarp<(impl warp::Reply,)> {\nlet hi = warp::path::end();\nOk(hi.boxed())\n}",
            ),
            (
                "poem",
                "#[tokio::main]\nasync fn main() -> Result<(), E> {\nlet app = Route::new();\nServer::new(TcpListener::bind(\"0.0.0.0:1\")).run(app).await\n}",
                "#[shuttle_service::main]\nasync fn main() -> shuttle_service::ShuttlePoem<impl poem::Endpoint> {\nlet app = Route::new();\nOk(app)\n}",
            ),
            (
                "salvo",
                "#[tokio::main]\nasync fn main() {\nlet acceptor = TcpListener::new(\"0.0.0.0:1\").bind().await;\nServer::new(acceptor).serve(Router::new()).await;\n}",
                "#[shuttle_service::main]\nasync fn main() -> shuttle_service::ShuttleSalvo {\nOk(Router::new())\n}",
            ),
        ] {
            assert_eq!(changed(text, framework), expected, "{text}");
        }
    }
}
