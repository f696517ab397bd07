//! kill -9 of a worker in the middle of each step, with another worker beside it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chaos::Disruptions;
use futures::StreamExt;
use sandbox::Proxy;
use tests::{ActivityFault, Point, Stack, a_task, on_this_machine, side_by_side};
use workflows::activities::NAMES;
use workflows::failure::FailureKind;
use workflows::types::TaskState;

const DARKROOM: &str = env!("CARGO_BIN_EXE_darkroom");

/// Where the worker dies.
#[derive(Clone, Copy)]
enum Within {
    Beautify,
    Generate,
}

impl Within {
    async fn reach(self, stack: &Stack) {
        let meter = stack.provider.meter();
        meter.wait_until(|meter| meter.in_flight == 1).await.unwrap();
        if let Within::Generate = self {
            stack.provider.release_one();
            meter.wait_until(|meter| meter.billed_calls == 1 && meter.in_flight == 1).await.unwrap();
        }
    }
}

/// Kills the worker within a step, and returns how many images were billed for 3 that were needed.
async fn images_billed(within: Within, keys_are_honoured: bool) -> u64 {
    let stack = Stack::with()
        .provider(|provider| {
            provider.idempotency_header = keys_are_honoured.then(|| "Idempotency-Key".to_owned());
        })
        .without_worker()
        .start()
        .await;
    stack.provider.hold();
    let mut doomed = stack.spawn_worker(DARKROOM, &[]);
    let given = a_task();
    let task = stack.begin(&given).await;
    within.reach(&stack).await;
    let _other = stack.spawn_worker(DARKROOM, &[]);

    doomed.start_kill().unwrap();
    doomed.wait().await.unwrap();
    stack.provider.release();

    stack.result(&task).await.unwrap();
    let outcome = stack.outcome(&given).await;
    assert_eq!((outcome.state, outcome.rows, outcome.objects), (Some(TaskState::Completed), 2, 2));
    // The provider goes on with what it had begun for the dead worker.
    stack.provider.meter().wait_until(|meter| meter.in_flight == 0).await.unwrap().images_billed
}

#[tokio::test]
async fn within_beautify_only_the_call_that_ran_is_paid_twice() {
    assert_eq!(images_billed(Within::Beautify, false).await, 3 + 1);
}

#[tokio::test]
async fn within_generate_only_the_call_that_ran_is_paid_twice() {
    assert_eq!(images_billed(Within::Generate, false).await, 3 + 2);
}

#[tokio::test]
async fn within_beautify_nothing_is_paid_twice_where_keys_are_honoured() {
    assert_eq!(images_billed(Within::Beautify, true).await, 3);
}

#[tokio::test]
async fn within_generate_nothing_is_paid_twice_where_keys_are_honoured() {
    assert_eq!(images_billed(Within::Generate, true).await, 3);
}

#[tokio::test]
async fn a_call_in_which_five_workers_have_died_is_not_made_again() {
    let stack = Stack::with().without_worker().start().await;
    stack.provider.hold();
    let mut worker = stack.spawn_worker(DARKROOM, &[]);
    let given = a_task();
    let task = stack.begin(&given).await;
    Within::Generate.reach(&stack).await;

    for death in 1..=5 {
        // The provider goes on with those before.
        stack.provider.meter().wait_until(|meter| meter.in_flight == death).await.unwrap();
        worker.kill().await.unwrap();
        worker = stack.spawn_worker(DARKROOM, &[]);
    }

    let Err(client::Error::Failed { failure, .. }) = stack.result(&task).await else {
        panic!("it has a result")
    };
    assert_eq!(failure.kind, FailureKind::Ambiguous);
    assert!(failure.message.contains("made 5 times without a result"), "{}", failure.message);
    assert_eq!(stack.provider.meter().snapshot().calls.len(), 1 + 5);
}

/// Kills the only worker when an activity has come so far, with another beside it that has just started. How long until work
/// goes on.
async fn kill_at(activity: &'static str, point: Point) -> Duration {
    let stack = Stack::with()
        .provider(|provider| provider.batch_ms = 500)
        .temporal_proxy()
        .without_worker()
        .start()
        .await;
    let given = a_task();
    if point == Point::Worked {
        // What it reports is lost with it.
        stack.temporal_proxy().plan(&given.0.task_id, activity, ActivityFault::ResultLost);
    }
    let began = Instant::now();
    let mut doomed = stack.spawn_worker(DARKROOM, &[]);
    let task = stack.begin(&given).await;
    stack.temporal_proxy().reached(Some(activity), point, began).await;
    let _other = stack.spawn_worker(DARKROOM, &[]);

    let (killed, killed_ms) = (Instant::now(), now_ms());
    doomed.start_kill().unwrap();
    doomed.wait().await.unwrap();
    let resumed = stack.temporal_proxy().reached(None, Point::Begun, killed).await;

    stack.result(&task).await.unwrap();
    stack
        .assert_invariants(
            &[&given],
            &Disruptions { losses: vec![(killed_ms, killed_ms)], ..Disruptions::default() },
        )
        .await;
    let outcome = stack.outcome_of(&given).await;
    assert_eq!((outcome.state, outcome.rows, outcome.objects), (Some(TaskState::Completed), 2, 2));
    resumed - killed
}

