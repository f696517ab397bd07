//! The two statements around a paid call, beside the two of a row that counts calls in flight, on a Postgres of its own:
//! `cargo bench -p benchmark --bench paid_calls`. Medians of rounds in turns.
#![allow(clippy::print_stdout, reason = "a report")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use database::{DatabaseConnection, Settings};
use futures::future::try_join_all;
use paid_calls::lease::{self, Holder, Renewal};
use paid_calls::ledger::{self, Admission, Intent};
use paid_calls::limits::Change;
use paid_calls::{Call, Outcome};
use sandbox::{Folder, Postgres};
use sea_orm::{AccessMode, ConnectionTrait, DbBackend, IsolationLevel, Statement, TransactionTrait};
use tokio::time::Instant;
use workflows::keys::CallName;

const KEY: &str = "bench";
/// Calls in flight.
const AT_ONCE: u32 = 48;
/// As a worker of 48 slots has.
const CONNECTIONS: u32 = 48 / 8 + 2;
/// Calls the ledger has already.
const LEDGER: u32 = 100_000;
/// What a call takes, where statements are not to wait for each other more than in life.
const CALL: Duration = Duration::from_millis(400);
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(5);
/// Workers that renew while a snapshot is kept, and how often in all: thirty minutes of theirs.
const RENEWERS: usize = 8;
const RENEWALS: usize = 14_400;

#[tokio::main]
async fn main() -> Result<()> {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let folder = Folder::create()?;
    let postgres = Postgres::start(&folder.sub("postgres")?).await?;
    let settings: Settings = serde_json::from_value(serde_json::json!({
        "url": postgres.url("postgres"), "schema": "darkroom", "max_connections": 0, "statement_timeout_ms": 10_000, "acquire_timeout_ms": 10_000,
    }))?;
    let database = database::connect(&settings, CONNECTIONS).await?;
    migrations::up(&database).await?;
    prepare(&database).await?;
    let lease = Lease::begin(database.clone()).await?;

    let ways = [("begin_call + end_call", Way::Ledger(&lease)), ("a semaphore row", Way::Row(&database))];
    println!(
        "{AT_ONCE} calls at once of one key, {CONNECTIONS} connections, {LEDGER} calls in the ledger; medians of {ROUNDS} rounds"
    );
    println!("{:<24}{:>22}{:>12}{:>26}", "", "both statements, p50", "p95", "most calls a second");
    let mut seen: Vec<[Vec<f64>; 3]> = vec![Default::default(); ways.len()];
    for _ in 0..ROUNDS {
        for ((_, way), seen) in ways.iter().zip(&mut seen) {
            let mut both = round(way, CALL).await?;
            both.sort_by(f64::total_cmp);
            seen[0].push(both[both.len() / 2]);
            seen[1].push(both[both.len() * 95 / 100]);
            let began = Instant::now();
            let calls = round(way, Duration::ZERO).await?.len();
            seen[2].push(calls as f64 / began.elapsed().as_secs_f64());
        }
    }
    for ((name, _), seen) in ways.iter().zip(&mut seen) {
        let [p50, p95, rate] = seen.each_mut().map(|values| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        });
        println!("{name:<24}{p50:>19.2} ms{p95:>9.2} ms{rate:>24.0}/s");
    }
    let [first, last] = renewals_under_a_snapshot(&database).await?;
    println!(
        "a renewal, {RENEWERS} workers, {RENEWALS} renewals in all while another transaction keeps its snapshot, p50: the first thousand \
         {first:.2} ms, the last {last:.2} ms"
    );
    drop(database);
    postgres.stop().await?;
    folder.remove().await
}

