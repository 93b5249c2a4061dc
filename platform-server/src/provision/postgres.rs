//! Postgres: one cluster, and in it one database and one role for each project.
//!
//! The cluster is one that the configuration names, or else one that the platform runs itself ([`OwnCluster`]). What is asked
//! of it has a limit each ([`Session`]), and what one project waits for keeps no other waiting.

use std::{collections::BTreeSet, time::Duration};

use tokio_postgres::{Config, config::Host, error::SqlState};

use super::{
    ProvisionError,
    cluster::{OwnCluster, Reached},
    extensions::{self, Maker},
    session::Session,
};
use crate::{db::ResourceRow, locks::Locks};

/// Connections of an app, beside those of a database's role, that are being made, or ask for a query to be cancelled.
const SPARE: u32 = 10;

/// What is asked of Postgres, and what is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PostgresLimits {
    /// Longest wait for a connection, and for each statement.
    pub(crate) timeout: Duration,
    /// Connections that one instance of an app may have to one database.
    pub(crate) an_instance: u32,
    /// Instances of an app that run at the same time at most.
    pub(crate) instances: u32,
}

impl PostgresLimits {
    /// Connections of all instances of an app to one database.
    pub(crate) fn of_a_role(self) -> u32 {
        self.an_instance.saturating_mul(self.instances)
    }
}

/// What one database is wanted for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// The app's user, where it has one of its own.
    pub(crate) uid: Option<u32>,
    pub(crate) row: &'a ResourceRow,
    pub(crate) extensions: &'a [String],
    /// That the pools of one instance open to it, as far as they say.
    pub(crate) connections: u32,
    /// That they open to all databases of the app.
    pub(crate) in_all: u32,
}

/// A database that is there.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) url: String,
    /// What the app's users are to know of it.
    pub(crate) note: Option<String>,
}

/// Where the cluster comes from.
#[derive(Debug)]
pub(crate) enum PostgresSource {
    /// An administrator's connection to a cluster that somebody else runs.
    Configured(Box<Config>),
    /// An installed server, run by the platform.
    Own(OwnCluster),
}

/// The provisioner.
#[derive(Debug)]
pub(crate) struct Postgres {
    source: PostgresSource,
    /// Extensions that apps may have beside the trusted ones.
    extensions: BTreeSet<String>,
    pub(super) limits: PostgresLimits,
    /// `CREATE` and `ALTER` of the same role at the same time fail in Postgres; so one at a time of each.
    changes: Locks<String>,
}

impl Postgres {
    pub(crate) fn new(source: PostgresSource, extensions: impl IntoIterator<Item = String>, limits: PostgresLimits) -> Self {
        Self { source, extensions: extensions.into_iter().collect(), limits, changes: Locks::default() }
    }

    /// Makes sure that the project's database and role exist, with these extensions.
    pub(crate) async fn provide(&self, wanted: Wanted<'_>) -> Result<Database, ProvisionError> {
        let row = wanted.row;
        match &self.source {
            PostgresSource::Configured(config) => {
                let note = self.prepare(config, wanted, false, None).await?;
                Ok(Database { url: url(config, row)?, note })
            }
            PostgresSource::Own(cluster) => {
                let Reached { admin, sockets, gate } = cluster.reach().await?;
                let note = self.prepare(&admin, wanted, true, gate.as_ref().map(|gate| gate.most_of_one())).await?;
                if let (Some(gate), Some(uid)) = (gate, wanted.uid) {
                    gate.give(uid, &row.handle, self.limits.of_a_role().saturating_add(SPARE));
                }
                Ok(Database { url: url(Config::new().host_path(sockets), row)?, note })
            }
        }
    }

    /// `most`: connections that one app may have to all of its databases, where they are counted before Postgres counts them.
    async fn prepare(
        &self,
        config: &Config,
        wanted: Wanted<'_>,
        own: bool,
        most: Option<u32>,
    ) -> Result<Option<String>, ProvisionError> {
        let Wanted { row, extensions, connections, in_all, .. } = wanted;
        let _one_at_a_time = self.changes.lock(row.handle.clone()).await;
        let admin = Session::open(config, self.limits.timeout).await?;
        if own {
            keep_for_administrators(&admin).await?;
        }
        let mut makers = Vec::new();
        for name in extensions {
            makers.push((name, extensions::maker(&admin, &self.extensions, name).await?));
        }
        make_database(&admin, row, self.limits.of_a_role()).await?;
        if !makers.is_empty() {
            self.make_extensions(config, row, &makers).await?;
        }
        let takes = capacity(&admin).await?;
        let (each, to, takes, whom) = match most {
            Some(most) if most < takes => (in_all, "its databases", most, "one app"),
            _ => (connections, "a database", takes, "all apps together"),
        };
        let asked = each.saturating_mul(self.limits.instances);
        Ok((asked > takes).then(|| {
            format!(
                "the pools of this app may open {asked} connections to {to}, {each} in each of up to {} instances that run while it is deployed or restarted, and this Postgres takes {takes} from {whom}: lower `max_connections`",
                self.limits.instances
            )
        }))
    }

