//! Each activity is cut from each thing a worker talks to, in its middle, for longer than its heartbeat timeout.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chaos::{Disruptions, Link};
use futures::StreamExt;
use tests::{Point, Stack, a_task, side_by_side};
use workflows::activities::NAMES;
use workflows::types::TaskState;

/// Longer than the longest heartbeat timeout.
const OUTAGE: Duration = Duration::from_secs(5);

/// How the link fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outage {
    /// Connections are reset.
    Cut,
    /// Nothing passes, and nobody is told.
    Stall,
}

async fn cut_within(activity: &str, link: Link, outage: Outage) {
    // A stall is to be noticed within a test's patience. Only at the link that fails: on a slow machine short timeouts also end what
    // is merely slow, and then a call is paid twice that nobody cut.
    let quick = move |config: &mut worker::Config| match link {
        Link::Postgres => {
            config.database.statement_timeout_ms = 2_000;
            config.database.acquire_timeout_ms = 2_000;
        }
        Link::Store => config.storage.request_timeout_ms = 3_000,
        Link::Provider => config.provider.timeout_s = 4,
        Link::Temporal => {}
    };
    let stack = Stack::with()
        .provider(|provider| provider.batch_ms = 300)
        .temporal_proxy()
        .proxied()
        .configure(quick)
        .start()
        .await;
    let given = a_task();
    let began = Instant::now();
    let task = stack.begin(&given).await;
    stack.temporal_proxy().reached(Some(activity), Point::Begun, began).await;
    let from = now_ms();
    let proxy = stack.links().proxy(link);
    match outage {
        Outage::Cut => proxy.cut().await,
        Outage::Stall => proxy.stall(),
    }
    // What is given, not what is waited for.
    tokio::time::sleep(OUTAGE).await;
    proxy.mend();

    stack.result(&task).await.unwrap();

    let losses = vec![(from, now_ms())];
    stack.assert_invariants(&[&given], &Disruptions { losses, ..Disruptions::default() }).await;
    let outcome = stack.outcome_of(&given).await;
    let whole = (Some(TaskState::Completed), 2, 2);
    assert_eq!((outcome.state, outcome.rows, outcome.objects), whole, "{activity} {link:?} {outage:?}");
    if ![Link::Temporal, Link::Provider].contains(&link) {
        assert_eq!(outcome.images_billed, 3, "{activity} {link:?} {outage:?}");
    }
}

async fn each_cut(outage: Outage) {
    let cuts = NAMES.into_iter().flat_map(|name| Link::ALL.map(|link| (name, link)));
    let cuts = futures::stream::iter(cuts).map(|(name, link)| cut_within(name, link, outage));
    cuts.buffer_unordered(side_by_side(10)).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_cut_from_each_thing_a_worker_talks_to() {
    each_cut(Outage::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_has_each_thing_a_worker_talks_to_fall_silent() {
    each_cut(Outage::Stall).await;
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}
