//! The frameworks that shuttle-service serves, each with its feature and the least app that is written with it. What stands
//! here is told to newcomers, and a test has cargo build each of them as it is told.

use cargo::core::Package;

/// A version of a framework that can be returned from an annotated function.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Framework {
    /// The crate.
    pub(crate) name: &'static str,
    /// The versions that will do, as a requirement.
    pub(crate) version: &'static str,
    /// The feature of shuttle-service.
    pub(crate) feature: &'static str,
    /// What an annotated function returns, without the crate.
    pub(crate) returns: &'static str,
    /// An app.
    pub(crate) code: &'static str,
}

const AXUM: &str = r#"#[shuttle_service::main]
async fn app() -> shuttle_service::ShuttleAxum {
    Ok(axum::Router::new().route("/", axum::routing::get(|| async { "Hello, world!" })))
}"#;

const AXUM_0_7: &str = r#"#[shuttle_service::main]
async fn app() -> shuttle_service::ShuttleAxum07 {
    Ok(axum::Router::new().route("/", axum::routing::get(|| async { "Hello, world!" })))
}"#;

const ROCKET: &str = r#"#[rocket::get("/")]
fn hello() -> &'static str {
    "Hello, world!"
}

#[shuttle_service::main]
async fn app() -> shuttle_service::ShuttleRocket {
    Ok(rocket::build().mount("/", rocket::routes![hello]))
}"#;

const ACTIX_WEB: &str = r#"use actix_web::web::{self, ServiceConfig};

#[shuttle_service::main]
async fn app() -> shuttle_service::ShuttleActixWeb<impl FnOnce(&mut ServiceConfig) + Send + Clone + 'static> {
    Ok(|config: &mut ServiceConfig| {
        config.route("/", web::get().to(|| async { "Hello, world!" }));
    })
}"#;

const POEM: &str = r#"#[poem::handler]
fn hello() -> &'static str {
    "Hello, world!"
}

#[shuttle_service::main]
async fn app() -> shuttle_service::ShuttlePoem<impl poem::Endpoint> {
    Ok(poem::Route::new().at("/", poem::get(hello)))
}"#;

const WARP: &str = r#"use warp::Filter;

#[shuttle_service::main]
async fn app() -> shuttle_service::ShuttleWarp<(&'static str,)> {
    Ok(warp::path::end().map(|| "Hello, world!").boxed())
}"#;

const SALVO: &str = r#"#[salvo::handler]
async fn hello() -> &'static str {
    "Hello, world!"
}

#[shuttle_service::main]
async fn app() -> shuttle_service::ShuttleSalvo {
    Ok(salvo::Router::new().get(hello))
}"#;

const TIDE: &str = r#"#[shuttle_service::main]
async fn app() -> shuttle_service::ShuttleTide<()> {
    let mut app = tide::new();
    app.at("/").get(|_| async { Ok("Hello, world!") });
    Ok(app)
}"#;

const THRUSTER: &str = r#"use thruster::{
    App, BasicHyperContext, HyperRequest, MiddlewareNext, MiddlewareResult,
    context::basic_hyper_context::generate_context, m, middleware_fn,
};

#[middleware_fn]
async fn hello(mut context: BasicHyperContext, _: MiddlewareNext<BasicHyperContext>) -> MiddlewareResult<BasicHyperContext> {
    context.body("Hello, world!");
    Ok(context)
}

#[shuttle_service::main]
async fn app() -> shuttle_service::ShuttleThruster<App<HyperRequest, BasicHyperContext, ()>> {
    Ok(App::create(generate_context, ()).get("/", m![hello]))
}"#;

/// The first one is for a package that has none. A crate's newer version goes before an older one.
pub(crate) const FRAMEWORKS: &[Framework] = &[
    Framework { name: "axum", version: "0.8", feature: "axum", returns: "ShuttleAxum", code: AXUM },
    Framework { name: "axum", version: "0.7", feature: "axum-0-7", returns: "ShuttleAxum07", code: AXUM_0_7 },
    Framework { name: "rocket", version: "0.5", feature: "rocket", returns: "ShuttleRocket", code: ROCKET },
    Framework {
        name: "actix-web",
        version: "4",
        feature: "actix-web",
        returns: "ShuttleActixWeb<impl FnOnce(&mut actix_web::web::ServiceConfig) + Send + Clone + 'static>",
        code: ACTIX_WEB,
    },
    Framework { name: "poem", version: "3", feature: "poem", returns: "ShuttlePoem<impl poem::Endpoint>", code: POEM },
    Framework { name: "warp", version: "0.4", feature: "warp", returns: "ShuttleWarp<(impl warp::Reply,)>", code: WARP },
    Framework { name: "salvo", version: "1", feature: "salvo", returns: "ShuttleSalvo", code: SALVO },
    Framework { name: "tide", version: "0.16", feature: "tide", returns: "ShuttleTide<()>", code: TIDE },
    Framework {
        name: "thruster",
        version: "1",
        feature: "thruster",
        returns: "ShuttleThruster<thruster::App<thruster::HyperRequest, thruster::BasicHyperContext, ()>>",
        code: THRUSTER,
    },
];

