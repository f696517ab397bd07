//! The same on the stricter S3 server.

use tests::{Outcome, Stack, a_task};
use workflows::types::TaskState;

#[tokio::test]
async fn the_stricter_store_holds_the_same() {
    let stack = Stack::with().strict_store().start().await;
    let task = a_task().plan("start");

    stack.run(&task).await;

    let expected = Outcome {
        state: Some(TaskState::Completed),
        rows: 30,
        objects: 30,
        missing: vec![],
        images_billed: 31,
    };
    assert_eq!(stack.outcome(&task).await, expected);
}

#[tokio::test]
async fn a_cut_file_leaves_no_object_there_either() {
    let stack = Stack::with().strict_store().start().await;
    stack
        .provider
        .faults()
        .add(sandbox::Rule::new(sandbox::ProviderFault::Truncated { keep_bytes: 500 }).times(2));
    let task = a_task();

    stack.run(&task).await;

    let outcome = stack.outcome(&task).await;
    assert_eq!((outcome.rows, outcome.objects, outcome.images_billed), (2, 2, 3));
}

#[tokio::test]
async fn staged_bytes_work_there_too() {
    let stack = Stack::with().openai().strict_store().start().await;
    let task = a_task();

    stack.run(&task).await;

    let outcome = stack.outcome(&task).await;
    assert_eq!((outcome.rows, outcome.objects), (2, 2));
}