    pub(crate) async fn stop(&self) {
        if let PostgresSource::Own(cluster) = &self.source {
            cluster.stop().await;
        }
    }

    /// Connects to the database only as whom it has to, and only for what is missing.
    async fn make_extensions(
        &self,
        config: &Config,
        row: &ResourceRow,
        wanted: &[(&String, Maker)],
    ) -> Result<(), ProvisionError> {
        let mut app = config.clone();
        app.dbname(&row.handle).user(&row.handle).password(&row.password);
        let app = Session::open(&app, self.limits.timeout).await?;
        let present = extensions::present(&app).await?;
        let missing = || wanted.iter().filter(|(name, _)| !present.contains(*name));
        for (name, maker) in missing().filter(|(_, maker)| *maker == Maker::App) {
            extensions::make(&app, *maker, name).await?;
        }
        if missing().all(|(_, maker)| *maker == Maker::App) {
            return Ok(());
        }
        let mut admin = config.clone();
        let admin = Session::open(admin.dbname(&row.handle), self.limits.timeout).await?;
        for (name, maker) in missing().filter(|(_, maker)| *maker == Maker::Administrator) {
            extensions::make(&admin, *maker, name).await?;
        }
        Ok(())
    }
}

/// Nobody else has business in the administrator's databases, and a connection to `template1` would stop `CREATE DATABASE`
/// for everybody.
async fn keep_for_administrators(admin: &Session) -> Result<(), ProvisionError> {
    let public = "SELECT 1 FROM pg_database WHERE datname IN ('postgres', 'template1') AND has_database_privilege('public', oid, 'CONNECT') LIMIT 1";
    if admin.row(public).await?.is_none() {
        return Ok(());
    }
    match admin.run("REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC").await {
        // Of two at the same time, one fails in Postgres; it is done all the same.
        Err(_) if admin.row(public).await?.is_none() => Ok(()),
        other => other,
    }
}

/// Connections that the cluster takes from all that are no administrators.
async fn capacity(admin: &Session) -> Result<u32, ProvisionError> {
    let sql = "SELECT current_setting('max_connections')::int4 - current_setting('superuser_reserved_connections')::int4";
    let takes: i32 = admin.row(sql).await?.map_or(0, |row| row.get(0));
    Ok(takes.max(0).cast_unsigned())
}

/// `handle` and `password` are hexadecimal, made by the platform: nothing in them needs quoting.
async fn make_database(admin: &Session, row: &ResourceRow, connections: u32) -> Result<(), ProvisionError> {
    let (handle, password) = (&row.handle, &row.password);
    let limit = admin.row(&format!("SELECT rolconnlimit FROM pg_roles WHERE rolname = '{handle}'")).await?;
    let limit: Option<i32> = limit.map(|row| row.get(0));
    let connections = i32::try_from(connections).unwrap_or(i32::MAX);
    if limit.is_none() {
        let role = format!(
            "CREATE ROLE {handle} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION CONNECTION LIMIT {connections} PASSWORD '{password}'"
        );
        admin.run(&role).await?;
    }
    // The limit may have been another when the role was made. None at all was somebody's choice.
    if limit.is_some_and(|limit| limit >= 0 && limit != connections) {
        admin.run(&format!("ALTER ROLE {handle} CONNECTION LIMIT {connections}")).await?;
    }
    if admin.row(&format!("SELECT 1 FROM pg_database WHERE datname = '{handle}'")).await?.is_none() {
        // An administrator that is no superuser may give a database only to a role that it is a member of.
        let _ = admin.run(&format!("GRANT {handle} TO CURRENT_USER")).await;
        let database = format!("CREATE DATABASE {handle} OWNER {handle} TEMPLATE template0");
        admin.run_unless(&database, &SqlState::DUPLICATE_DATABASE).await?;
    }
    // Asked each time: whoever made the database may have been cut short before it was closed to others.
    let open =
        format!("SELECT 1 FROM pg_database WHERE datname = '{handle}' AND has_database_privilege('public', oid, 'CONNECT')");
    if admin.row(&open).await?.is_some() {
        admin.run(&format!("REVOKE ALL ON DATABASE {handle} FROM PUBLIC")).await?;
    }
    Ok(())
}