/// Renews the leases of some workers in turns, while a transaction keeps its snapshot as a backup does for hours. What a renewal takes at the
/// beginning and at the end, in milliseconds.
async fn renewals_under_a_snapshot(database: &DatabaseConnection) -> Result<[f64; 2]> {
    let snapshot =
        database.begin_with_config(Some(IsolationLevel::RepeatableRead), Some(AccessMode::ReadOnly)).await?;
    snapshot.execute_unprepared("SELECT count(*) FROM leases").await?;
    let holders: Vec<Holder> = (0..RENEWERS)
        .map(|number| Holder {
            provider_key: "of many".into(),
            worker: format!("renewer-{number}"),
            ..holder()
        })
        .collect();
    let mut held: Vec<Option<i64>> = vec![None; RENEWERS];
    let mut took = Vec::new();
    for number in 0..RENEWALS {
        let which = number % RENEWERS;
        let renewal =
            Renewal { calls: 0, in_use_bound: 0, demand: 6, ..renewal(held[which], number as i64 + 1) };
        let began = Instant::now();
        let grant = lease::grant(database, &holders[which], &renewal, Duration::from_secs(600)).await?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
        held[which] = Some(grant.lease_id);
    }
    snapshot.commit().await?;
    let median = |took: &[f64]| {
        let mut took = took.to_vec();
        took.sort_by(f64::total_cmp);
        took[took.len() / 2]
    };
    Ok([median(&took[..1_000]), median(&took[RENEWALS - 1_000..])])
}

