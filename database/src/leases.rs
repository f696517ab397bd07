//! Leases: a worker's share of a provider key's calls at once. What the statements promise: `migrations/src/m0003_paid_calls/leases.sql`.

use std::time::Duration;

use sea_orm::sqlx::postgres::PgListener;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};

use crate::Error;

/// Who asks for a lease. One per process start and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The provider key.
    pub provider_key: String,
    /// Names this start of the process, and no other.
    pub worker: String,
    /// Its machine, for people.
    pub host: String,
    /// Its process id, for people.
    pub pid: u32,
    /// Calls it could ever have at once.
    pub most: u32,
}

/// What a worker says when it renews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// The lease to renew; none: a new one.
    pub lease_id: Option<i64>,
    /// Counts up: a renewal that arrives after a later one changes nothing.
    pub number: i64,
    /// Calls in flight under the lease.
    pub calls: u32,
    /// The most calls it may have in flight until it hears the answer.
    pub holds: u32,
    /// What it waits with for work: taken from it only where there is not enough for all.
    pub keeps: u32,
    /// Calls it could have in flight now.
    pub wanted: u32,
    /// It can't reach Temporal: it gets no work, and wants nothing.
    pub cut_off: bool,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The lease renewed, or another one where that was ended.
    pub lease_id: i64,
    /// Calls it may have in flight; none: as many as it likes.
    pub share: Option<u32>,
    /// Goes along with each call.
    pub version: i64,
    /// No call may begin for so long.
    pub closed: Duration,
    /// The key is being tried after an outage: what it allows changes within a second.
    pub probing: bool,
}

/// Renews a lease, or begins one. It holds for `ttl` from now on.
pub async fn grant(
    db: &DatabaseConnection,
    holder: &Holder,
    renewal: &Renewal,
    ttl: Duration,
) -> Result<Grant, Error> {
    let statement = Statement::from_sql_and_values(
        db.get_database_backend(),
        "SELECT * FROM grant_lease(ROW($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)::lease_renewal)",
        [
            holder.provider_key.clone().into(),
            holder.worker.clone().into(),
            holder.host.clone().into(),
            (holder.pid as i32).into(),
            renewal.lease_id.into(),
            renewal.number.into(),
            (renewal.calls as i32).into(),
            (renewal.holds as i32).into(),
            (renewal.keeps as i32).into(),
            (renewal.wanted as i32).into(),
            (holder.most as i32).into(),
            renewal.cut_off.into(),
            (ttl.as_millis() as i32).into(),
        ],
    );
    let row = crate::one(db, statement).await?;
    let share: Option<i32> = row.try_get("", "share")?;
    let closed_ms: i64 = row.try_get("", "closed_ms")?;
    Ok(Grant {
        lease_id: row.try_get("", "lease_id")?,
        share: share.map(|share| share.max(0) as u32),
        version: row.try_get("", "version")?,
        closed: Duration::from_millis(closed_ms.max(0) as u64),
        probing: row.try_get("", "probing")?,
    })
}

/// Gives a lease back.
pub async fn release(db: &DatabaseConnection, lease_id: i64, worker: &str) -> Result<(), Error> {
    let release = Statement::from_sql_and_values(
        db.get_database_backend(),
        "SELECT release_lease($1, $2)",
        [lease_id.into(), worker.into()],
    );
    db.query_one_raw(release).await?;
    Ok(())
}

/// Hears when the limits or shares of a key may have changed.
pub struct Changes(PgListener);

impl Changes {
    /// Listens on a connection of the pool.
    pub async fn listen(db: &DatabaseConnection) -> Result<Self, Error> {
        let failed = |error: sea_orm::sqlx::Error| Error::Failed(error.to_string());
        let mut listener =
            PgListener::connect_with(db.get_postgres_connection_pool()).await.map_err(failed)?;
        listener.listen("darkroom_limits").await.map_err(failed)?;
        Ok(Self(listener))
    }

    /// Waits for a change, and returns the key's name. An error ends the listening: something may have been missed.
    pub async fn next(&mut self) -> Result<String, Error> {
        match self.0.recv().await {
            Ok(notification) => Ok(notification.payload().to_owned()),
            Err(error) => Err(Error::Failed(error.to_string())),
        }
    }
}