/// The URL of a project's database in the cluster of `config`. A socket's folder stands percent-encoded in the place of
/// the host, which every client reads.
fn url(config: &Config, row: &ResourceRow) -> Result<String, ProvisionError> {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) if host.contains(':') => format!("[{host}]"),
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(folder)) => percent_encode(&folder.display().to_string()),
        None => return Err(ProvisionError::Postgres("the server's --postgres-url names no host".into())),
    };
    let port = config.get_ports().first().map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("postgres://{}:{}@{host}{port}/{}", row.handle, row.password, row.handle))
}

fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
pub(super) mod foreign;

#[cfg(test)]
mod tests {
    use tokio_postgres::NoTls;

    use super::{foreign::Foreign, *};

    const LIMITS: PostgresLimits = PostgresLimits { timeout: Duration::from_secs(60), an_instance: 5, instances: 4 };

    fn wanted<'a>(row: &'a ResourceRow, extensions: &'a [String]) -> Wanted<'a> {
        Wanted { uid: None, row, extensions, connections: 0, in_all: 0 }
    }

    fn row() -> ResourceRow {
        ResourceRow {
            kind: "postgres".into(),
            instance: String::new(),
            name: "pool".into(),
            handle: "app_01".into(),
            password: "ff".into(),
        }
    }

    /// With the role of this URL, into the database of `app_01`.
    fn into_first(url: &str) -> String {
        format!("{}/app_01", url.rsplit_once('/').unwrap().0)
    }

    #[test]
    fn urls_name_the_projects_own_role_and_never_the_administrators() {
        let config: Config = "postgres://admin:secret@db.example:6432/postgres".parse().unwrap();
        assert_eq!(url(&config, &row()).unwrap(), "postgres://app_01:ff@db.example:6432/app_01");
        let mut config = Config::new();
        config.host_path("/run/some place");
        let url = url(&config, &row()).unwrap();
        assert_eq!(url, "postgres://app_01:ff@%2Frun%2Fsome%20place/app_01");
        let parsed: Config = url.parse().unwrap();
        assert_eq!(parsed.get_hosts(), [Host::Unix("/run/some place".into())]);
    }

