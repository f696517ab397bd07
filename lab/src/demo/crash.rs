//! `darkroom-lab demo --crash`: the worker is killed with -9 in the middle, and another goes on.
//!
//! Whether a call in flight is paid twice is up to the provider, so it is shown with both kinds, each on a stack of its own. Only the
//! provider differs: the worker sends its idempotency keys to both, which is also what the meter knows the calls by.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, anyhow};
use sandbox::provider::Settings;

use super::crash_cost::{self, CrashCost, Expected};
use super::kill::{Kill, kill};
use super::report::{self, Counted};
use super::run::{self, Ended};
use super::running::{self, Running};
use super::{Args, crash_report};
use cli::exit::Exit;

const HEADER: &str = "Idempotency-Key";

/// What one run came to.
pub(super) struct Outcome {
    pub(super) keys_honoured: bool,
    pub(super) kill: Kill,
    pub(super) crash_cost: CrashCost,
    pub(super) counted: Counted,
    pub(super) images_billed: u64,
    pub(super) elapsed: Duration,
}

/// Runs the tasks with both kinds of provider, leaving the stack that runs in `kept`.
pub(super) async fn show(args: &Args, photo: Vec<u8>, kept: &mut Option<Running>) -> anyhow::Result<Exit> {
    eprintln!(
        "The worker is killed with -9 once a third of the batches is made; until then the provider keeps other answers back, so that\n\
         calls are always in flight. First it ignores idempotency keys, then, on a new stack, it honours them.\n"
    );
    let ignored = run(args, photo.clone(), false, kept).await?;
    if let Some(running) = kept.take() {
        eprintln!(
            "stopping the stack; the same again on a new one, whose provider honours idempotency keys\n"
        );
        running.stop().await?;
    }
    let honoured = run(args, photo, true, kept).await?;
    crash_report::compare(&ignored, &honoured);
    let running = kept.as_ref().context("no stack runs")?;
    report::contact_sheet(args, &honoured.counted, &running.environment).await?;
    super::keep(args, running).await?;
    Ok(if ignored.counted.exit == Exit::Success { honoured.counted.exit } else { ignored.counted.exit })
}

/// Runs the tasks on a new stack, kills the worker in the middle, and says what came of it.
async fn run(
    args: &Args,
    photo: Vec<u8>,
    keys_honoured: bool,
    kept: &mut Option<Running>,
) -> anyhow::Result<Outcome> {
    let provider = Settings {
        idempotency_header: keys_honoured.then(|| HEADER.to_owned()),
        // Recovery takes its time on our clock, so the URLs live an hour on ours, not on the provider's.
        url_ttl_ms: (3_600_000.0 * args.speed) as u64,
        ..running::provider(args)
    };
    let mut variables = running::slots(args);
    variables.push(("DARKROOM_PROVIDER__IDEMPOTENCY_HEADER".into(), HEADER.into()));
    let Running { stack, environment, worker } = Running::start(provider, variables, kept).await?;

    stack.provider.hold();
    let begun = run::begin(args, photo, environment).await?;
    let mut end = pin!(begun.end(&stack.provider));
    let kill = tokio::select! {
        kill = kill(stack, environment, worker, args.slots, &begun) => kill?,
        ended = &mut end => return Err(ended_early(ended)),
    };
    let ended = end.await;
    // The provider goes on with what it had begun for the dead worker, and bills it.
    let meter = stack.provider.meter().wait_long_until(|meter| meter.in_flight == 0).await?;

    let mut counted = report::count(&ended, environment).await?;
    let crash_cost = crash_cost::of(&kill, &meter);
    let expected = Expected { tasks: args.tasks, images: args.tasks * begun.images, keys_honoured };
    let problems = crash_cost.problems(expected, counted.rows, counted.objects, &meter);
    problems.iter().for_each(|problem| eprintln!("this must not be: {problem}"));
    if !problems.is_empty() && counted.exit == Exit::Success {
        counted.exit = Exit::Failure;
    }
    let images_billed = meter.images_billed;
    let outcome = Outcome { keys_honoured, kill, crash_cost, counted, images_billed, elapsed: ended.elapsed };
    crash_report::print(&outcome);
    Ok(outcome)
}

/// Such as for a photo that is none.
fn ended_early(ended: Ended) -> anyhow::Error {
    let what = "the tasks ended before the worker was killed";
    match ended.results.into_iter().find_map(|(_, result)| result.err()) {
        Some(error) => anyhow::Error::from(error).context(what),
        None => anyhow!(what),
    }
}
