//! Postgres through tokio-postgres 0.7.

use tokio_postgres::Config;
#[cfg(feature = "tokio-postgres-0-7")]
use tokio_postgres::{Client, NoTls};

use super::failed;
use crate::{Error, Postgres};
#[cfg(feature = "tokio-postgres-0-7")]
use crate::{Options, Resource};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// One connection, which is made before the service starts. When it breaks it is not made anew: every later query fails
/// with an error. A pool, such as `deadpool_postgres::Pool`, gets over that.
///
/// Options: those of [`Postgres`].
#[cfg(feature = "tokio-postgres-0-7")]
impl Resource for Client {
    type From = Postgres;

    async fn make(from: Postgres, _: &Options) -> Result<Self, Error> {
        let (client, connection) =
            config(&from)?.connect(NoTls).await.map_err(|error| failed("Postgres took no connection", error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::error!("the connection to Postgres broke: {}", Error::new(error).chain());
            }
        });
        Ok(client)
    }
}

/// What the URL says. The error never repeats it, as there is a password in it.
pub(super) fn config(from: &Postgres) -> Result<Config, Error> {
    let mut config: Config = from.url().parse().map_err(|error| failed("the Postgres URL is not valid", error))?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::Host;

    use super::*;

    #[test]
    fn a_socket_folder_is_where_it_connects() {
        let config = config(&Postgres::new("postgres://app:p%40ss@%2Frun%2Fpg/db")).unwrap();
        assert_eq!(config.get_hosts(), [Host::Unix("/run/pg".into())]);
        assert_eq!((config.get_user(), config.get_password()), (Some("app"), Some(&b"p@ss"[..])));
        assert_eq!(config.get_connect_timeout(), Some(&CONNECT_TIMEOUT));
    }

    #[tokio::test]
    async fn what_is_wrong_is_told_without_the_password() {
        let folder = "postgres://app:secret@%2Fno%2Fsuch%2Ffolder/db";
        for (url, why) in [
            ("postgres://app:secret@host:notaport/db", "the Postgres URL is not valid"),
            (folder, "Postgres took no connection: error connecting to server: No such file"),
        ] {
            let error = Client::make(Postgres::new(url), &Options::new()).await.unwrap_err().to_string();
            assert!(error.starts_with(why) && !error.contains("secret"), "{error}");
        }
    }
}
