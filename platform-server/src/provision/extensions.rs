//! Postgres extensions: which an app may have, and how they are made.
//!
//! Most of what an extension can do is done as the superuser, so it matters who makes which. One that Postgres calls
//! *trusted* may be made by the owner of a database; it is made as the app's own role, which gains nothing by it that it
//! could not do itself. Any other is made by the administrator, and only if the server's configuration names it.

use std::collections::BTreeSet;

use super::{ProvisionError, session::Session};

/// Who makes an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    App,
    Administrator,
}

/// Who is to make this one; an error that names the choices where nobody is.
pub(super) async fn maker(admin: &Session, configured: &BTreeSet<String>, name: &str) -> Result<Maker, ProvisionError> {
    // Postgres before 13 trusts none, and has no such column.
    let sql = "SELECT name::text, bool_or(coalesce((to_jsonb(v) ->> 'trusted')::bool, false)) FROM pg_available_extension_versions v GROUP BY name ORDER BY name";
    let rows = admin.rows(sql).await?;
    let available: Vec<(String, bool)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    decide(&available, configured, name)
}

fn decide(available: &[(String, bool)], configured: &BTreeSet<String>, name: &str) -> Result<Maker, ProvisionError> {
    let allowed = available.iter().filter(|(name, trusted)| *trusted || configured.contains(name));
    let names = || allowed.map(|(name, _)| name.clone()).collect();
    match available.iter().find(|(available, _)| available == name) {
        Some((_, true)) => Ok(Maker::App),
        Some(_) if configured.contains(name) => Ok(Maker::Administrator),
        Some(_) => Err(ProvisionError::ExtensionNotAllowed { name: name.to_owned(), allowed: names() }),
        None => Err(ProvisionError::NoExtension { name: name.to_owned(), available: names() }),
    }
}

/// Makes the extension in the database that `session` is connected to. `name` has been checked: nothing in it ends a quote.
pub(super) async fn make(session: &Session, maker: Maker, name: &str) -> Result<(), ProvisionError> {
    // What it depends on comes with it only under the app's own rights.
    let cascade = if maker == Maker::App { " CASCADE" } else { "" };
    session.run(&format!("CREATE EXTENSION IF NOT EXISTS \"{name}\"{cascade}")).await
}

/// The extensions that the database has.
pub(super) async fn present(session: &Session) -> Result<BTreeSet<String>, ProvisionError> {
    let rows = session.rows("SELECT extname::text FROM pg_extension").await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusted_ones_are_the_apps_to_make_and_others_only_if_they_are_named() {
        let available = [("citext".to_owned(), true), ("file_fdw".to_owned(), false), ("postgis".to_owned(), false)];
        let configured = BTreeSet::from(["postgis".to_owned(), "absent".to_owned()]);
        let decide = |name| decide(&available, &configured, name);
        assert_eq!(decide("citext").unwrap(), Maker::App);
        assert_eq!(decide("postgis").unwrap(), Maker::Administrator);
        let error = decide("file_fdw").unwrap_err();
        assert!(error.to_string().ends_with("these are: citext, postgis"), "{error}");
        assert!(error.hint().contains("--postgres-extensions file_fdw"));
        for name in ["absent", "nothing"] {
            let error = decide(name).unwrap_err();
            assert!(
                error.to_string().ends_with("it has citext, postgis") && error.hint().contains("postgresql-contrib"),
                "{error}"
            );
        }
    }
}