/// One way of asking before a call, and of telling after it.
enum Way<'a> {
    Ledger(&'a Lease),
    Row(&'a DatabaseConnection),
}

/// Makes calls that take so long, as many at once as may be, for a while. What both statements of each took, in milliseconds.
async fn round(way: &Way<'_>, call: Duration) -> Result<Vec<f64>> {
    // The round before may have taken longer than a lease.
    if let Way::Ledger(lease) = way {
        lease.renew().await?;
    }
    let until = Instant::now() + ROUND;
    let lines = (0..AT_ONCE).map(|line| async move {
        // Not all at the same moment.
        tokio::time::sleep(call * line / AT_ONCE).await;
        let mut took = Vec::new();
        while Instant::now() < until {
            let began = Instant::now();
            let name = way.begin().await?;
            let asked = began.elapsed();
            tokio::time::sleep(call).await;
            let ended = Instant::now();
            way.end(&name).await?;
            took.push((asked + ended.elapsed()).as_secs_f64() * 1e3);
        }
        anyhow::Ok(took)
    });
    let renewing = async {
        if let Way::Ledger(lease) = way {
            loop {
                lease.renew().await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        std::future::pending::<Result<()>>().await
    };
    tokio::select! {
        took = try_join_all(lines) => Ok(took?.into_iter().flatten().collect()),
        failed = renewing => failed.map(|()| Vec::new()),
    }
}

impl Way<'_> {
    async fn begin(&self) -> Result<String> {
        match self {
            Way::Ledger(lease) => lease.begin_call().await,
            Way::Row(database) => {
                while !execute(database, "UPDATE semaphore SET used = used + 1 WHERE used < 48").await? {}
                Ok(String::new())
            }
        }
    }

    async fn end(&self, name: &str) -> Result<()> {
        match self {
            Way::Ledger(lease) => {
                let outcome = Outcome::Generated {
                    images: Vec::new(),
                    billed: Some((5, 0.2)),
                    request_id: Some("req-1".into()),
                    left_out: None,
                };
                let (effects, task_id) = (outcome.effects(), task_of(name));
                let intent = intent(name, &task_id);
                Ok(ledger::end(&lease.database, lease.lease_id, &intent, &effects, Duration::ZERO)
                    .await
                    .map(drop)?)
            }
            Way::Row(database) => execute(database, "UPDATE semaphore SET used = used - 1").await.map(drop),
        }
    }
}

/// A lease on the whole key.
struct Lease {
    database: DatabaseConnection,
    lease_id: i64,
    version: i64,
    renewals: AtomicU64,
    calls: AtomicU64,
}

impl Lease {
    async fn begin(database: DatabaseConnection) -> Result<Self> {
        let grant = lease::grant(&database, &holder(), &renewal(None, 1), paid_calls::TTL).await?;
        let share = grant.share.context("the key has a limit")?;
        if share != AT_ONCE {
            bail!("a share of {share}, not of {AT_ONCE}");
        }
        let (renewals, calls) = (AtomicU64::new(1), AtomicU64::new(0));
        Ok(Self { database, lease_id: grant.lease_id, version: grant.version, renewals, calls })
    }

    async fn renew(&self) -> Result<()> {
        let number = self.renewals.fetch_add(1, Ordering::Relaxed) + 1;
        let renewal = renewal(Some(self.lease_id), number as i64);
        lease::grant(&self.database, &holder(), &renewal, paid_calls::TTL).await?;
        Ok(())
    }

    async fn begin_call(&self) -> Result<String> {
        let name = self.calls.fetch_add(1, Ordering::Relaxed).to_string();
        let task_id = task_of(&name);
        match ledger::begin(&self.database, self.lease_id, self.version, &intent(&name, &task_id)).await? {
            Admission::Go => Ok(name),
            other @ (Admission::Done(_)
            | Admission::InFlight(_)
            | Admission::KeyBlocked(..)
            | Admission::RateLimited(..)
            | Admission::CallBlocked(..)
            | Admission::Renew
            | Admission::TaskEnded(_)
            | Admission::Exhausted(_)) => bail!("no call may begin: {other:?}"),
        }
    }
}

/// The task of a call, of a thousand.
fn task_of(name: &str) -> String {
    format!("task-{}", name.parse::<u64>().unwrap_or_default() % 1000)
}

fn intent<'a>(name: &'a str, task_id: &'a str) -> Intent<'a> {
    Intent {
        provider_key: KEY,
        worker: "bench",
        token: name,
        idempotency_key: None,
        call: Call {
            task_id,
            user_id: "user",
            plan: "pro",
            name: CallName::batch(name.parse().unwrap_or_default(), 1),
            images: 5,
            fingerprint: "f",
            honours_idempotency: false,
            timeout: Duration::from_secs(180),
            max_billed_failures: 5,
        },
    }
}

fn holder() -> Holder {
    Holder {
        provider_key: KEY.into(),
        worker: "bench".into(),
        host: "here".into(),
        pid: std::process::id(),
        max_calls: AT_ONCE,
    }
}

fn renewal(lease_id: Option<i64>, number: i64) -> Renewal {
    Renewal {
        lease_id,
        number,
        calls: AT_ONCE,
        in_use_bound: AT_ONCE,
        idle_slots: 0,
        demand: AT_ONCE,
        cut_off: false,
    }
}

/// The key's limit, tasks that run, a ledger of some days, and the row to compare with.
async fn prepare(database: &DatabaseConnection) -> Result<()> {
    paid_calls::limits::set(database, KEY, &Change::ceiling(AT_ONCE)).await?;
    let fill = format!(
        "INSERT INTO tasks (task_id, user_id, plan, input, images_planned)
         SELECT 'task-' || n, 'user', 'pro', '{{}}', 70 FROM generate_series(0, 999) AS n;
         INSERT INTO calls (provider_key, lease_id, token, task_id, user_id, plan, name, images_asked, fingerprint, state, begun_at, runs_until,
                            ended_at, images_billed, cost_usd)
         SELECT '{KEY}', 0, 'old-' || n, 'old-' || n / 15, 'user', 'pro', n::text, 5, 'f', 'done', now() - n * interval '1 s',
                now() - n * interval '1 s', now() - n * interval '1 s', 5, 0.2 FROM generate_series(1, {LEDGER}) AS n;
         SELECT set_limits('of many', '{{\"ceiling\": 48}}'); CREATE TABLE semaphore (used integer NOT NULL); INSERT INTO semaphore VALUES (0); ANALYZE;"
    );
    database.execute_unprepared(&fill).await?;
    Ok(())
}

async fn execute(database: &DatabaseConnection, sql: &str) -> Result<bool> {
    let done = database.execute_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
    Ok(done.rows_affected() > 0)
}
