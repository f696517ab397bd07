//! Paid calls are counted, and their results are given only to the request that they were made for.

use std::collections::BTreeMap;

use client::{Error, Task};
use futures::StreamExt;
use paid_calls::report::{By, Filter};
use sandbox::{ProviderFault, Rule};
use sea_orm::{ConnectionTrait, Statement};
use tests::{GivenTask, Outcome, Stack, a_task, side_by_side};
use workflows::failure::FailureKind;
use workflows::keys;
use workflows::types::{MissingReason, TaskState};

fn completed(images: usize, billed: u64) -> Outcome {
    Outcome {
        state: Some(TaskState::Completed),
        rows: images,
        objects: images,
        missing: vec![],
        images_billed: billed,
    }
}

#[tokio::test]
async fn a_call_that_may_have_been_billed_each_time_is_made_five_times_and_no_more() {
    let page =
        |status| ProviderFault::Says { status, body: "<html>Gateway Timeout</html>".into(), billed: true };
    let faults = [
        ProviderFault::CutBody,
        ProviderFault::ResetAfterBilling,
        ProviderFault::MalformedJson,
        page(504),
        page(524),
    ];
    let made = faults.map(|fault| {
        Box::pin(async move {
            let stack = Stack::start().await;
            stack.provider.faults().add(Rule::new(fault.clone()).prompt("in a garden"));
            let task = a_task();

            let ended = stack.result(&stack.begin(&task).await).await;

            let Err(Error::Failed { failure, .. }) = ended else { panic!("{fault:?}: {ended:?}") };
            assert_eq!(failure.kind, FailureKind::Ambiguous, "{fault:?}");
            assert!(failure.message.contains("made 5 times without a result"), "{}", failure.message);
            let expected = Outcome {
                state: Some(TaskState::Failed),
                rows: 0,
                objects: 0,
                missing: vec![(MissingReason::Ambiguous, 2)],
                images_billed: 1 + 5 * 2,
            };
            assert_eq!(stack.outcome(&task).await, expected, "{fault:?}");
        })
    });
    futures::stream::iter(made).buffer_unordered(side_by_side(5)).collect::<()>().await;
}

#[tokio::test]
async fn a_provider_that_gives_one_image_a_call_fills_every_batch() {
    let stack = Stack::start().await;
    stack.provider.faults().add(Rule::new(ProviderFault::ShortAnswer { images: 1 }));
    let task = a_task().plan("start");

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(30, 31));
    assert_eq!(stack.provider.meter().snapshot().calls.len(), 31);
}

/// A task of two prompts whose calls are all answered, and whose images are not stored.
async fn answered(stack: &Stack) -> (GivenTask, Task) {
    let given = a_task().plan("start").prompts(["a garden", "a beach"]);
    stack.provider.hold_downloads();
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.billed_calls == 7).await.unwrap();
    (given, task)
}

/// The same, terminated.
async fn terminated(stack: &Stack) -> GivenTask {
    let (given, task) = answered(stack).await;
    stack.terminate(&task).await;
    given
}

/// All its images are there, each of its own prompt, after `before` was downloaded for other requests.
async fn is_completed_anew(stack: &Stack, given: &GivenTask, before: BTreeMap<String, usize>) {
    assert_eq!(stack.outcome(given).await, completed(30, 61));
    let mut after = downloads(stack);
    for (prompt, count) in before {
        *after.get_mut(&prompt).unwrap() -= count;
    }
    assert_eq!(after, BTreeMap::from([("a beach".to_owned(), 15), ("a garden".to_owned(), 15)]));
}

/// Stops the worker, and waits until the provider has noticed that the downloads have hung up. Once
/// released, they would count otherwise.
/// Returns how many images of each prompt were downloaded.
async fn stopped(stack: &mut Stack) -> BTreeMap<String, usize> {
    stack.stop_worker();
    stack.provider.meter().wait_until(|meter| meter.downloads_in_flight == 0).await.unwrap();
    downloads(stack)
}

/// How many images of each prompt were downloaded.
fn downloads(stack: &Stack) -> BTreeMap<String, usize> {
    let meter = stack.provider.meter().snapshot();
    let prompts: BTreeMap<u64, String> =
        meter.calls.iter().map(|call| (call.seq, call.prompt.clone())).collect();
    let mut downloads = BTreeMap::new();
    for download in meter.download_log.iter().filter(|download| download.status == Some(200)) {
        *downloads.entry(prompts[&download.call].clone()).or_default() += 1;
    }
    downloads
}

#[tokio::test]
async fn a_terminated_task_started_again_uses_the_results_on_record() {
    let mut stack = Stack::start().await;
    let given = terminated(&stack).await;
    stack.stop_worker();
    stack.provider.release_downloads();
    stack.start_worker();

    stack.run_by_name(&keys::workflow_id(&given.0.task_id), &serde_json::json!(given.0)).await.unwrap();

    assert_eq!(stack.outcome_of(&given).await, completed(30, 31));
}

