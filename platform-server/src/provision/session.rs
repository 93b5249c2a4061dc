//! A connection to Postgres on which nothing is waited for without limit.
//!
//! Postgres' own `statement_timeout` is not enough: a server that hangs does not look at it. So each wait has its limit on
//! this side as well, the one for the connection included.

use std::{borrow::Cow, future::Future, time::Duration};

use tokio_postgres::{
    Client, Config, NoTls, Row,
    config::Host,
    error::{Error, SqlState},
};
use tokio_util::task::AbortOnDropHandle;

use super::ProvisionError;

/// Longest wait for a lock that another session holds; an app can hold one in its own database.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// A session; it ends with this.
pub(super) struct Session {
    client: Client,
    limit: Duration,
    server: String,
    // Aborted, as it would wait for the answers of a server that gives none.
    _connection: AbortOnDropHandle<Result<(), Error>>,
}

impl Session {
    /// Connects. `limit` is the longest wait for the connection, and then for each statement.
    pub(super) async fn open(config: &Config, limit: Duration) -> Result<Self, ProvisionError> {
        let server = name(config);
        let (client, connection) = within(limit, &server, config.connect(NoTls))
            .await?
            .map_err(|error| ProvisionError::Unreachable { server: server.clone(), why: explain(&error) })?;
        let session = Self { client, limit, server, _connection: AbortOnDropHandle::new(tokio::spawn(connection)) };
        let (lock, statement) = (LOCK_LIMIT.min(limit).as_millis(), limit.as_millis());
        session.run(&format!("SET lock_timeout = {lock}; SET statement_timeout = {statement}")).await?;
        Ok(session)
    }

    /// Runs statements that give nothing.
    pub(super) async fn run(&self, sql: &str) -> Result<(), ProvisionError> {
        self.answer(self.client.batch_execute(sql)).await
    }

    /// As [`run`](Self::run); `false` if that one error came instead.
    pub(super) async fn run_unless(&self, sql: &str, but: &SqlState) -> Result<bool, ProvisionError> {
        match within(self.limit, &self.server, self.client.batch_execute(sql)).await? {
            Err(error) if error.code() == Some(but) => Ok(false),
            other => other.map(|()| true).map_err(|error| self.failed(&error)),
        }
    }

    pub(super) async fn rows(&self, sql: &str) -> Result<Vec<Row>, ProvisionError> {
        self.answer(self.client.query(sql, &[])).await
    }

    pub(super) async fn row(&self, sql: &str) -> Result<Option<Row>, ProvisionError> {
        self.answer(self.client.query_opt(sql, &[])).await
    }

    async fn answer<T>(&self, asked: impl Future<Output = Result<T, Error>>) -> Result<T, ProvisionError> {
        within(self.limit, &self.server, asked).await?.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &Error) -> ProvisionError {
        ProvisionError::Postgres(format!("{}: {}", self.server, explain(error)))
    }
}

/// Waits so long and no longer for this server.
pub(super) async fn within<T>(limit: Duration, server: &str, asked: impl Future<Output = T>) -> Result<T, ProvisionError> {
    tokio::time::timeout(limit, asked).await.map_err(|_| ProvisionError::NoAnswer { server: server.to_owned(), limit })
}

/// Where it is, without who connects and how.
fn name(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => Cow::from(host),
        Some(Host::Unix(folder)) => folder.to_string_lossy(),
        None => "an unnamed host".into(),
    };
    let port = config.get_ports().first().map(|port| format!(":{port}")).unwrap_or_default();
    format!("the Postgres at {host}{port}")
}

/// tokio-postgres says "db error" and keeps the reason in its source.
fn explain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, Signal, kill_process};

    use super::*;
    use crate::provision::postgres::foreign::Foreign;

    /// For what hangs.
    const SHORT: Duration = Duration::from_millis(300);
    /// For what has to succeed on a busy machine.
    const LONG: Duration = Duration::from_secs(60);

    fn is_no_answer(error: &ProvisionError) -> bool {
        error.to_string().starts_with("the Postgres at /")
            && error.to_string().ends_with("gave no answer within 0.3 s")
            && error.hint().contains("--database-timeout")
    }

    #[tokio::test]
    async fn neither_a_connection_nor_a_statement_is_waited_for_without_limit() {
        let foreign = Foreign::start().await;
        let mut session = Session::open(&foreign.config, LONG).await.unwrap();
        let pid: i32 = session.row("SELECT pg_backend_pid()").await.unwrap().unwrap().get(0);
        let backend = Pid::from_raw(pid).unwrap();
        kill_process(backend, Signal::STOP).unwrap();
        session.limit = SHORT;
        let hung = session.row("SELECT 1").await.unwrap_err();
        kill_process(backend, Signal::CONT).unwrap();
        assert!(is_no_answer(&hung), "{hung}");

        let stopped = foreign.stopped();
        let hung = Session::open(&foreign.config, SHORT).await.err().unwrap();
        assert!(is_no_answer(&hung), "{hung}");
        drop(stopped);
        Session::open(&foreign.config, LONG).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_not_there_is_named() {
        let mut config = Config::new();
        config.host_path("/no/such/folder").port(5433).user("boss");
        let error = Session::open(&config, SHORT).await.err().unwrap();
        assert!(error.to_string().starts_with("the Postgres at /no/such/folder:5433 cannot be reached: "), "{error}");
    }
}
