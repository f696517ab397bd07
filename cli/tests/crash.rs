//! kill -9 of a worker in the middle of each step, with another worker beside it.
#![allow(clippy::unwrap_used, reason = "tests")]

use sandbox::Meter;
use tests::{Stack, a_task};
use workflows::types::TaskState;

const DARKROOM: &str = env!("CARGO_BIN_EXE_darkroom");

/// Where the worker dies.
#[derive(Clone, Copy)]
enum Within {
    Beautify,
    Generate,
    Transfer,
}

impl Within {
    async fn reach(self, stack: &Stack) {
        let wait = async |condition: fn(&Meter) -> bool| {
            stack.provider.meter().wait_until(condition).await.unwrap();
        };
        if matches!(self, Within::Beautify | Within::Generate) {
            wait(|meter| meter.in_flight == 1).await;
        }
        match self {
            Within::Beautify => {}
            Within::Generate => {
                stack.provider.release_one();
                wait(|meter| meter.billed_calls == 1 && meter.in_flight == 1).await;
            }
            Within::Transfer => wait(|meter| meter.downloads_in_flight == 2).await,
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
    match within {
        Within::Beautify | Within::Generate => stack.provider.hold(),
        Within::Transfer => stack.provider.hold_downloads(),
    }
    let mut doomed = stack.spawn_worker(DARKROOM, &[]);
    let given = a_task();
    let task = stack.begin(&given).await;
    within.reach(&stack).await;
    let _other = stack.spawn_worker(DARKROOM, &[]);

    doomed.start_kill().unwrap();
    doomed.wait().await.unwrap();
    stack.provider.release();
    stack.provider.release_downloads();

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
async fn within_transfer_nothing_is_paid_twice() {
    assert_eq!(images_billed(Within::Transfer, false).await, 3);
}

#[tokio::test]
async fn a_transfer_paused_longer_than_a_heartbeat_does_no_harm_when_it_wakes() {
    let stack = Stack::with().without_worker().start().await;
    stack.provider.hold_downloads();
    let _rest = stack.spawn_worker(DARKROOM, &["tasks", "generate"]);
    let mut paused = stack.spawn_worker(DARKROOM, &["transfer"]);
    let given = a_task();
    let task = stack.begin(&given).await;
    Within::Transfer.reach(&stack).await;
    signal(&paused, "STOP");
    let _other = stack.spawn_worker(DARKROOM, &["transfer"]);
    stack.wait_until_retried(&task, "transfer-1").await;
    stack.provider.release_downloads();
    stack.result(&task).await.unwrap();
    let before = stack.outcome(&given).await;

    // It finds its downloads dead or done, its activities long replaced; it has ended them all when it has ended itself.
    signal(&paused, "CONT");
    signal(&paused, "TERM");
    assert!(paused.wait().await.unwrap().success());

    assert_eq!(stack.outcome(&given).await, before);
    assert_eq!((before.rows, before.objects, before.images_billed), (2, 2, 3));
}

fn signal(worker: &tokio::process::Child, name: &str) {
    let pid = worker.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
}
