//! The types of parameters, each with the app in `fixtures/parameters` that shows it.

/// A type that can be a parameter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// The app's package.
    pub(crate) package: &'static str,
    /// The parameter's name in it.
    pub(crate) parameter: &'static str,
    /// The parameter's type.
    pub(crate) ty: &'static str,
    /// The library that it is from, and the versions of it that will do.
    pub(crate) library: Option<(&'static str, &'static str)>,
    /// The feature of shuttle-service.
    pub(crate) feature: Option<&'static str>,
}

/// A test and a row of the matrix for each: the app is asked for this path, and answers this.
macro_rules! cases {
    ($($test:ident: $package:literal $parameter:literal, $ty:literal, $library:expr, $feature:expr, $path:literal => $answer:expr;)+) => {
        pub(crate) const CASES: &[Case] = &[
            $(Case { package: $package, parameter: $parameter, ty: $ty, library: $library, feature: $feature }),+
        ];

        $(
            #[test]
            fn $test() {
                crate::check($package, $path, $answer);
            }
        )+
    };
}

cases! {
    sqlx_0_9: "sqlx-0-9" "pool", "sqlx::PgPool", Some(("sqlx", "0.9")), Some("sqlx-postgres"), "/" => "migrated, at most 3";
    sqlx_0_8: "sqlx-0-8" "pool", "sqlx::PgPool", Some(("sqlx", "0.8")), Some("sqlx-0-8"), "/" => "migrated, at most 3";
    tokio_postgres_0_7: "tokio-postgres-0-7" "client", "tokio_postgres::Client", Some(("tokio-postgres", "0.7")), Some("tokio-postgres"), "/" => "2";
    deadpool_postgres_0_14: "deadpool-postgres-0-14" "pool", "deadpool_postgres::Pool", Some(("deadpool-postgres", "0.14")), Some("deadpool-postgres"), "/" => "2, at most 3";
    diesel_async_0_9: "diesel-async-0-9" "pool", "diesel_async::pooled_connection::deadpool::Pool<AsyncPgConnection>", Some(("diesel-async", "0.9")), Some("diesel-async"), "/" => "2, at most 3";
    sea_orm_2: "sea-orm-2" "connection", "sea_orm::DatabaseConnection", Some(("sea-orm", "2")), Some("sea-orm"), "/" => "migrated, at most 3";
    redis_1_client: "redis-1" "client", "redis::Client", Some(("redis", "1")), Some("redis"), "/client" => "kept";
    redis_1_manager: "redis-1" "manager", "redis::aio::ConnectionManager", Some(("redis", "1")), Some("redis"), "/manager" => "kept";
    redis_0_32_client: "redis-0-32" "client", "redis::Client", Some(("redis", "0.32")), Some("redis-0-32"), "/client" => "kept";
    redis_0_32_manager: "redis-0-32" "manager", "redis::aio::ConnectionManager", Some(("redis", "0.32")), Some("redis-0-32"), "/manager" => "kept";
    deadpool_redis_0_23: "deadpool-redis-0-23" "pool", "deadpool_redis::Pool", Some(("deadpool-redis", "0.23")), Some("deadpool-redis"), "/" => "kept, at most 3";
    deadpool_redis_0_22: "deadpool-redis-0-22" "pool", "deadpool_redis::Pool", Some(("deadpool-redis", "0.22")), Some("deadpool-redis-0-22"), "/" => "kept, at most 3";
    plain_postgres: "plain-postgres" "database", "shuttle_service::Postgres", None, None, "/" => "2";
    plain_redis: "plain-redis" "cache", "shuttle_service::Redis", None, None, "/" => "+OK +OK $4 kept +OK";
    secrets: "secrets" "secrets", "shuttle_service::SecretStore", None, None, "/" => "k3y, 3 retries, proxy None";
    persist: "persist" "folder", "shuttle_service::PersistDir", None, None, "/" => "I";
    metadata: "metadata" "metadata", "shuttle_service::Metadata", None, None, "/" => concat!("metadata 1 http://app.localhost test ", env!("CARGO_PKG_VERSION"));
    own_type: "own-type" "mailer", "the app's own, which implements `Resource`", None, None, "/" => "k3y ada@own-type 2, hi all, hello ada";
}
