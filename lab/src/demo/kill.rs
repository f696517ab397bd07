//! kill -9 of the worker in the middle of the tasks.

use std::time::Duration;

use activities::storage::Storage;
use anyhow::Context;
use sandbox::process::Guarded;
use sandbox::{Meter, Stack};
use workflows::types::Stage;

use super::run::{Begun, config};
use super::running;

/// The kill, as seen from outside.
#[derive(Debug, Default)]
pub(super) struct Kill {
    /// Process id of the worker that died.
    pub(super) pid: u32,
    /// When, since the start of the tasks.
    pub(super) after: Duration,
    /// The same moment on the meter's clock.
    pub(super) at_ms: u64,
    /// The meter at that moment.
    pub(super) meter: Meter,
    /// Images that lay in the bucket.
    pub(super) images_stored: usize,
}

/// Waits for the middle of the tasks, kills the worker, and starts another.
///
/// The provider holds every call when this begins. It lets each task's retouching and a third of the batches through, and keeps the
/// other answers back until the worker is dead: so there are always calls in flight, and always the same number.
pub(super) async fn kill(
    stack: &Stack,
    environment: &[(String, String)],
    worker: &mut Option<Guarded>,
    slots: u32,
    begun: &Begun,
) -> anyhow::Result<Kill> {
    let tasks = begun.tasks.len() as u32;
    let batches = tasks * begun.batches;
    let let_through = tasks + a_third(batches);
    let in_flight = slots.min(tasks + batches - let_through);
    all_wait_for_their_retouching(begun).await;
    (0..let_through).for_each(|_| stack.provider.release_one());
    the_middle(stack, begun, let_through, in_flight).await?;

    let mut dead = worker.take().context("no worker runs")?;
    dead.kill().await?;
    let (after, at_ms) = (begun.at.elapsed(), stack.provider.meter().now_ms());
    let meter = stack.provider.meter().snapshot();
    let objects = Storage::new(&config(environment)?.storage).list("tasks/").await?;
    let images_stored = objects.iter().filter(|(key, _)| key.contains("/images/")).count();
    stack.provider.release();
    *worker = Some(running::worker(stack, environment).await?);
    begun.display.say(&format!(
        "kill -9 of the worker (process {}) after {:.1} s, {} calls in flight; another is started",
        dead.pid(),
        after.as_secs_f64(),
        meter.in_flight
    ));
    Ok(Kill { pid: dead.pid(), after, at_ms, meter, images_stored })
}

/// Returns when each task is prepared. Calls are served in the order of arrival: a task that came later could not begin its retouching while the
/// others' batches are held.
async fn all_wait_for_their_retouching(begun: &Begun) {
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        ticks.tick().await;
        let looks = begun.look().await;
        if looks.iter().all(|look| look.as_ref().is_some_and(|look| look.stage != Stage::Prepare)) {
            return;
        }
    }
}

/// A third of the batches, but at least one of several.
fn a_third(batches: u32) -> u32 {
    (batches / 3).max(1).min(batches.saturating_sub(1))
}

/// Returns when the calls let through are billed and Temporal has their answers, images of them are stored, and so many others are in
/// flight.
///
/// Of an answer that the worker has and Temporal hasn't, the meter knows nothing: such a call would be paid twice without having been
/// in flight.
async fn the_middle(stack: &Stack, begun: &Begun, let_through: u32, in_flight: u32) -> anyhow::Result<()> {
    let meter = stack.provider.meter();
    let billed = |meter: &Meter| {
        meter.billed_calls == u64::from(let_through) && meter.in_flight == u64::from(in_flight)
    };
    meter.wait_long_until(billed).await?;
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        ticks.tick().await;
        let looks = begun.look().await;
        let looks = || looks.iter().flatten();
        let answered: u32 = looks().map(|look| look.calls_answered).sum();
        let generated: u32 = looks().map(|look| look.batches_generated).sum();
        let stored: u32 = looks().map(|look| look.images_stored).sum();
        if answered == let_through && (generated == 0 || stored > 0) {
            return Ok(());
        }
    }
}
