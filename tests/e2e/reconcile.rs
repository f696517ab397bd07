//! Each fault that `reconcile` finds is planted. A dry run shows it and changes nothing; a run
//! repairs what is safe and reports the rest.

use std::time::Duration;

use activities::reconcile::Reconciler;
use client::Task;
use database::reconcile as rows;
use sea_orm::{ConnectionTrait, Statement};
use temporalio_client::schedules::ScheduleOverlapPolicy;
use temporalio_client::{WorkflowStartOptions, WorkflowTerminateOptions};
use tests::{ActivityFault, GivenTask, Outcome, Stack, a_task};
use workflows::keys::CallName;
use workflows::reconcile::{Finding, LookedAt, ReconcileInput, ReconcileOutput, Repair, SCHEDULE_ID};
use workflows::types::{GenerateImagesOutput, TaskState};
use workflows::{GenerateImages, Reconcile, keys};

fn reconciler(stack: &Stack) -> Reconciler {
    Reconciler::new(stack.database.clone(), stack.storage.clone(), stack.client.clone())
}

async fn reconcile(stack: &Stack, input: ReconcileInput) -> ReconcileOutput {
    Box::pin(reconciler(stack).run(&input)).await.unwrap()
}

/// Nothing is too young.
fn at_any_age() -> ReconcileInput {
    ReconcileInput { min_age_s: 0, ..ReconcileInput::default() }
}

fn dry_run(input: ReconcileInput) -> ReconcileInput {
    ReconcileInput { dry_run: true, ..input }
}

/// The findings of a report with their examples.
fn found(output: &ReconcileOutput) -> Vec<(Finding, Vec<&str>)> {
    let found = output.found.iter().map(|found| {
        assert_eq!((found.repair, found.count), (found.finding.repair(), found.examples.len() as u64));
        (found.finding, found.examples.iter().map(String::as_str).collect())
    });
    found.collect()
}

