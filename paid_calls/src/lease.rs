//! Statements of a lease, which is a worker's share of a provider key's concurrent calls. Comments
//! in `sql/functions/grant_lease.sql` describe the lease's promises.

use std::time::Duration;

use sea_orm::sqlx::postgres::PgListener;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};

use database::Error;

/// Holder of a lease, one for each process start and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Provider key that the lease is of.
    pub provider_key: String,
    /// Name of this start of the process, which no other start ever has.
    pub worker: String,
    /// Host name of the machine, for people to read.
    pub host: String,
    /// Process id of the worker, for people to read.
    pub pid: u32,
    /// Largest number of calls that the worker could ever have in flight.
    pub max_calls: u32,
}

/// Renewal of a lease, with the worker's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// Lease to renew; none for a new one.
    pub lease_id: Option<i64>,
    /// Number of the renewal, which counts up. A renewal that arrives after a later one changes
    /// nothing.
    pub number: i64,
    /// Calls in flight under the lease.
    pub calls: u32,
    /// Largest number of calls that may be in flight until the worker hears the answer.
    pub in_use_bound: u32,
    /// Slots of a worker whose polls wait for work, else 0. Such slots are taken from the worker
    /// only if there is not enough for all.
    pub idle_slots: u32,
    /// Number of calls that the worker could have in flight now.
    pub demand: u32,
    /// True if the worker can't reach Temporal. Such a worker gets no work, and wants nothing.
    pub cut_off: bool,
}

/// Answer to a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Lease that was renewed, or another one if that lease was ended.
    pub lease_id: i64,
    /// Number of calls that the worker may have in flight; none for any number.
    pub share: Option<u32>,
    /// Version of the key's limits, which goes along with each call.
    pub version: i64,
    /// Time for which no call may begin.
    pub closed: Duration,
    /// True while the key is tried after an outage, when its limit changes within a second.
    pub probing: bool,
}

/// Renews a lease, or begins one. The lease holds for `ttl` from now on.
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
            (renewal.in_use_bound as i32).into(),
            (renewal.idle_slots as i32).into(),
            (renewal.demand as i32).into(),
            (holder.max_calls as i32).into(),
            renewal.cut_off.into(),
            (ttl.as_millis() as i32).into(),
        ],
    );
    let row = database::one(db, statement).await?;
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

/// Gives a lease back. A lease of another worker is left alone.
pub async fn release(db: &DatabaseConnection, lease_id: i64, worker: &str) -> Result<(), Error> {
    let release = Statement::from_sql_and_values(
        db.get_database_backend(),
        "SELECT release_lease($1, $2)",
        [lease_id.into(), worker.into()],
    );
    db.query_one_raw(release).await?;
    Ok(())
}

/// Listener that hears when the limits or shares of a key may have changed.
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

    /// Waits for a change, and returns the key's name. After an error the listener is of no more
    /// use, and may have missed a change.
    pub async fn next(&mut self) -> Result<String, Error> {
        match self.0.recv().await {
            Ok(notification) => Ok(notification.payload().to_owned()),
            Err(error) => Err(Error::Failed(error.to_string())),
        }
    }
}
