//! Each declared activity is done twice, fails with each kind, and has its result lost after it worked.

use chaos::Disruptions;
use client::Task;
use futures::StreamExt;
use sandbox::{ProviderFault, Rule};
use tests::{ActivityFault, GivenTask, Stack, a_task, side_by_side};
use workflows::activities::NAMES;
use workflows::failure::FailureKind;
use workflows::types::TaskState;

/// A stack whose provider ignores idempotency keys.
async fn stack() -> Stack {
    Stack::with().temporal_proxy().start().await
}

/// Runs a task for each of these mishaps, as many at once as the machine carries, each task started twice at once. The invariants hold, but for what `deeds`
/// excuses; the state of each task's row.
async fn after(
    stack: &Stack,
    mishaps: impl IntoIterator<Item = (&'static str, ActivityFault)>,
    deeds: &Disruptions,
) -> Vec<((&'static str, ActivityFault), Option<TaskState>)> {
    let planned: Vec<(GivenTask, (&str, ActivityFault))> =
        mishaps.into_iter().map(|mishap| (a_task(), mishap)).collect();
    for (given, (activity, mishap)) in &planned {
        stack.temporal_proxy().plan(&given.0.task_id, activity, *mishap);
    }
    let runs = planned.iter().map(|(given, _)| async {
        let (one, two): (Task, Task) = tokio::join!(stack.begin(given), stack.begin(given));
        assert!(one.existed() != two.existed(), "started twice, it is one workflow");
        let _ = stack.result(&one).await;
    });
    futures::stream::iter(runs).buffer_unordered(side_by_side(planned.len())).collect::<Vec<()>>().await;
    assert_eq!(stack.temporal_proxy().planned(), [], "what was planned has happened");
    let given: Vec<&GivenTask> = planned.iter().map(|(given, _)| given).collect();
    stack.assert_invariants(&given, deeds).await;
    let states = planned.iter().map(|(given, mishap)| async {
        let recorded = database::tasks::find(&stack.database, &given.0.task_id).await.unwrap();
        (*mishap, recorded.map(|task| task.output.state))
    });
    futures::future::join_all(states).await
}

/// All ended well.
fn assert_completed(ended: &[((&'static str, ActivityFault), Option<TaskState>)]) {
    let others: Vec<_> = ended.iter().filter(|(_, state)| *state != Some(TaskState::Completed)).collect();
    assert!(others.is_empty(), "{others:?}");
}

/// Images that tasks of the free plan need: two each, and the retouched photo.
fn needed(tasks: usize) -> u64 {
    3 * tasks as u64
}

#[tokio::test]
async fn each_is_done_twice_in_a_row() {
    let stack = stack().await;
    let ended =
        after(&stack, NAMES.map(|name| (name, ActivityFault::DoneTwice)), &Disruptions::default()).await;
    assert_completed(&ended);
    assert_eq!(stack.provider.bill().images, needed(NAMES.len()));
}

#[tokio::test]
async fn each_has_its_result_lost_after_it_worked() {
    let stack = stack().await;
    let ended =
        after(&stack, NAMES.map(|name| (name, ActivityFault::ResultLost)), &Disruptions::default()).await;
    assert_completed(&ended);
    assert_eq!(stack.provider.bill().images, needed(NAMES.len()));
}

#[tokio::test]
async fn each_fails_once_with_each_kind_and_is_tried_again() {
    let stack = stack().await;
    let fails = |kind| NAMES.map(|name| (name, ActivityFault::Fails { kind, retryable: true }));
    let ended = after(&stack, FailureKind::ALL.into_iter().flat_map(fails), &Disruptions::default()).await;
    assert_completed(&ended);
    assert_eq!(stack.provider.bill().images, needed(ended.len()));
}

#[tokio::test]
async fn each_fails_for_good_with_each_kind_and_the_task_keeps_what_it_has() {
    let stack = stack().await;
    // Nobody but `insert` records a task's end: it is the one that must not give up.
    let steps = NAMES.into_iter().filter(|name| *name != "insert");
    let fails = |kind| steps.clone().map(move |name| (name, ActivityFault::Fails { kind, retryable: false }));
    let ended = after(&stack, FailureKind::ALL.into_iter().flat_map(fails), &Disruptions::default()).await;
    assert!(ended.iter().all(|(_, state)| *state != Some(TaskState::Running)), "{ended:?}");
    assert!(stack.provider.bill().images <= needed(ended.len()));
}

#[tokio::test]
async fn what_a_provider_told_an_attempt_that_nobody_heard_of_is_obeyed_by_the_next() {
    for status in [429, 503] {
        let stack = stack().await;
        let later = ProviderFault::Status { status, retry_after_s: Some(8) };
        stack.provider.faults().add(Rule::new(later).from_nth(2).times(1));
        let ended = after(&stack, [("generate", ActivityFault::ResultLost)], &Disruptions::default()).await;
        assert_completed(&ended);
        assert_eq!(stack.provider.meter().snapshot().calls.len(), 3, "after {status}");
    }
}
