//! How the limit follows a provider that doesn't say what it allows, and changes it under way. Pure but for reading the changes.

use anyhow::Result;
use database::DatabaseConnection;
use sandbox::Meter;
use sea_orm::{ConnectionTrait, DbBackend, Statement};

use crate::figures::{Better, Figure};
use crate::timeline::{Interval, Timeline};

/// Enough for the whole time at the default speed.
pub const TASKS: u32 = 230;
/// The ceiling: what people think the provider might allow.
pub const CEILING: u32 = 60;
/// From when, in real seconds, the provider allows how many calls at once.
pub(crate) const ALLOWED: [(u64, u32); 3] = [(0, 24), (90, 12), (150, 24)];
/// When it is over.
pub(crate) const ENDS_S: u64 = 240;
/// Within the Retry-After of a refusal.
const STOPPED_MS: u64 = 900;
/// Of a phase, the part at its end that is taken for steady.
const STEADY: f64 = 0.5;

/// What was seen. Real milliseconds from the load's beginning.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Trace {
    pub(crate) workers: u32,
    pub(crate) in_flight: Timeline,
    /// When calls arrived that the provider refused.
    pub(crate) refused_ms: Vec<u64>,
    /// When calls arrived.
    pub(crate) started_ms: Vec<u64>,
    /// Each change of the limit.
    pub(crate) limit: Vec<(u64, u32)>,
}

impl Trace {
    pub(crate) async fn read(
        db: &DatabaseConnection,
        meter: &Meter,
        began_ms: f64,
        workers: u32,
    ) -> Result<Self> {
        let since = |unix_ms: f64| (unix_ms - began_ms).max(0.0) as u64;
        let sql = "SELECT (extract(epoch FROM at) * 1000)::float8 AS at_ms, calls_at_once FROM limit_changes
                    WHERE calls_at_once IS NOT NULL ORDER BY at";
        let rows = db.query_all_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
        let mut limit = Vec::new();
        for row in rows {
            limit.push((
                since(row.try_get("", "at_ms")?),
                row.try_get::<i32>("", "calls_at_once")?.max(0) as u32,
            ));
        }
        let calls = || meter.calls.iter().filter(|call| call.started_ms as f64 >= began_ms);
        let accepted = calls().filter(|call| call.accepted).filter_map(|call| {
            Some(Interval { from_ms: since(call.started_ms as f64), to_ms: since(call.done_ms? as f64) })
        });
        let refused =
            calls().filter(|call| call.status == Some(429)).map(|call| since(call.started_ms as f64));
        Ok(Self {
            workers,
            in_flight: Timeline::of(accepted),
            refused_ms: refused.collect(),
            started_ms: calls().map(|call| since(call.started_ms as f64)).collect(),
            limit,
        })
    }

    /// What the provider allows, and from when until when.
    fn phases() -> impl Iterator<Item = (u32, u64, u64)> {
        let ends = ALLOWED.iter().skip(1).map(|(from_s, _)| *from_s).chain([ENDS_S]);
        ALLOWED.iter().zip(ends).map(|((from_s, allowed), to_s)| (*allowed, from_s * 1000, to_s * 1000))
    }

    pub(crate) fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        for (number, (allowed, from_ms, to_ms)) in (1..).zip(Self::phases()) {
            let mut figure = |name: &str, label: &str, unit: &str, better, value: f64| {
                let label = format!("{label}, {allowed} allowed from {} s on", from_ms / 1000);
                figures.push(Figure::new(&format!("adapt_{number}_{name}"), &label, unit, better, value));
            };
            let steady_ms = from_ms + ((to_ms - from_ms) as f64 * STEADY) as u64;
            let reached = (from_ms..to_ms).step_by(10).find(|at_ms| {
                self.in_flight.at(*at_ms) * 10 >= u64::from(allowed) * 9
                    && self.limit_at(*at_ms) <= allowed * 5 / 4
            });
            if let Some(at_ms) = reached {
                figure("reached", "90 % used, after", "s", Better::Lower, (at_ms - from_ms) as f64 / 1e3);
            }
            let used: f64 = (steady_ms..to_ms).step_by(10).map(|at_ms| self.in_flight.at(at_ms) as f64).sum();
            let moments = (steady_ms..to_ms).step_by(10).count().max(1) as f64;
            figure(
                "used",
                "used when steady",
                "%",
                Better::Higher,
                used / moments / f64::from(allowed) * 100.0,
            );
            let within = |moments: &[u64]| {
                moments.iter().filter(|at_ms| (steady_ms..to_ms).contains(at_ms)).count() as f64
            };
            let refused = within(&self.refused_ms) / within(&self.started_ms).max(1.0) * 100.0;
            figure("refused", "refused when steady", "%", Better::Lower, refused);
            if number == 1 {
                continue;
            }
            // The first refusal after the change, and who called nonetheless before its Retry-After was over.
            let Some(first) = self.refused_ms.iter().copied().find(|at_ms| *at_ms >= from_ms) else {
                continue;
            };
            let closed = first..first + STOPPED_MS;
            let wasted = self.refused_ms.iter().filter(|at_ms| closed.contains(at_ms)).count();
            let last =
                self.started_ms.iter().copied().filter(|at_ms| closed.contains(at_ms)).max().unwrap_or(first);
            let a_worker = wasted as f64 / f64::from(self.workers);
            figure("wasted", "refused before all had stopped, for each worker", "", Better::Lower, a_worker);
            figure(
                "stopped",
                "from the first refusal until all had stopped",
                "s",
                Better::Lower,
                (last - first) as f64 / 1e3,
            );
        }
        figures
    }

    fn limit_at(&self, at_ms: u64) -> u32 {
        let next = self.limit.partition_point(|(change_ms, _)| *change_ms <= at_ms);
        next.checked_sub(1).map_or(CEILING, |last| self.limit[last].1)
    }

    /// What the provider allowed, as a line.
    pub(crate) fn allowed() -> Vec<(f64, f64)> {
        let end = ALLOWED.last().map(|(_, allowed)| (ENDS_S as f64, f64::from(*allowed)));
        ALLOWED.iter().map(|(from_s, allowed)| (*from_s as f64, f64::from(*allowed))).chain(end).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_that_follows_at_once_is_all_used_and_never_refused() {
        let phases: Vec<(u32, u64, u64)> = Trace::phases().collect();
        assert_eq!(phases, [(24, 0, 90_000), (12, 90_000, 150_000), (24, 150_000, 240_000)]);
        let calls = phases.iter().flat_map(|(allowed, from_ms, to_ms)| {
            (0..*allowed).map(|_| Interval { from_ms: *from_ms, to_ms: *to_ms })
        });
        let trace = Trace {
            workers: 4,
            in_flight: Timeline::of(calls),
            refused_ms: vec![90_100, 90_300],
            started_ms: vec![80_000, 90_100, 90_300],
            limit: vec![(0, 24), (90_300, 12), (150_000, 24)],
        };
        let figures = trace.figures();
        let value = |name: &str| figures.iter().find(|figure| figure.name == name).map(|figure| figure.value);
        assert_eq!([1, 2, 3].map(|phase| value(&format!("adapt_{phase}_used"))), [Some(100.0); 3]);
        assert_eq!([1, 2, 3].map(|phase| value(&format!("adapt_{phase}_refused"))), [Some(0.0); 3]);
        assert_eq!((value("adapt_1_reached"), value("adapt_3_reached")), (Some(0.0), Some(0.0)));
        assert_eq!((value("adapt_2_wasted"), value("adapt_2_stopped")), (Some(0.5), Some(0.2)));
    }
}