#[tokio::test]
async fn a_terminated_task_that_asks_otherwise_is_given_no_other_request_s_images() {
    let mut stack = Stack::start().await;
    let given = terminated(&stack).await;
    let before = stopped(&mut stack).await;
    stack.provider.release_downloads();
    stack.config.generate.batch_size = 3;
    stack.start_worker();

    stack.run_by_name(&keys::workflow_id(&given.0.task_id), &serde_json::json!(given.0)).await.unwrap();

    is_completed_anew(&stack, &given, before).await;
}

#[tokio::test]
async fn a_reset_task_that_asks_otherwise_is_given_no_other_request_s_images() {
    let mut stack = Stack::start().await;
    let (given, task) = answered(&stack).await;
    let before = stopped(&mut stack).await;
    stack.reset(&task).await;
    stack.provider.release_downloads();
    stack.config.generate.batch_size = 3;
    stack.start_worker();

    stack.result(&task).await.unwrap();

    is_completed_anew(&stack, &given, before).await;
}

#[tokio::test]
async fn what_a_replay_settles_is_settled_and_the_ledger_is_the_bill() {
    let honours = |provider: &mut sandbox::provider::Settings| {
        provider.idempotency_header = Some("Idempotency-Key".to_owned());
    };
    let stack = Stack::with().provider(honours).start().await;
    let mut given = Vec::new();
    for fault in [ProviderFault::CutBody, ProviderFault::ResetAfterBilling, ProviderFault::MalformedJson] {
        stack.provider.faults().add_first(Rule::new(fault).prompt("in a garden").times(1));
        given.push(a_task());
        stack.run(given.last().unwrap()).await;
    }

    stack.assert_invariants(&given.iter().collect::<Vec<_>>(), &chaos::Disruptions::default()).await;
    assert_eq!(stack.provider.meter().snapshot().images_billed, 3 * 3);
    let sum = "SELECT concat_ws(' ', state, count(*), sum(images_billed)) AS sum FROM calls GROUP BY state ORDER BY 1";
    let rows = Statement::from_string(stack.database.get_database_backend(), sum);
    let rows = stack.database.query_all_raw(rows).await.unwrap();
    let sums: Vec<String> = rows.iter().map(|row| row.try_get("", "sum").unwrap()).collect();
    assert_eq!(sums, ["done 6 9", "settled 3 0"]);
    let ledger = paid_calls::report::ledger(&stack.database, &Filter::default(), By::Key).await.unwrap();
    assert_eq!(ledger[0].images_in_doubt, 0, "{ledger:?}");
}

#[tokio::test]
async fn an_answer_without_an_image_may_be_on_the_bill() {
    let stack = Stack::start().await;
    stack
        .provider
        .faults()
        .add(Rule::new(ProviderFault::ShortAnswer { images: 0 }).prompt("in a garden").times(1));

    stack.run(&a_task()).await;

    let ledger = paid_calls::report::ledger(&stack.database, &Filter::default(), By::Key).await.unwrap();
    assert_eq!((ledger[0].images_billed, ledger[0].images_in_doubt), (3, 2), "{ledger:?}");
}

#[tokio::test]
async fn a_task_whose_row_is_lost_keeps_its_images() {
    let stack = Stack::start().await;
    stack.provider.hold();
    let given = a_task();
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();
    stack.database.execute_unprepared("DELETE FROM tasks").await.unwrap();

    stack.provider.release();

    stack.result(&task).await.unwrap();
    assert_eq!(stack.outcome(&given).await, completed(2, 3));
}

#[tokio::test]
async fn a_task_that_had_ended_answers_with_its_row_after_a_reset() {
    let stack = Stack::start().await;
    let given = a_task();
    let task = stack.begin(&given).await;
    let first = stack.result(&task).await.unwrap();

    stack.reset(&task).await;

    assert_eq!(stack.result(&task).await.unwrap(), first);
    assert_eq!(stack.result(&stack.begin(&given).await).await.unwrap(), first);
    assert_eq!(stack.outcome(&given).await, completed(2, 3));
}

#[tokio::test]
async fn what_a_failover_forgets_is_recorded_again_and_given_to_nobody_else() {
    let mut stack = Stack::with().own_servers().without_worker().start().await;
    let servers = stack.servers.as_mut().unwrap();
    let folder = servers.folder.sub("standby").unwrap();
    let mut standby = servers.postgres.standby(&folder).await.unwrap();
    standby.process().kill().await.unwrap();
    stack.start_worker();
    stack.provider.hold();
    let (anns, bobs) = (a_task().user("ann"), a_task().user("bob"));
    let ann = stack.begin(&anns).await;
    let meter = stack.provider.meter();
    meter.wait_until(|meter| meter.in_flight == 1).await.unwrap();

    // The standby has seen nothing of Ann's task.
    let servers = stack.servers.as_mut().unwrap();
    servers.postgres.process().kill().await.unwrap();
    standby.promote(&servers.postgres, &folder).await.unwrap();
    let bob = stack.begin(&bobs).await;
    meter.wait_until(|meter| meter.in_flight == 2).await.unwrap();
    stack.provider.release_one();
    meter.wait_until(|meter| meter.billed_calls == 1).await.unwrap();
    stack.provider.release();

    stack.result(&ann).await.unwrap();
    stack.result(&bob).await.unwrap();
    stack.database = database::connect(&stack.config.database, 2).await.unwrap();
    stack.assert_invariants(&[&anns, &bobs], &chaos::Disruptions::default()).await;
    assert_eq!(stack.outcome_of(&anns).await, completed(2, 6));
    assert_eq!(stack.outcome_of(&bobs).await, completed(2, 6));
    let count = "SELECT count(*) AS count FROM calls WHERE state = 'done' AND written_off_at IS NULL";
    let count = Statement::from_string(stack.database.get_database_backend(), count);
    let row = stack.database.query_one_raw(count).await.unwrap().unwrap();
    assert_eq!(row.try_get::<i64>("", "count").unwrap(), 4, "each call is on record, and paid once");
}

