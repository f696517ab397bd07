//! What became of it, for people to read: Markdown.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::Result;
use sea_orm::{ConnectionTrait, Statement};

use super::Soak;
use super::disruption::Disruption;
use crate::calls::by_name;
use crate::{Violation, Witness};

/// The end of a soak.
#[derive(Debug)]
pub struct Report {
    soak: Soak,
    /// Tasks by plan and state of their row.
    tasks: BTreeMap<(String, String), i64>,
    started: usize,
    images: i64,
    calls: usize,
    calls_billed: u64,
    images_billed: u64,
    /// Calls paid again, because an earlier answer was lost.
    paid_again: usize,
    statuses: BTreeMap<String, usize>,
    downloads: u64,
    deeds: BTreeMap<String, usize>,
    /// How long what was under way took once nothing went wrong any more; none where it took too long.
    drain: Option<Duration>,
    /// What must not be.
    pub violations: Vec<Violation>,
}

impl Report {
    pub(super) async fn of(
        soak: &Soak,
        witness: &Witness<'_>,
        done: Vec<Disruption>,
        drain: Option<Duration>,
        violations: Vec<Violation>,
    ) -> Result<Report> {
        let db = witness.database;
        let query = |sql: &str| db.query_all_raw(Statement::from_string(db.get_database_backend(), sql));
        let mut tasks = BTreeMap::new();
        for row in query("SELECT plan, state, count(*) AS count FROM tasks GROUP BY plan, state").await? {
            tasks.insert((row.try_get("", "plan")?, row.try_get("", "state")?), row.try_get("", "count")?);
        }
        let mut images = 0;
        for row in query("SELECT count(*) AS count FROM images").await? {
            images = row.try_get("", "count")?;
        }
        let meter = &witness.meter;
        let mut statuses: BTreeMap<String, usize> = BTreeMap::new();
        for call in &meter.calls {
            let status = call.status.map_or("no answer".into(), |status| status.to_string());
            *statuses.entry(status).or_default() += 1;
        }
        let mut paid_again = 0;
        for calls in by_name(meter).values() {
            paid_again += calls.iter().filter(|call| call.billed).count().saturating_sub(1);
        }
        let mut deeds: BTreeMap<String, usize> = BTreeMap::new();
        for deed in done {
            *deeds.entry(format!("{deed:?}")).or_default() += 1;
        }
        Ok(Report {
            soak: soak.clone(),
            tasks,
            started: witness.tasks.len(),
            images,
            calls: meter.calls.len(),
            calls_billed: meter.billed_calls,
            images_billed: meter.images_billed,
            paid_again,
            statuses,
            downloads: meter.downloads,
            deeds,
            drain,
            violations,
        })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Soak { seed, duration, workers, keys_are_honoured, default_timeouts, .. } = &self.soak;
        let keys = if *keys_are_honoured { "honours" } else { "ignores" };
        writeln!(
            f,
            "Seed {seed}, {} s, {workers} workers; the provider {keys} idempotency keys; workers that began in the first {} s had the \
             default timeouts.\n",
            duration.as_secs(),
            default_timeouts.as_secs(),
        )?;
        writeln!(f, "| tasks | ended as | how many |\n|---|---|---|")?;
        for ((plan, state), count) in &self.tasks {
            writeln!(f, "| {plan} | {state} | {count} |")?;
        }
        let rows: i64 = self.tasks.values().sum();
        writeln!(
            f,
            "| any | without a row: refused, or cancelled before | {} |\n",
            self.started as i64 - rows
        )?;
        let statuses: Vec<String> =
            self.statuses.iter().map(|(status, count)| format!("{count} × {status}")).collect();
        writeln!(f, "- {} image rows, each with its object.", self.images)?;
        writeln!(
            f,
            "- {} calls ({}), {} billed, with {} images; {} calls paid again after a lost answer.",
            self.calls,
            statuses.join(", "),
            self.calls_billed,
            self.images_billed,
            self.paid_again
        )?;
        writeln!(f, "- {} downloads.", self.downloads)?;
        let deeds: Vec<String> = self.deeds.iter().map(|(deed, count)| format!("{count} × {deed}")).collect();
        writeln!(f, "- Done to it: {}.", deeds.join(", "))?;
        match self.drain {
            Some(drain) => writeln!(
                f,
                "- Once nothing went wrong any more, all had ended after {:.0} s.",
                drain.as_secs_f64()
            )?,
            None => writeln!(f, "- Not everything has ended.")?,
        }
        if self.violations.is_empty() {
            return writeln!(f, "- **No invariant was violated.**");
        }
        writeln!(f, "- **{} violations:**", self.violations.len())?;
        self.violations.iter().try_for_each(|violation| writeln!(f, "  - {violation}"))
    }
}
