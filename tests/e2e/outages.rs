//! What a task talks to goes away in the middle, and comes back.

use sandbox::ObjectStore;
use tests::{Outcome, Stack, a_task};
use workflows::types::TaskState;

fn completed() -> Outcome {
    Outcome { state: Some(TaskState::Completed), rows: 2, objects: 2, missing: vec![], images_billed: 3 }
}

#[tokio::test]
async fn a_provider_that_refuses_connections_is_waited_for() {
    let mut stack = Stack::start().await;
    stack.provider.go_down().await;
    let given = a_task();
    let task = stack.begin(&given).await;
    stack.wait_until_retried(&task, "beautify").await;

    stack.provider.come_back().await.unwrap();

    stack.result(&task).await.unwrap();
    assert_eq!(stack.outcome(&given).await, completed());
}

#[tokio::test]
async fn a_store_that_is_down_is_waited_for_and_nothing_is_paid_again() {
    let mut stack = Stack::start().await;
    stack.provider.hold_downloads();
    let given = a_task();
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.downloads_in_flight == 2).await.unwrap();
    let ObjectStore::InProcess(s3) = &mut stack.store else { panic!("the strict store has no such switch") };
    s3.go_down().await;
    stack.provider.release_downloads();
    stack.wait_until_retried(&task, "transfer-1").await;

    let ObjectStore::InProcess(s3) = &mut stack.store else { panic!("the strict store has no such switch") };
    s3.come_back().await.unwrap();

    stack.result(&task).await.unwrap();
    assert_eq!(stack.outcome(&given).await, completed());
}

#[tokio::test]
async fn a_store_killed_in_the_middle_of_transfers_and_restarted_gets_its_objects() {
    let mut stack = Stack::with().strict_store().start().await;
    stack.provider.hold_downloads();
    let given = a_task();
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.downloads_in_flight == 2).await.unwrap();
    let ObjectStore::Versity(versity) = &mut stack.store else { panic!("the strict store is a process") };
    versity.process().kill().await.unwrap();
    stack.provider.release_downloads();
    stack.wait_until_retried(&task, "transfer-1").await;

    let ObjectStore::Versity(versity) = &mut stack.store else { panic!("the strict store is a process") };
    versity.restart().await.unwrap();

    stack.result(&task).await.unwrap();
    assert_eq!(stack.outcome(&given).await, completed());
}

#[tokio::test]
async fn a_database_killed_during_a_paid_call_hears_of_it_when_it_is_back() {
    let mut stack = Stack::with().own_servers().start().await;
    stack.provider.hold();
    let given = a_task();
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();
    stack.servers.as_mut().unwrap().postgres.process().kill().await.unwrap();
    stack.provider.release();
    stack.provider.meter().wait_until(|meter| meter.billed_calls == 1).await.unwrap();

    stack.servers.as_mut().unwrap().postgres.restart().await.unwrap();

    stack.result(&task).await.unwrap();
    stack.database = database::connect(&stack.config.database, 2).await.unwrap();
    assert_eq!(stack.outcome(&given).await, completed());
}

#[tokio::test]
async fn a_temporal_killed_and_restarted_goes_on_where_it_was() {
    let mut stack = Stack::with().own_servers().start().await;
    stack.provider.hold();
    let given = a_task().plan("start");
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();
    stack.provider.release_one();
    stack.provider.meter().wait_until(|meter| meter.in_flight == 6).await.unwrap();

    let temporal = &mut stack.servers.as_mut().unwrap().temporal;
    temporal.process().kill().await.unwrap();
    temporal.restart().await.unwrap();
    stack.provider.release();

    stack.result(&task).await.unwrap();
    let outcome = stack.outcome(&given).await;
    assert_eq!((outcome.state, outcome.rows, outcome.objects), (Some(TaskState::Completed), 30, 30));
    // Where the outage outlives a heartbeat timeout, the calls that ran then are joined.
    assert_eq!(outcome.images_billed, 31);
}

#[tokio::test]
async fn a_database_killed_before_the_rows_are_recorded_gets_its_rows() {
    let mut stack = Stack::with().own_servers().start().await;
    stack.provider.hold_downloads();
    let given = a_task();
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.downloads_in_flight == 2).await.unwrap();
    stack.servers.as_mut().unwrap().postgres.process().kill().await.unwrap();
    stack.provider.release_downloads();
    stack.wait_until_retried(&task, "insert").await;

    stack.servers.as_mut().unwrap().postgres.restart().await.unwrap();

    stack.result(&task).await.unwrap();
    stack.database = database::connect(&stack.config.database, 2).await.unwrap();
    assert_eq!(stack.outcome(&given).await, completed());
}
