//! Cancel, in each stage: no new paid call, and what is made is kept.

use client::Task;
use tests::{GivenTask, Outcome, Stack, a_task};
use workflows::types::{GenerateImagesOutput, MissingReason, Stage, TaskState};

async fn cancelled(stack: &Stack, task: &Task) -> GenerateImagesOutput {
    let output = stack.result(task).await.unwrap();
    assert_eq!(output.state, TaskState::Cancelled);
    output
}

async fn outcome(stack: &Stack, task: &GivenTask) -> (Option<TaskState>, usize, usize, u64) {
    let Outcome { state, rows, objects, images_billed, .. } = stack.outcome(task).await;
    (state, rows, objects, images_billed)
}

#[tokio::test]
async fn in_prepare_nothing_is_paid_and_its_row_says_so() {
    let stack = Stack::start().await;
    let given = a_task().photo(&stack.provider.serve_status("photo", 503));
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| !meter.photo_hits.is_empty()).await.unwrap();

    task.cancel("test").await.unwrap();

    cancelled(&stack, &task).await;
    assert_eq!(outcome(&stack, &given).await, (Some(TaskState::Cancelled), 0, 0, 0));
}

#[tokio::test]
async fn in_beautify_the_call_that_runs_is_the_last() {
    let stack = Stack::start().await;
    stack.provider.hold();
    let given = a_task();
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();

    task.cancel("test").await.unwrap();
    stack.provider.release();

    cancelled(&stack, &task).await;
    assert_eq!(outcome(&stack, &given).await, (Some(TaskState::Cancelled), 0, 0, 1));
}

#[tokio::test]
async fn in_generate_calls_that_run_are_paid_for_and_kept() {
    let stack = Stack::with().configure(|config| config.generate.slots = 2).start().await;
    let given = a_task().plan("start");
    stack.provider.hold();
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();
    stack.provider.release_one();
    stack.provider.meter().wait_until(|meter| meter.in_flight == 2).await.unwrap();

    task.cancel("test").await.unwrap();
    stack.wait_until_cancel_is_heard(&task).await;
    stack.provider.release();

    let output = cancelled(&stack, &task).await;
    assert_eq!(outcome(&stack, &given).await, (Some(TaskState::Cancelled), 10, 10, 11));
    assert!(output.missing.iter().all(|image| image.reason == MissingReason::Cancelled));
    assert_eq!(output.images.len() + output.missing.len(), 30);
}

#[tokio::test]
async fn in_transfer_what_is_generated_is_stored() {
    let stack = Stack::start().await;
    stack.provider.hold_downloads();
    let given = a_task();
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.downloads_in_flight == 2).await.unwrap();

    task.cancel("test").await.unwrap();
    stack.wait_until_cancel_is_heard(&task).await;
    stack.provider.release_downloads();

    let output = stack.result(&task).await.unwrap();
    assert_eq!(output.state, TaskState::Completed, "nothing was left to cancel");
    assert_eq!(outcome(&stack, &given).await, (Some(TaskState::Completed), 2, 2, 3));
}

#[tokio::test]
async fn while_waiting_for_a_worker_it_ends_when_there_is_one() {
    let mut stack = Stack::with().without_worker().start().await;
    let given = a_task();
    let task = stack.begin(&given).await;

    task.cancel("test").await.unwrap();
    stack.start_worker();

    cancelled(&stack, &task).await;
    assert_eq!(outcome(&stack, &given).await, (Some(TaskState::Cancelled), 0, 0, 0));
}

#[tokio::test]
async fn after_the_end_it_changes_nothing() {
    let stack = Stack::start().await;
    let given = a_task();
    let task = stack.begin(&given).await;
    stack.wait_until(&task, |progress| progress.stage == Stage::Done).await;
    stack.result(&task).await.unwrap();

    // Temporal takes the request, and has nothing to tell it to.
    task.cancel("test").await.unwrap();

    assert_eq!(outcome(&stack, &given).await, (Some(TaskState::Completed), 2, 2, 3));
}

#[tokio::test]
async fn a_call_that_fails_after_the_cancel_makes_it_no_failure() {
    let stack = Stack::start().await;
    stack.provider.faults().add(sandbox::Rule::new(sandbox::ProviderFault::MalformedJson));
    stack.provider.hold();
    let given = a_task();
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();

    task.cancel("test").await.unwrap();
    stack.wait_until_cancel_is_heard(&task).await;
    stack.provider.release();

    cancelled(&stack, &task).await;
}

#[tokio::test]
async fn in_insert_it_comes_too_late() {
    use sea_orm::ConnectionTrait;
    let stack = Stack::start().await;
    stack.database.execute_unprepared("ALTER TABLE images RENAME COLUMN sha256 TO renamed").await.unwrap();
    let given = a_task();
    let task = stack.begin(&given).await;
    stack.wait_until_retried(&task, "insert").await;

    task.cancel("test").await.unwrap();
    stack.wait_until_cancel_is_heard(&task).await;
    stack.database.execute_unprepared("ALTER TABLE images RENAME COLUMN renamed TO sha256").await.unwrap();

    assert_eq!(stack.result(&task).await.unwrap().state, TaskState::Completed);
    assert_eq!(outcome(&stack, &given).await, (Some(TaskState::Completed), 2, 2, 3));
}

#[tokio::test]
async fn what_a_prepare_planned_of_which_the_workflow_never_heard_is_not_missing() {
    let stack = Stack::with().without_worker().start().await;
    let given = a_task();
    database::tasks::begin(&stack.database, &given.0, 30, None).await.unwrap();
    let ended = GenerateImagesOutput {
        task_id: given.0.task_id.clone(),
        state: TaskState::Cancelled,
        images_planned: 0,
        images: Vec::new(),
        missing: Vec::new(),
    };

    assert!(database::tasks::finish(&stack.database, &ended, None).await.unwrap());

    let recorded = database::tasks::find(&stack.database, &given.0.task_id).await.unwrap().unwrap();
    assert_eq!(recorded.output, ended);
}
