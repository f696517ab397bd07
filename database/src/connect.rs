//! Connection pool, sized by the configuration and checked against what the server allows.

use std::time::Duration;

use sea_orm::{ConnectOptions, Database, DatabaseConnection, Statement};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::Error;

/// Section `[database]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Connection URL, such as `postgres://user:password@host:port/database`.
    pub url: SecretString,
    /// Postgres schema of our tables and functions, in lower case.
    pub schema: String,
    /// Number of connections that this process may open; 0 for as many as its slots need.
    pub max_connections: u32,
    /// Time in milliseconds that a statement may run.
    pub statement_timeout_ms: u64,
    /// Time in milliseconds to wait for a free connection.
    pub acquire_timeout_ms: u64,
}

fn options(settings: &Settings, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(settings.url.expose_secret());
    options
        .max_connections(connections)
        .min_connections(0)
        .acquire_timeout(Duration::from_millis(settings.acquire_timeout_ms))
        .connect_timeout(Duration::from_millis(settings.acquire_timeout_ms))
        .test_before_acquire(false)
        .sqlx_logging(false)
        .set_schema_search_path(&settings.schema)
        .statement_timeout(Duration::from_millis(settings.statement_timeout_ms));
    options
}

/// Opens a pool of up to `connections`, and one connection to see that it works.
pub async fn connect(settings: &Settings, connections: u32) -> Result<DatabaseConnection, Error> {
    Ok(Database::connect(options(settings, connections)).await?)
}

/// Returns a pool that connects when it is first used. A worker whose roles don't need the database
/// at the start uses it.
pub async fn connect_lazy(settings: &Settings, connections: u32) -> Result<DatabaseConnection, Error> {
    let mut options = options(settings, connections);
    options.connect_lazy(true);
    Ok(Database::connect(options).await?)
}

/// Checks that `connections` more fit into what the server allows.
///
/// The connections that others hold now are counted. The first connection of this pool is included
/// in `connections`.
pub async fn check_capacity(db: &DatabaseConnection, connections: u32) -> Result<(), Error> {
    let statement = Statement::from_string(
        db.get_database_backend(),
        "SELECT current_setting('max_connections')::int
              - current_setting('superuser_reserved_connections')::int AS allowed,
                (SELECT count(*)::int FROM pg_stat_activity
                  WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()) AS others",
    );
    let row = crate::one(db, statement).await?;
    let (allowed, others): (i32, i32) = (row.try_get("", "allowed")?, row.try_get("", "others")?);
    let free = (allowed - others).max(0) as u32;
    if connections > free {
        return Err(Error::Capacity(format!(
            "this process wants {connections} database connections, but the server allows {allowed} and others hold \
             {others}: lower database.max_connections or the slots, or raise the server's max_connections"
        )));
    }
    Ok(())
}
