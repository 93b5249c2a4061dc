//! The kinds of services, each with the app in `fixtures/services` that shows it.

/// A kind of service that serves HTTP.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// The app's package.
    pub(crate) package: &'static str,
    /// What the annotated function returns.
    pub(crate) returns: &'static str,
    /// The library that it is from, and the versions of it that will do.
    pub(crate) library: Option<(&'static str, &'static str)>,
    /// The feature of shuttle-service.
    pub(crate) feature: Option<&'static str>,
    /// The name in shuttle-service of the `Result` with it.
    pub(crate) alias: Option<&'static str>,
}

/// A test and a row of the matrix for each.
macro_rules! cases {
    ($($test:ident: $package:literal, $returns:literal, $library:expr, $feature:expr, $alias:expr;)+) => {
        pub(crate) const CASES: &[Case] =
            &[$(Case { package: $package, returns: $returns, library: $library, feature: $feature, alias: $alias }),+];

        $(
            #[test]
            fn $test() {
                crate::check($package);
            }
        )+
    };
}

cases! {
    axum_0_8: "axum-0-8", "axum::Router", Some(("axum", "0.8")), Some("axum"), Some("ShuttleAxum");
    axum_0_7: "axum-0-7", "axum::Router", Some(("axum", "0.7")), Some("axum-0-7"), Some("ShuttleAxum07");
    rocket_0_5: "rocket-0-5", "rocket::Rocket<rocket::Build>", Some(("rocket", "0.5")), Some("rocket"), Some("ShuttleRocket");
    actix_web_4: "actix-web-4", "impl FnOnce(&mut ServiceConfig) + Send + Clone + 'static", Some(("actix-web", "4")), Some("actix-web"), Some("ShuttleActixWeb<…>");
    poem_3: "poem-3", "impl poem::Endpoint", Some(("poem", "3")), Some("poem"), Some("ShuttlePoem<…>");
    warp_0_4: "warp-0-4", "warp::filters::BoxedFilter<(T,)>", Some(("warp", "0.4")), Some("warp"), Some("ShuttleWarp<(T,)>");
    warp_filter: "warp-filter", "impl warp::Filter<Extract = (impl warp::Reply,), Error = …> + Clone", Some(("warp", "0.4")), Some("warp"), None;
    salvo_1: "salvo-1", "salvo::Router", Some(("salvo", "1")), Some("salvo"), Some("ShuttleSalvo");
    tide_0_16: "tide-0-16", "tide::Server<State>", Some(("tide", "0.16")), Some("tide"), Some("ShuttleTide<State>");
    thruster_1: "thruster-1", "thruster::App<HyperRequest, Context, State>", Some(("thruster", "1")), Some("thruster"), Some("ShuttleThruster<…>");
    tower_hyper_1: "tower-hyper-1", "Tower<impl tower::Service<hyper::Request<Incoming>>>", Some(("hyper", "1")), Some("tower"), Some("ShuttleTower<…>");
    on_unix: "on-unix", "OnUnix", None, None, None;
    on_tcp: "on-tcp", "OnTcp", None, None, None;
}