#[tokio::test]
async fn a_refused_account_is_tried_by_one_call_every_half_minute() {
    let stack = Stack::start().await;
    let refusal = Rule::new(ProviderFault::InvalidKey);
    stack.provider.faults().add(refusal);
    let given: Vec<GivenTask> = (0..20).map(|user| a_task().user(&format!("user-{user}"))).collect();
    let tasks = futures::future::join_all(given.iter().map(|task| stack.begin(task))).await;
    stack.wait_for_row("SELECT refused IS NOT NULL FROM provider_keys").await;
    let meter = stack.provider.meter().wait_until(|meter| meter.in_flight == 0).await.unwrap();
    assert!(meter.calls.len() <= 12, "no more than were in flight: {meter}");

    stack.provider.faults().clear();

    for task in &tasks {
        stack.result(task).await.unwrap();
    }
    let meter = stack.provider.meter().snapshot();
    let refused = meter.calls.iter().filter(|call| call.status == Some(401)).count();
    assert!(refused <= 12, "{refused} calls were refused");
    assert_eq!(meter.images_billed, 20 * 3);
    stack.assert_invariants(&given.iter().collect::<Vec<_>>(), &chaos::Disruptions::default()).await;
}

#[tokio::test]
async fn an_account_that_dies_while_work_runs_rejects_nobodys_prompts() {
    let stack = Stack::start().await;
    stack.run(&a_task()).await;
    // No word of it says that it is the account.
    stack.provider.faults().add(Rule::new(ProviderFault::Html { status: 403 }));
    let given: Vec<GivenTask> = (0..20).map(|user| a_task().user(&format!("user-{user}"))).collect();
    let tasks = futures::future::join_all(given.iter().map(|task| stack.begin(task))).await;
    stack.wait_for_row("SELECT refused IS NOT NULL FROM provider_keys").await;

    stack.provider.faults().clear();

    for task in &tasks {
        stack.result(task).await.unwrap();
    }
    for task in &given {
        assert_eq!(stack.outcome_of(task).await, completed(2, 3 * 21));
    }
    let refused = stack.provider.meter().snapshot().calls;
    let refused = refused.iter().filter(|call| call.status == Some(403)).count();
    assert!(refused <= 20 * 3, "{refused} calls were refused");
}

#[tokio::test]
async fn a_request_that_a_firewall_refuses_is_rejected_while_others_of_the_key_succeed() {
    let stack = Stack::start().await;
    stack.provider.faults().add(Rule::new(ProviderFault::Html { status: 403 }).prompt("firewall"));
    let task = a_task().prompts(["a garden", "firewall"]);
    let begun = stack.begin(&task).await;
    let meter = stack.provider.meter();
    meter.wait_until(|meter| meter.calls.iter().any(|call| call.status == Some(403))).await.unwrap();
    let billed_before = stack.run(&a_task()).await.images.len() as u64 + 1;

    stack.result(&begun).await.unwrap();

    let expected = Outcome {
        state: Some(TaskState::Partial),
        rows: 1,
        objects: 1,
        missing: vec![(MissingReason::Rejected, 1)],
        images_billed: 2 + billed_before,
    };
    assert_eq!(stack.outcome_of(&task).await, expected);
    let calls = stack.provider.meter().snapshot().calls;
    assert_eq!(calls.iter().filter(|call| call.prompt == "firewall").count(), 3);
}

#[tokio::test]
async fn an_end_that_the_database_cannot_hold_is_recorded_without_it_and_frees_its_slot() {
    let stack = Stack::with().configure(|config| config.generate.slots = 1).start().await;
    let cannot_hold = "ALTER TABLE calls ADD CHECK (name <> '1' OR result IS NULL)";
    stack.database.execute_unprepared(cannot_hold).await.unwrap();
    let task = a_task();

    let ended = stack.result(&stack.begin(&task).await).await;

    let Err(Error::Failed { failure, .. }) = ended else { panic!("{ended:?}") };
    assert_eq!(failure.kind, FailureKind::Ambiguous);
    assert!(failure.message.contains("could not hold"), "{}", failure.message);
    assert_eq!(stack.outcome(&task).await.images_billed, 1 + 5 * 2);
}
