//! What the crates of Shuttle's own platform (2022 to 2025) had and this one has not, or calls by another name: attributes,
//! features of shuttle-service, further crates. The macro reads this table, and so does cargo-shuttle, which takes in this file.

/// A name of then, and what to do instead.
pub(crate) type Moved = (&'static str, &'static str);

/// Last segments of attributes on parameters.
pub(crate) const ATTRIBUTES: &[Moved] = &[
    (
        "MongoDb",
        "the platform provides no MongoDB: keep the URL of one in Secrets.toml, and make the client from a `SecretStore`",
    ),
    (
        "MySql",
        "the platform provides no MySQL: take a Postgres, or keep the URL of one in Secrets.toml and read it from a `SecretStore`",
    ),
    (
        "MariaDB",
        "the platform provides no MariaDB: take a Postgres, or keep the URL of one in Secrets.toml and read it from a `SecretStore`",
    ),
    ("DynamoDB", "the platform provides no DynamoDB: keep the keys of one in Secrets.toml and read them from a `SecretStore`"),
    ("Turso", "the platform provides no Turso: keep its URL and token in Secrets.toml and read them from a `SecretStore`"),
    ("Qdrant", "the platform provides no Qdrant: keep its URL and key in Secrets.toml and read them from a `SecretStore`"),
    (
        "Opendal",
        "the platform provides no OpenDAL: make the operator in the function, with keys from a `SecretStore`, or take a `PersistDir`",
    ),
    (
        "StaticFolder",
        "remove this parameter: an app runs in its package's folder, so that the path `static` is the folder of that name",
    ),
    ("ShuttleMetadata", "write the parameter without the attribute: `metadata: shuttle_service::Metadata`"),
];

/// Features of shuttle-service.
pub(crate) const FEATURES: &[Moved] = &[
    ("codegen", "remove it: the macro is always there"),
    ("frameworks", "remove it: name the framework's feature, such as `axum`"),
    ("loader", "remove it: the platform loads the app"),
    ("builder", "remove it: the platform builds the app"),
    ("bot-serenity", "remove it: return `shuttle_service::background(…)`, and start serenity's client in its closure"),
    ("bot-poise", "remove it: return `shuttle_service::background(…)`, and start poise's client in its closure"),
    ("sqlx-aws-postgres", "write `sqlx-postgres`: the database is the platform's own"),
    ("sqlx-aws-mysql", "remove it: the platform provides Postgres; keep the URL of a MySQL in Secrets.toml"),
    ("sqlx-aws-mariadb", "remove it: the platform provides Postgres; keep the URL of a MariaDB in Secrets.toml"),
    ("sqlx-integration", "write `sqlx-postgres`"),
    ("mongodb-integration", "remove it: keep the URL of a MongoDB in Secrets.toml, and make the client from a `SecretStore`"),
    ("web-thruster-hyper", "write `thruster`"),
    ("setup-tracing", "remove it: what the app logs is recorded anyway"),
    ("setup-otel-exporter", "remove it: what the app logs is recorded anyway"),
];

/// Crates from the registry whose types and attributes an app names, beside shuttle-service itself.
pub(crate) const CRATES: &[Moved] = &[
    ("shuttle-runtime", "shuttle-service has `main`, `SecretStore` and `Error`"),
    ("shuttle-axum", "shuttle-service has `ShuttleAxum`, with its feature `axum`"),
    ("shuttle-rocket", "shuttle-service has `ShuttleRocket`, with its feature `rocket`"),
    ("shuttle-actix-web", "shuttle-service has `ShuttleActixWeb`, with its feature `actix-web`"),
    ("shuttle-poem", "shuttle-service has `ShuttlePoem`, with its feature `poem`"),
    ("shuttle-warp", "shuttle-service has `ShuttleWarp`, with its feature `warp`"),
    ("shuttle-salvo", "shuttle-service has `ShuttleSalvo`, with its feature `salvo`"),
    ("shuttle-tide", "shuttle-service has `ShuttleTide`, with its feature `tide`"),
    ("shuttle-thruster", "shuttle-service has `ShuttleThruster`, with its feature `thruster`"),
    ("shuttle-tower", "shuttle-service has `ShuttleTower`, with its feature `tower`"),
    ("shuttle-next", "there is nothing like it here: return a service of a framework"),
    ("shuttle-serenity", "return `shuttle_service::background(…)`, and start serenity's client in its closure"),
    ("shuttle-poise", "return `shuttle_service::background(…)`, and start poise's client in its closure"),
    (
        "shuttle-shared-db",
        "a parameter of the client's type is a database: `pool: sqlx::PgPool`, with shuttle-service's feature `sqlx-postgres`; the attribute `#[shared::Postgres]` needs no crate",
    ),
    (
        "shuttle-aws-rds",
        "a parameter of the client's type is a Postgres database: `pool: sqlx::PgPool`, with shuttle-service's feature `sqlx-postgres`",
    ),
    ("shuttle-secrets", "shuttle-service has `SecretStore`; the attribute needs no crate"),
    ("shuttle-persist", "`shuttle_service::PersistDir` is a folder that stays; write files into it"),
    ("shuttle-static-folder", "an app runs in its package's folder: use relative paths"),
    ("shuttle-metadata", "shuttle-service has `Metadata`"),
    ("shuttle-dynamo-db", "keep the keys of a DynamoDB in Secrets.toml"),
    ("shuttle-turso", "keep the URL and token of a Turso database in Secrets.toml"),
    ("shuttle-qdrant", "keep the URL and key of a Qdrant in Secrets.toml"),
    ("shuttle-opendal", "make the operator in the function, with keys from a `SecretStore`"),
];

/// Crates from the registry that an app depended on without naming their types in its function. An app's own crate or module may
/// well be called so.
pub(crate) const INNER_CRATES: &[Moved] = &[
    ("shuttle-common", "nothing of it is needed"),
    ("shuttle-codegen", "shuttle-service has `main`"),
    ("shuttle-proto", "nothing of it is needed"),
];

/// What to do instead of this, where it is known. Case does not matter: `MySql`, `MySQL`.
pub(crate) fn instead(table: &[Moved], name: &str) -> Option<&'static str> {
    table.iter().find(|(of_then, _)| of_then.eq_ignore_ascii_case(name)).map(|(_, instead)| *instead)
}