    #[tokio::test]
    async fn a_configured_cluster_gives_each_project_a_database_that_only_it_can_enter() {
        let foreign = Foreign::start().await;
        let postgres = Postgres::new(PostgresSource::Configured(Box::new(foreign.config.clone())), [], LIMITS);
        let other = ResourceRow { handle: "app_02".into(), password: "ee".into(), ..row() };
        let (first, second) = tokio::join!(async { postgres.provide(wanted(&row(), &[])).await.unwrap().url }, async {
            postgres.provide(wanted(&other, &[])).await.unwrap().url
        });
        let (client, connection) = tokio_postgres::connect(&first, NoTls).await.unwrap();
        let _connection = tokio::spawn(connection);
        client.batch_execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)").await.unwrap();
        assert_eq!(
            postgres.provide(wanted(&row(), &[])).await.unwrap().url,
            first,
            "asked again, it gives the same and drops nothing"
        );
        assert_eq!(client.query("SELECT * FROM kept", &[]).await.unwrap().len(), 1);
        let intruders = [
            (into_first(&second), SqlState::INSUFFICIENT_PRIVILEGE),
            (first.replace(":ff@", ":00@"), SqlState::INVALID_PASSWORD),
        ];
        for (intruder, why) in intruders {
            let refused = tokio_postgres::connect(&intruder, NoTls).await.err().unwrap();
            assert_eq!(refused.code(), Some(&why), "{intruder}: {refused}");
        }
    }

    #[tokio::test]
    async fn a_database_whose_making_was_cut_short_is_closed_to_others() {
        let foreign = Foreign::start().await;
        let postgres = Postgres::new(PostgresSource::Configured(Box::new(foreign.config.clone())), [], LIMITS);
        let other = ResourceRow { handle: "app_02".into(), password: "ee".into(), ..row() };
        let intruder = into_first(&postgres.provide(wanted(&other, &[])).await.unwrap().url);
        let admin = Session::open(&foreign.config, LIMITS.timeout).await.unwrap();
        admin.run("CREATE ROLE app_01 LOGIN PASSWORD 'ff'").await.unwrap();
        admin.run("CREATE DATABASE app_01 OWNER app_01 TEMPLATE template0").await.unwrap();
        let (client, connection) = tokio_postgres::connect(&intruder, NoTls).await.unwrap();
        drop((client, connection));
        let first = postgres.provide(wanted(&row(), &[])).await.unwrap().url;
        let refused = tokio_postgres::connect(&intruder, NoTls).await.err().unwrap();
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{refused}");
        drop(tokio_postgres::connect(&first, NoTls).await.unwrap());
    }

    #[tokio::test]
    async fn extensions_are_made_as_the_app_if_trusted_and_as_the_administrator_if_named() {
        let foreign = Foreign::start().await;
        let source = || PostgresSource::Configured(Box::new(foreign.config.clone()));
        let postgres = Postgres::new(source(), ["pageinspect".to_owned()], LIMITS);
        let extensions = ["pgcrypto".to_owned(), "earthdistance".to_owned()];
        let refused = postgres.provide(wanted(&row(), &extensions)).await.unwrap_err();
        assert!(matches!(&refused, ProvisionError::ExtensionNotAllowed { name, .. } if name == "earthdistance"), "{refused}");
        let missing = postgres.provide(wanted(&row(), &["no_such".to_owned()])).await.unwrap_err();
        assert!(matches!(&missing, ProvisionError::NoExtension { available, .. } if available.contains(&"pgcrypto".into())));

        let extensions = ["pgcrypto".to_owned(), "pageinspect".to_owned()];
        let first = postgres.provide(wanted(&row(), &extensions)).await.unwrap().url;
        assert_eq!(postgres.provide(wanted(&row(), &extensions)).await.unwrap().url, first, "asked again, it is there already");
        let (client, connection) = tokio_postgres::connect(&first, NoTls).await.unwrap();
        let _connection = tokio::spawn(connection);
        let owners =
            "SELECT extname::text, pg_get_userbyid(extowner)::text FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1";
        let rows = client.query(owners, &[]).await.unwrap();
        let owners: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let expected = [("pageinspect", "boss"), ("pgcrypto", "app_01")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(owners, expected);
        client.query_one("SELECT gen_salt('bf')", &[]).await.unwrap();
    }
    #[tokio::test]
    async fn a_cluster_that_hangs_is_waited_for_once_and_not_once_for_each_project() {
        let foreign = Foreign::start().await;
        let limit = Duration::from_secs(1);
        let limits = PostgresLimits { timeout: limit, ..LIMITS };
        let postgres = Postgres::new(PostgresSource::Configured(Box::new(foreign.config.clone())), [], limits);
        let rows: Vec<ResourceRow> = (0..20).map(|number| ResourceRow { handle: format!("app_{number:02}"), ..row() }).collect();
        let stopped = foreign.stopped();
        let begun = std::time::Instant::now();
        for provided in futures_util::future::join_all(rows.iter().map(|row| postgres.provide(wanted(row, &[])))).await {
            let error = provided.unwrap_err();
            assert!(matches!(error, ProvisionError::NoAnswer { .. }), "{error}");
        }
        assert!(begun.elapsed() < 10 * limit, "one after the other: {:?}", begun.elapsed());
        drop(stopped);
        let patient = Postgres::new(PostgresSource::Configured(Box::new(foreign.config.clone())), [], LIMITS);
        patient.provide(wanted(&rows[0], &[])).await.unwrap();
    }
    #[tokio::test]
    async fn a_role_has_connections_for_all_instances_that_may_run() {
        let foreign = Foreign::start().await;
        let postgres = Postgres::new(PostgresSource::Configured(Box::new(foreign.config.clone())), [], LIMITS);
        let admin = Session::open(&foreign.config, LIMITS.timeout).await.unwrap();
        let limit = async || -> i32 {
            let sql = "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'app_01'";
            admin.row(sql).await.unwrap().unwrap().get(0)
        };
        postgres.provide(wanted(&row(), &[])).await.unwrap();
        assert_eq!(limit().await, 20);
        for (before, after) in [(50, 20), (5, 20), (-1, -1)] {
            admin.run(&format!("ALTER ROLE app_01 CONNECTION LIMIT {before}")).await.unwrap();
            postgres.provide(wanted(&row(), &[])).await.unwrap();
            assert_eq!(limit().await, after);
        }
        let many = postgres.provide(Wanted { connections: 30, ..wanted(&row(), &[]) }).await.unwrap();
        let note = many.note.unwrap();
        assert!(
            note.contains("120 connections") && note.contains("30 in each of up to 4") && note.contains("takes 97 "),
            "{note}"
        );
        assert_eq!(postgres.provide(Wanted { connections: 5, ..wanted(&row(), &[]) }).await.unwrap().note, None);
        // Two databases, and a gate that lets fewer through than Postgres takes.
        let row = row();
        let note = async |in_all, most| {
            let wanted = Wanted { connections: 10, in_all, ..wanted(&row, &[]) };
            postgres.prepare(&foreign.config, wanted, false, Some(most)).await.unwrap()
        };
        let told = note(20, 64).await.unwrap();
        assert!(told.contains("80 connections to its databases, 20 in each") && told.contains("takes 64 from one app"), "{told}");
        assert_eq!((note(16, 64).await, note(20, 475).await), (None, None));
    }
}