async fn lines(stack: &Stack, sql: &str) -> Vec<String> {
    let statement = Statement::from_string(stack.database.get_database_backend(), sql);
    let rows = stack.database.query_all_raw(statement).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

async fn execute(stack: &Stack, sql: &str) {
    assert_ne!(stack.database.execute_unprepared(sql).await.unwrap().rows_affected(), 0, "{sql}");
}

/// Every row and every object there is.
async fn everything(stack: &Stack) -> (Vec<String>, Vec<(String, u64)>) {
    let sql = "SELECT 'task ' || row_to_json(tasks) FROM tasks UNION ALL SELECT 'image ' || row_to_json(images) FROM images
               UNION ALL SELECT 'call ' || row_to_json(calls) FROM calls ORDER BY 1";
    (lines(stack, sql).await, stack.storage.list("").await.unwrap())
}

async fn put(stack: &Stack, key: &str, bytes: &'static [u8]) {
    stack.storage.put(key, "image/png", bytes.into()).await.unwrap();
}

async fn terminate(stack: &Stack, task: &Task) {
    let id = keys::workflow_id(task.task_id());
    let handle = stack.temporal.get_workflow_handle::<GenerateImages>(id);
    handle.terminate(WorkflowTerminateOptions::default()).await.unwrap();
}

/// A task that was terminated in its first paid call. The call's end is on record, and the task's
/// row says `running`.
async fn a_terminated_task(stack: &Stack) -> GivenTask {
    let given = a_task().id("terminated");
    stack.provider.hold();
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();
    terminate(stack, &task).await;
    stack.provider.release();
    let open = "SELECT name FROM calls WHERE task_id = 'terminated' AND state = 'open'";
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    while !lines(stack, open).await.is_empty() {
        ticks.tick().await;
    }
    given
}

async fn completed(stack: &Stack, id: &str) -> GenerateImagesOutput {
    let output = stack.run(&a_task().id(id)).await;
    assert_eq!(output.state, TaskState::Completed);
    output
}

const TO_RUNNING: &str =
    "state = 'running', missing = '[]', finished_at = NULL, failure_kind = NULL, failure_message = NULL";

/// One fault of each kind. The tasks that are to be whole again.
async fn plant(stack: &Stack) -> [GenerateImagesOutput; 2] {
    a_terminated_task(stack).await;
    let unrecorded = completed(stack, "unrecorded").await;
    execute(stack, "DELETE FROM images WHERE task_id = 'unrecorded'").await;
    execute(stack, &format!("UPDATE tasks SET {TO_RUNNING} WHERE task_id = 'unrecorded'")).await;
    let lost = completed(stack, "lost").await;
    execute(stack, "DELETE FROM tasks WHERE task_id = 'lost'").await;
    completed(stack, "call").await;
    // A call of a worker that has died, and whose lease is removed.
    let open = "state = 'open', lease_id = 0, ended_at = NULL, images_billed = NULL, cost_usd = NULL";
    execute(stack, &format!("UPDATE calls SET {open} WHERE task_id = 'call' AND name = '1'")).await;
    execute(stack, "UPDATE calls SET result = '{}' WHERE task_id = 'call' AND name = 'beautify'").await;
    let damaged = completed(stack, "damaged").await;
    stack.storage.delete(&damaged.images[0].object.object_key).await.unwrap();
    put(stack, &damaged.images[1].object.object_key, b"short").await;
    for key in STRAY {
        put(stack, key, b"stray").await;
    }
    for key in UNKNOWN {
        put(stack, key, b"somebody's").await;
    }
    [unrecorded, lost]
}

/// Of a task that has ended, and of one that nobody knows.
const STRAY: [&str; 3] = ["tasks/call/images/001.2", "tasks/nobody/photo", "staging/call/1/0"];

/// An image that may be all that is left of a task, and an object of somebody else's.
const UNKNOWN: [&str; 2] = ["tasks/nobody/images/000", "tasks/notes.txt"];

/// Findings that stay for a person to look at.
fn reported(damaged_size: u64) -> Vec<(Finding, Vec<String>)> {
    vec![
        (Finding::MissingObject, vec!["tasks/damaged/images/000".into()]),
        (
            Finding::DifferentObject,
            vec![format!("tasks/damaged/images/001: 5 bytes, its row says {damaged_size}")],
        ),
        (
            Finding::UnknownObject,
            vec![
                format!("{}: neither a row nor a workflow tells of its task", UNKNOWN[0]),
                format!("{}: no task writes such a key", UNKNOWN[1]),
            ],
        ),
    ]
}

fn owned(found: Vec<(Finding, Vec<&str>)>) -> Vec<(Finding, Vec<String>)> {
    found
        .into_iter()
        .map(|(finding, examples)| (finding, examples.into_iter().map(str::to_owned).collect()))
        .collect()
}

#[tokio::test]
async fn each_fault_is_shown_then_repaired_or_reported_and_the_second_run_repairs_nothing() {
    let stack = Stack::start().await;
    let whole = plant(&stack).await;
    let before = everything(&stack).await;
    let staged = stack.storage.list("staging/terminated/").await.unwrap().remove(0).0;
    let damaged = database::tasks::find(&stack.database, "damaged").await.unwrap().unwrap();
    let reported = reported(damaged.output.images[1].object.size_bytes);

    let young = reconcile(&stack, dry_run(ReconcileInput::default())).await;
    let shown = reconcile(&stack, dry_run(at_any_age())).await;
    for page in [1, 2, 3] {
        let paged =
            Box::pin(reconciler(&stack).with_pages_of(page).run(&dry_run(at_any_age()))).await.unwrap();
        assert_eq!(paged, shown, "pages of {page}");
    }
    assert_eq!(everything(&stack).await, before, "a dry run changes nothing");
    let repaired = reconcile(&stack, at_any_age()).await;
    let again = reconcile(&stack, at_any_age()).await;

    let terminated = "terminated: its workflow was ended from outside: terminated";
    let mut expected = vec![
        (Finding::UnrecordedTask, vec!["unrecorded: its workflow ended completed".to_owned()]),
        (Finding::LostTask, vec!["lost: its workflow ended completed".into()]),
        (Finding::AbandonedTask, vec![terminated.into()]),
        (Finding::AbandonedCall, vec!["call/1".into()]),
        (Finding::LeftoverResult, vec!["call/beautify".into()]),
    ];
    expected.extend(reported[..2].to_vec());
    expected.push((Finding::StrayObject, STRAY.map(String::from).to_vec()));
    expected.push(reported[2].clone());
    assert_eq!(owned(found(&shown)), expected);
    let looked_at = LookedAt { running_tasks: 2, calls: 9, images: 4, objects: before.1.len() as u64 - 1 };
    assert_eq!((shown.dry_run, shown.looked_at), (true, looked_at));
    // The row of the terminated task is closed now, so that its staged bytes are of no use any
    // more.
    let mut with_staged = expected.clone();
    with_staged[7].1.push(staged);
    assert_eq!(
        (repaired.dry_run, owned(found(&repaired))),
        (false, with_staged),
        "what was shown is repaired"
    );
    assert_eq!(owned(found(&again)), reported, "nothing is left to repair");
    expected.retain(|(finding, _)| *finding != Finding::StrayObject);
    expected[2].0 = Finding::EndedTask;
    expected.last_mut().unwrap().1.remove(0);
    assert_eq!(owned(found(&young)), expected, "what is young is left alone");
    repairs_are_made(&stack, &whole).await;
}

/// The rows and objects after the run.
async fn repairs_are_made(stack: &Stack, whole: &[GenerateImagesOutput]) {
    for output in whole {
        let task = database::tasks::find(&stack.database, &output.task_id).await.unwrap().unwrap();
        assert_eq!((&task.output, task.failure), (output, None));
    }
    let task = database::tasks::find(&stack.database, "terminated").await.unwrap().unwrap();
    let failure = task.failure.map(|failure| (failure.kind.as_str(), failure.message));
    let why = "its workflow was ended from outside: terminated".to_owned();
    assert_eq!((task.output.state, failure), (TaskState::Failed, Some(("Internal", why))));
    assert_eq!((task.output.images.len(), task.output.missing.len()), (0, 2));
    let calls = "SELECT concat_ws(' ', task_id, name, state, written_off_at IS NOT NULL) FROM calls WHERE state = 'ambiguous' OR result IS NOT NULL";
    assert_eq!(lines(stack, calls).await, ["call 1 ambiguous t"]);
    let keys: Vec<String> = stack.storage.list("").await.unwrap().into_iter().map(|(key, _)| key).collect();
    assert!(STRAY.iter().all(|stray| !keys.iter().any(|key| key == stray)), "{keys:?}");
    assert!(keys.contains(&"tasks/notes.txt".to_owned()));
}

#[tokio::test]
async fn a_hash_is_compared_only_by_a_deep_run() {
    let stack = Stack::start().await;
    let output = completed(&stack, "done").await;
    let object = &output.images[1].object;
    let other = vec![0; object.size_bytes as usize];
    stack.storage.put(&object.object_key, "image/png", other.into()).await.unwrap();

    let deep = reconcile(&stack, ReconcileInput { deep: true, ..ReconcileInput::default() }).await;

    assert_eq!(found(&reconcile(&stack, ReconcileInput::default()).await), []);
    let [(Finding::DifferentObject, examples)] = &found(&deep)[..] else { panic!("{deep:?}") };
    assert!(examples[0].ends_with(&format!("its row says {}", object.sha256)), "{examples:?}");
}

#[tokio::test]
async fn tasks_that_run_are_left_alone() {
    // Bytes are staged while such a task runs.
    let stack = Stack::with().openai().configure(|config| config.generate.slots = 2).start().await;
    stack.provider.hold();
    let given = a_task().plan("start");
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();
    stack.provider.release_one();
    stack.provider.meter().wait_until(|meter| meter.in_flight == 2).await.unwrap();
    stack.provider.release_one();
    stack.wait_until(&task, |progress| progress.images_stored == 5).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 2).await.unwrap();
    let waiting = a_task().photo(&stack.provider.serve_status("photo", 503));
    let waits = stack.begin(&waiting).await;
    stack.wait_until_retried(&waits, "prepare").await;
    // Of a task that has no row yet.
    put(&stack, &keys::photo(&waiting.0.task_id), b"photo").await;
    let before = everything(&stack).await;

    let output = reconcile(&stack, at_any_age()).await;

    assert_eq!(found(&output), []);
    assert_eq!(output.looked_at.running_tasks, 1);
    assert!(output.looked_at.objects > 12, "images and staged bytes: {:?}", before.1);
    assert_eq!(everything(&stack).await, before);
    waits.cancel("test").await.unwrap();
    stack.provider.release();
    stack.result(&waits).await.unwrap();
    stack.result(&task).await.unwrap();
    stack.assert_invariants(&[&given, &waiting], &chaos::Disruptions::default()).await;
}

