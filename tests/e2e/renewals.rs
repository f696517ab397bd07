//! What a renewal of a lease costs the database.

use std::time::Duration;

use paid_calls::lease::{self, Holder, Renewal};
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use tests::{Stack, a_task};

const RENEWALS: i64 = 50;

/// How often a table has been looked through, however that was done.
async fn scans(db: &DatabaseConnection, table: &str) -> i64 {
    db.execute_unprepared("SELECT pg_stat_force_next_flush()").await.unwrap();
    let sql = format!(
        "SELECT seq_scan + coalesce(idx_scan, 0) AS scans FROM pg_stat_user_tables WHERE relname = '{table}'"
    );
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap();
    row.unwrap().try_get("", "scans").unwrap()
}

#[tokio::test]
async fn a_renewal_looks_through_the_leases_once() {
    let stack = Stack::with().without_worker().start().await;
    let limit = paid_calls::limits::Change::ceiling(4);
    paid_calls::limits::set(&stack.database, "default", &limit).await.unwrap();
    // A single connection, whose counts are its own.
    let db = database::connect(&stack.config.database, 1).await.unwrap();
    let holder = Holder {
        provider_key: "default".into(),
        worker: "w".into(),
        host: "host".into(),
        pid: 1,
        max_calls: 4,
    };
    let mut renewal = Renewal {
        lease_id: None,
        number: 1,
        calls: 0,
        in_use_bound: 0,
        idle_slots: 0,
        demand: 4,
        cut_off: false,
    };
    let lease_id = lease::grant(&db, &holder, &renewal, Duration::from_secs(600)).await.unwrap().lease_id;
    renewal.lease_id = Some(lease_id);
    let open = format!(
        "INSERT INTO calls (provider_key, lease_id, token, task_id, user_id, plan, name, images_asked, fingerprint, begun_at, runs_until)
         SELECT 'default', {lease_id}, n::text, '{}', 'ann', 'free', n::text, 1, '', now(), now() + interval '1 h'
           FROM generate_series(1, 3) AS n",
        a_task().0.task_id
    );
    db.execute_unprepared(&open).await.unwrap();
    let before = (scans(&db, "leases").await, scans(&db, "calls").await);

    for number in 0..RENEWALS {
        renewal.number = 2 + number;
        lease::grant(&db, &holder, &renewal, Duration::from_secs(600)).await.unwrap();
    }

    let after = (scans(&db, "leases").await, scans(&db, "calls").await);
    assert_eq!((after.0 - before.0, after.1 - before.1), (RENEWALS, RENEWALS));
}