/// Work goes on within this time of a worker's death, on a quick machine.
const RESUMES_WITHIN: Duration = Duration::from_secs(10);

/// Work went on within that time, or as many times that as this machine is slower at the moment.
fn assert_soon(resumed: Duration, what: &str) {
    let allowed = on_this_machine(RESUMES_WITHIN);
    assert!(resumed < allowed, "{what}: after {resumed:?}, {allowed:?} are allowed here and now");
}

#[tokio::test]
async fn each_activity_survives_the_death_of_its_worker_within_it_and_after_it() {
    let kills = NAMES.iter().flat_map(|name| [Point::Working, Point::Worked].map(|point| (*name, point)));
    let resumed = futures::stream::iter(kills)
        .map(|(name, point)| async move { (name, point, kill_at(name, point).await) })
        .buffer_unordered(side_by_side(3))
        .collect::<Vec<_>>()
        .await;
    eprintln!("{resumed:#?}");
    for (name, point, after) in resumed {
        assert_soon(after, &format!("{name} {point:?}"));
    }
}

#[tokio::test]
async fn the_only_worker_killed_and_restarted_goes_on() {
    let stack = Stack::with()
        .provider(|provider| provider.batch_ms = 500)
        .temporal_proxy()
        .without_worker()
        .start()
        .await;
    let given = a_task();
    let began = Instant::now();
    let mut doomed = stack.spawn_worker(DARKROOM, &[]);
    let task = stack.begin(&given).await;
    stack.temporal_proxy().reached(Some("generate"), Point::Working, began).await;
    let killed_ms = now_ms();
    doomed.start_kill().unwrap();
    doomed.wait().await.unwrap();

    let restarted = Instant::now();
    let _again = stack.spawn_worker(DARKROOM, &[]);
    let resumed = stack.temporal_proxy().reached(Some("generate"), Point::Begun, restarted).await;

    stack.result(&task).await.unwrap();
    stack
        .assert_invariants(
            &[&given],
            &Disruptions { losses: vec![(killed_ms, killed_ms)], ..Disruptions::default() },
        )
        .await;
    eprintln!("generate began again {:?} after the restart", resumed - restarted);
    assert_soon(resumed - restarted, "generate");
}

#[tokio::test]
async fn a_workflow_goes_on_without_the_worker_that_knew_it() {
    let stack = Stack::with().temporal_proxy().without_worker().start().await;
    stack.provider.hold();
    let _steps = stack.spawn_worker(DARKROOM, &["generate", "transfer"]);
    let mut doomed = stack.spawn_worker(DARKROOM, &["tasks"]);
    let given = a_task();
    let task = stack.begin(&given).await;
    Within::Generate.reach(&stack).await;
    let _other = stack.spawn_worker(DARKROOM, &["tasks"]);

    let killed = Instant::now();
    doomed.start_kill().unwrap();
    doomed.wait().await.unwrap();
    stack.provider.release();
    let resumed = stack.temporal_proxy().reached(Some("transfer"), Point::Begun, killed).await;

    stack.result(&task).await.unwrap();
    assert_eq!(stack.outcome(&given).await.images_billed, 3);
    eprintln!("{:?}", resumed - killed);
    assert_soon(resumed - killed, "transfer");
}

/// Pauses the only worker within an activity, as a machine that swaps or is moved, with another beside it that has just started.
async fn pause_within(activity: &str) -> Duration {
    let stack = Stack::with()
        .provider(|provider| provider.batch_ms = 500)
        .temporal_proxy()
        .without_worker()
        .start()
        .await;
    let given = a_task();
    let began = Instant::now();
    let mut paused = stack.spawn_worker(DARKROOM, &[]);
    let task = stack.begin(&given).await;
    stack.temporal_proxy().reached(Some(activity), Point::Working, began).await;
    let _other = stack.spawn_worker(DARKROOM, &[]);
    let (stopped, stopped_ms) = (Instant::now(), now_ms());
    signal(&paused, "STOP");

    stack.result(&task).await.unwrap();
    let ended = stopped.elapsed();
    signal(&paused, "CONT");
    signal(&paused, "TERM");
    assert!(paused.wait().await.unwrap().success());

    stack
        .assert_invariants(
            &[&given],
            &Disruptions { losses: vec![(stopped_ms, now_ms())], ..Disruptions::default() },
        )
        .await;
    let outcome = stack.outcome_of(&given).await;
    assert_eq!((outcome.state, outcome.rows, outcome.objects), (Some(TaskState::Completed), 2, 2));
    ended
}