#[tokio::test]
async fn nothing_is_removed_from_a_bucket_that_is_not_the_database_s() {
    let stack = Stack::with().without_worker().start().await;
    put(&stack, "tasks/another/images/000", b"of another database").await;

    let output = reconcile(&stack, at_any_age()).await;

    let example = "tasks/another/images/000: the bucket has none of the objects of image rows";
    assert_eq!(found(&output), [(Finding::UnknownObject, vec![example])]);
    assert_eq!(stack.storage.list("tasks/").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_terminated_task_that_is_started_again_goes_on() {
    let stack = Stack::start().await;
    let given = a_terminated_task(&stack).await;
    reconcile(&stack, ReconcileInput::default()).await;

    let output = stack.run(&given).await;

    assert_eq!(output.state, TaskState::Completed);
    let completed =
        Outcome { state: Some(TaskState::Completed), rows: 2, objects: 2, missing: vec![], images_billed: 3 };
    assert_eq!(stack.outcome(&given).await, completed, "the retouched photo was not paid again");
    assert_eq!(found(&reconcile(&stack, at_any_age()).await), []);
}

#[tokio::test]
async fn a_task_that_has_ended_keeps_no_result_and_its_calls_are_stopped() {
    let stack = Stack::start().await;
    completed(&stack, "done").await;

    assert_eq!(lines(&stack, "SELECT name FROM calls WHERE result IS NOT NULL").await, Vec::<String>::new());
    assert_eq!(lines(&stack, "SELECT name FROM calls WHERE state = 'done'").await.len(), 2);
    let intent = paid_calls::ledger::Intent {
        provider_key: "default",
        worker: "late",
        token: "late/1",
        idempotency_key: None,
        call: paid_calls::Call {
            task_id: "done",
            user_id: "ann",
            plan: "free",
            name: CallName::batch(1, 1),
            images: 2,
            fingerprint: "f",
            honours_idempotency: false,
            timeout: Duration::from_secs(1),
            max_billed_failures: 5,
        },
    };
    let admission = paid_calls::ledger::begin(&stack.database, 0, 0, &intent).await.unwrap();
    assert_eq!(
        admission,
        paid_calls::ledger::Admission::TaskEnded("task `done` has ended: completed".into())
    );
}

#[tokio::test]
async fn the_schedule_runs_it_and_is_ended() {
    let stack = Stack::start().await;
    completed(&stack, "done").await;
    put(&stack, "tasks/nobody/photo", b"stray").await;
    let day = Duration::from_secs(86_400);
    stack.client.schedule_reconcile(day, &ReconcileInput::default()).await.unwrap();
    stack.client.schedule_reconcile(day, &at_any_age()).await.unwrap();

    let schedule = stack.temporal.get_schedule_handle(SCHEDULE_ID);
    schedule.trigger(ScheduleOverlapPolicy::Skip, Default::default()).await.unwrap();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let workflow_id = loop {
        ticks.tick().await;
        let description = schedule.describe(Default::default()).await.unwrap();
        if let Some(run) = description.recent_actions().pop() {
            break run.workflow_id;
        }
    };
    let output = stack
        .temporal
        .get_workflow_handle::<Reconcile>(workflow_id)
        .get_result(Default::default())
        .await
        .unwrap();

    assert_eq!(found(&output), [(Finding::StrayObject, vec!["tasks/nobody/photo"])]);
    assert_eq!(output.found[0].repair, Some(Repair::ObjectRemoved));
    assert_eq!(stack.storage.list("tasks/nobody/").await.unwrap(), []);
    assert!(stack.client.unschedule_reconcile().await.unwrap());
    assert!(!stack.client.unschedule_reconcile().await.unwrap(), "the schedule is gone");
}

#[tokio::test]
async fn the_activity_done_twice_repairs_once_and_bad_input_fails_the_workflow() {
    let stack = Stack::with().temporal_proxy().start().await;
    completed(&stack, "done").await;
    put(&stack, "tasks/nobody/photo", b"stray").await;
    // `TemporalProxy` knows activities by their task's workflow id.
    stack.temporal_proxy().plan("x", "reconcile", ActivityFault::DoneTwice);
    let options = || WorkflowStartOptions::new(workflows::task_queue::TASKS, keys::workflow_id("x")).build();

    let run = stack.temporal.start_workflow(Reconcile::run, at_any_age().into(), options()).await.unwrap();
    let output = run.get_result(Default::default()).await.unwrap();
    let bad = workflows::Checked::Undecodable("min-age".into());
    let bad = stack.temporal.start_workflow(Reconcile::run, bad, options()).await.unwrap();
    let refused = bad.get_result(Default::default()).await.unwrap_err().to_string();

    assert_eq!(stack.temporal_proxy().planned(), []);
    assert_eq!(found(&output), []);
    assert_eq!(stack.storage.list("tasks/nobody/").await.unwrap(), []);
    assert!(refused.contains("is not a reconcile input"), "{refused}");
}

#[tokio::test]
async fn an_open_call_is_given_up_only_when_nobody_will_end_it() {
    let stack = Stack::start().await;
    completed(&stack, "done").await;
    let (ended, running) = ("state = 'completed', finished_at = now()", TO_RUNNING);
    let (living, gone) = ("(SELECT max(lease_id) FROM leases)", "0");
    for (task, lease, runs_until, given_up) in [
        (ended, living, "- interval '1 hour'", false),
        (ended, gone, "+ interval '1 hour'", false),
        (ended, gone, "- interval '1 second'", true),
        (running, living, "- interval '3 hours'", false),
        (running, gone, "- interval '1 hour'", false),
        (running, gone, "- interval '3 hours'", true),
    ] {
        execute(&stack, &format!("UPDATE tasks SET {task}")).await;
        let call =
            format!("state = 'open', ended_at = NULL, lease_id = {lease}, runs_until = now() {runs_until}");
        execute(&stack, &format!("UPDATE calls SET {call} WHERE name = '1'")).await;
        let two_hours = Duration::from_secs(7_200);
        let found = paid_calls::reconcile::abandoned_calls(&stack.database, 0, two_hours, 10).await.unwrap();
        assert_eq!(found.len(), usize::from(given_up), "{task}, {call}");
        let call = paid_calls::reconcile::CallRow { call_id: 2, task_id: "done".into(), name: "1".into() };
        let closed = paid_calls::reconcile::close_calls(&stack.database, &[call], two_hours).await.unwrap();
        assert_eq!(closed, found, "checked again when it is closed");
    }
}

#[tokio::test]
async fn a_row_of_a_task_that_was_started_again_is_not_closed() {
    let stack = Stack::start().await;
    let given = a_terminated_task(&stack).await;
    let row = rows::running(&stack.database, "", 10).await.unwrap().remove(0);
    let nothing = GenerateImagesOutput {
        task_id: row.task_id.clone(),
        state: TaskState::Cancelled,
        images_planned: 2,
        images: vec![],
        missing: vec![],
    };
    assert!(rows::is_unchanged(&stack.database, &row).await.unwrap());
    // As `prepare` does.
    database::tasks::begin(&stack.database, &given.0, 2, None).await.unwrap();

    assert!(!rows::is_unchanged(&stack.database, &row).await.unwrap());
    assert!(!rows::close(&stack.database, &row, &nothing, None).await.unwrap());
    let row = rows::running(&stack.database, "", 10).await.unwrap().remove(0);
    assert!(rows::close(&stack.database, &row, &nothing, None).await.unwrap());
    assert_eq!(rows::running(&stack.database, "", 10).await.unwrap(), []);
}