/// Clients of databases: the crate, its versions, the feature of shuttle-service.
const CLIENTS: &[(&str, &str, &str)] = &[
    ("sqlx", "0.9", "sqlx-postgres"),
    ("sqlx", "0.8", "sqlx-0-8"),
    ("tokio-postgres", "0.7", "tokio-postgres"),
    ("deadpool-postgres", "0.14", "deadpool-postgres"),
    ("diesel-async", "0.9", "diesel-async"),
    ("sea-orm", "2", "sea-orm"),
    ("redis", "1", "redis"),
    ("redis", "0.32", "redis-0-32"),
    ("deadpool-redis", "0.23", "deadpool-redis"),
    ("deadpool-redis", "0.22", "deadpool-redis-0-22"),
];

/// The framework that a package is written with.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) framework: &'static Framework,
    /// How the package depends on it already.
    pub(crate) there: There,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum There {
    /// Not at all.
    No,
    /// In a version that will do.
    Yes,
    /// In this one, which will not do.
    Version(String),
}

/// The framework among the dependencies of a package, or else the one to begin with.
pub(crate) fn chosen(package: &Package) -> Chosen {
    let mut other = None;
    for framework in FRAMEWORKS {
        let Some(found) = series(package, framework.name) else { continue };
        match found {
            Some(found) if found != framework.version => drop(other.get_or_insert((framework, found))),
            _ => return Chosen { framework, there: There::Yes },
        }
    }
    match other {
        Some((framework, found)) => Chosen { framework, there: There::Version(found) },
        None => Chosen { framework: &FRAMEWORKS[0], there: There::No },
    }
}

/// The features for the clients among a package's dependencies.
pub(crate) fn client_features(package: &Package) -> Vec<&'static str> {
    let has = |name: &str, version: &str| series(package, name).is_some_and(|found| found.is_none_or(|found| found == version));
    CLIENTS.iter().filter(|(name, version, _)| has(name, version)).map(|(_, _, feature)| *feature).collect()
}

/// Which versions of a crate a package asks for, where it depends on it; `None` inside where any will do.
fn series(package: &Package, name: &str) -> Option<Option<String>> {
    let dependency = package.dependencies().iter().find(|dependency| dependency.package_name() == name)?;
    Some(first_series(&dependency.version_req().to_string()))
}

/// The series that the first version of a requirement belongs to: `0.8` for `^0.8.4`, `4` for `>=4.1, <5`.
fn first_series(requirement: &str) -> Option<String> {
    let version = requirement.trim_start_matches(|c: char| !c.is_ascii_digit());
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    let major = parts.next().filter(|major| !major.is_empty())?;
    match parts.next().filter(|minor| !minor.is_empty()) {
        Some(minor) if major == "0" => Some(format!("0.{minor}")),
        None if major == "0" => None,
        _ => Some(major.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn a_requirement_belongs_to_the_series_of_its_first_version() {
        for (requirement, series) in [
            ("^0.8.4", Some("0.8")),
            ("=0.5.0-rc.2", Some("0.5")),
            (">=4.1, <5", Some("4")),
            ("~1", Some("1")),
            ("1.*", Some("1")),
            ("*", None),
            ("^0", None),
        ] {
            assert_eq!(first_series(requirement).as_deref(), series, "{requirement}");
        }
    }

    /// What is told here is what shuttle-service has.
    #[test]
    fn every_feature_is_one_of_shuttle_service() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("shuttle-service").join("Cargo.toml");
        let manifest: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
        let features = manifest["features"].as_table().unwrap();
        let told = FRAMEWORKS.iter().map(|one| one.feature).chain(CLIENTS.iter().map(|(_, _, feature)| *feature));
        for feature in told {
            assert!(features.contains_key(feature), "{feature}");
        }
        // A framework or client that is added there is told here as well.
        let named: Vec<_> =
            FRAMEWORKS.iter().map(|one| (one.name, one.version)).chain(CLIENTS.iter().map(|one| (one.0, one.1))).collect();
        for (feature, version) in features.keys().filter_map(|feature| split(feature)) {
            // The facade of hyper; a service of it is written by hand.
            if feature != "tower-hyper" {
                assert!(named.contains(&(feature, version.as_str())), "{feature} {version}");
            }
        }
    }

    /// `axum-0-8` is axum 0.8.
    fn split(feature: &str) -> Option<(&str, String)> {
        let at = feature.find(|c: char| c.is_ascii_digit())?;
        let name = feature[..at].strip_suffix('-')?;
        (!feature.starts_with('_')).then(|| (name, feature[at..].replace('-', ".")))
    }
}