#[tokio::test]
async fn each_activity_survives_the_pause_of_its_worker() {
    let ended = futures::stream::iter(NAMES)
        .map(|name| async move { (name, pause_within(name).await) })
        .buffer_unordered(side_by_side(3))
        .collect::<Vec<_>>()
        .await;
    eprintln!("{ended:#?}");
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// What happens while a transfer is paused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    /// Others do its work.
    Nothing,
    /// The same; then its own downloads fail.
    ItsDownloadsFail,
    /// The URLs die, so its images are generated again.
    ItsUrlsDie,
}

/// A transfer is paused until its task has ended without it; then its downloads end, well or not.
async fn a_stale_transfer_does_no_harm(meanwhile: Meanwhile) {
    let mut stack = Stack::with().without_worker().start().await;
    stack.provider.hold_next_downloads(2);
    let _rest = stack.spawn_worker(DARKROOM, &["tasks", "generate"]);
    let mut paused = stack.spawn_worker(DARKROOM, &["transfer"]);
    let given = a_task();
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.downloads_in_flight == 2).await.unwrap();
    signal(&paused, "STOP");
    if meanwhile == Meanwhile::ItsUrlsDie {
        stack.provider.expire_urls();
    }
    let _other = stack.spawn_worker(DARKROOM, &["transfer"]);
    stack.result(&task).await.unwrap();
    if meanwhile == Meanwhile::ItsDownloadsFail {
        stack.provider.go_down().await;
        stack.provider.come_back().await.unwrap();
    }
    stack.provider.release_downloads();

    // It has ended all that it had begun when it has ended itself.
    signal(&paused, "CONT");
    signal(&paused, "TERM");
    assert!(paused.wait().await.unwrap().success());

    let outcome = stack.outcome(&given).await;
    let billed = if meanwhile == Meanwhile::ItsUrlsDie { 3 + 2 } else { 3 };
    assert_eq!((outcome.rows, outcome.objects, outcome.images_billed), (2, 2, billed));
}

#[tokio::test]
async fn a_transfer_that_wakes_after_its_tasks_end_and_fails_removes_nothing() {
    a_stale_transfer_does_no_harm(Meanwhile::ItsDownloadsFail).await;
}

#[tokio::test]
async fn a_transfer_that_wakes_after_its_tasks_end_and_works_changes_nothing() {
    a_stale_transfer_does_no_harm(Meanwhile::Nothing).await;
}

#[tokio::test]
async fn a_transfer_that_wakes_after_its_images_were_made_again_writes_over_none_of_them() {
    a_stale_transfer_does_no_harm(Meanwhile::ItsUrlsDie).await;
}

#[tokio::test]
async fn a_prepare_that_wakes_after_its_task_was_cancelled_leaves_its_row_as_it_ended() {
    let stack = Stack::with().temporal_proxy().without_worker().start().await;
    let provider = stack.provider.url().replace("http://", "");
    let network = Proxy::start(&provider).await.unwrap();
    network.stall();
    let photo = stack.provider.serve_photo("ann.jpg", tests::portrait(), "image/jpeg");
    let given = a_task().photo(&photo.replace(&provider, &network.address().to_string()));
    let began = Instant::now();
    let mut paused = stack.spawn_worker(DARKROOM, &[]);
    let task = stack.begin(&given).await;
    stack.temporal_proxy().reached(Some("prepare"), Point::Working, began).await;
    signal(&paused, "STOP");
    let _other = stack.spawn_worker(DARKROOM, &["tasks"]);
    task.cancel("test").await.unwrap();
    let _ = stack.result(&task).await;

    network.mend();
    signal(&paused, "CONT");
    signal(&paused, "TERM");
    assert!(paused.wait().await.unwrap().success());

    let outcome = stack.outcome(&given).await;
    assert_eq!((outcome.state, outcome.images_billed), (Some(TaskState::Cancelled), 0));
}

fn signal(worker: &tokio::process::Child, name: &str) {
    let pid = worker.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
}
