//! Concurrency tiers: never more in flight than there are slots, on the provider's own meter.

use chaos::Disruptions;
use tests::{Stack, a_task};
use workflows::types::TaskState;

#[tokio::test]
async fn fifty_tasks_at_once_never_exceed_12_calls_and_20_transfers() {
    let stack = Stack::with()
        .provider(|provider| {
            provider.batch_ms = 100;
            provider.download_ms = 25;
            provider.max_in_flight = Some(12);
        })
        .start()
        .await;
    let given: Vec<_> = (0..50).map(|user| a_task().plan("start").user(&format!("user-{user}"))).collect();

    stack.provider.hold();
    stack.provider.hold_downloads();
    let tasks = futures::future::join_all(given.iter().map(|task| stack.begin(task))).await;
    // However slow the machine: all that may be in flight is, at once.
    stack.provider.meter().wait_until(|meter| meter.in_flight == 12).await.unwrap();
    stack.provider.release();
    stack.provider.meter().wait_until(|meter| meter.downloads_in_flight == 20).await.unwrap();
    stack.provider.release_downloads();
    let results = futures::future::join_all(tasks.iter().map(|task| stack.result(task))).await;

    stack.assert_invariants(&given.iter().collect::<Vec<_>>(), &Disruptions::default()).await;
    for (result, task) in results.into_iter().zip(&given) {
        assert_eq!(result.unwrap().state, TaskState::Completed);
        let outcome = stack.outcome_of(task).await;
        assert_eq!((outcome.rows, outcome.objects), (30, 30));
    }
    let meter = stack.provider.meter().snapshot();
    assert_eq!((meter.max_in_flight, meter.throttled), (12, 0), "{meter}");
    assert_eq!(meter.max_downloads_in_flight, 20, "{meter}");
    assert_eq!(meter.images_billed, 50 * 31);
}

#[tokio::test]
async fn free_and_start_go_before_pro_once_a_slot_is_free() {
    let stack = Stack::with().configure(|config| config.generate.slots = 1).start().await;
    stack.provider.hold();
    // It takes the only slot; the others wait in the queue.
    let first = stack.begin(&a_task().plan("free").prompt("first")).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();
    let mut tasks = vec![first];
    for (plan, prompt) in [("pro", "a pro task"), ("start", "a start task"), ("free", "a free task")] {
        let task = stack.begin(&a_task().plan(plan).user(plan).prompt(prompt)).await;
        stack.wait_until(&task, |progress| progress.stage == workflows::types::Stage::Beautify).await;
        tasks.push(task);
    }

    stack.answer_one_by_one(1, &tasks, |meter| meter.billed_calls == 2 + 15 + 7 + 2).await;
    stack.provider.release();
    for task in &tasks {
        stack.result(task).await.unwrap();
    }

    let calls = stack.provider.meter().snapshot().calls;
    let tasks_of_calls = calls.iter().map(|call| call.idempotency_key.as_deref().unwrap());
    let order: Vec<&str> = tasks_of_calls.map(|key| key.split_once('/').unwrap().0).collect();
    let first = |task: &client::Task| order.iter().position(|other| *other == task.task_id()).unwrap();
    let last = |task: &client::Task| order.iter().rposition(|other| *other == task.task_id()).unwrap();
    let [_, pro, start, free] = &tasks[..] else { panic!("four tasks") };
    assert!(first(free) < first(start) && first(start) < first(pro), "{order:?}");
    assert!(last(free) < last(start) && last(start) < last(pro), "{order:?}");
}

#[tokio::test]
async fn a_rate_per_provider_key_is_obeyed() {
    let stack = Stack::with().configure(|config| config.generate.calls_per_second = 5.0).start().await;
    let task = a_task().plan("pro");

    stack.run(&task).await;

    let calls = stack.provider.meter().snapshot().calls;
    let (first, last) = (calls[0].started_ms, calls[calls.len() - 1].started_ms);
    // Temporal's rate allows bursts of about a second's worth.
    assert!(last - first >= 1_400, "15 calls at 5 a second took {} ms", last - first);
}
