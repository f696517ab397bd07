//! A photo whose decoding kills its worker.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Cursor;

use tests::{GivenTask, Stack, a_task};
use workflows::failure::FailureKind;

const DARKROOM: &str = env!("CARGO_BIN_EXE_darkroom");
const PHOTO: &str = "uploads/large.png";

/// A stack, and a task whose photo takes long enough to decode that a worker can be killed meanwhile.
async fn stack() -> (Stack, GivenTask) {
    let stack = Stack::with().without_worker().start().await;
    let mut bytes = Cursor::new(Vec::new());
    let photo = image::RgbImage::from_fn(3_000, 3_000, |x, y| image::Rgb([x as u8, y as u8, 0]));
    photo.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    stack.storage.put(PHOTO, "image/png", bytes.into_inner().into()).await.unwrap();
    (stack, a_task().photo(PHOTO))
}

/// Starts a worker, and kills it with -9 while it decodes; `deaths` workers died so before.
async fn kill_while_decoding(stack: &Stack, task: &client::Task, deaths: u32) {
    let mut doomed = stack.spawn_worker(DARKROOM, &[]);
    stack.wait_until_noted(task, "prepare", &format!("\"decodings\":{}", deaths + 1)).await;
    doomed.start_kill().unwrap();
    doomed.wait().await.unwrap();
}

#[tokio::test]
async fn a_photo_at_which_two_workers_died_is_invalid_input() {
    let (stack, given) = stack().await;
    let task = stack.begin(&given).await;
    kill_while_decoding(&stack, &task, 0).await;
    kill_while_decoding(&stack, &task, 1).await;

    let _last = stack.spawn_worker(DARKROOM, &[]);

    let ended = stack.result(&task).await;
    let Err(client::Error::Failed { failure, .. }) = ended else { panic!("{ended:?}") };
    assert_eq!(failure.kind, FailureKind::InvalidInput);
    assert!(failure.message.contains("2 attempts ended while they decoded it"), "{}", failure.message);
    assert_eq!(stack.outcome(&given).await.state, None, "no row");
    assert_eq!(stack.provider.meter().snapshot().calls, [], "nothing is paid");
}

#[tokio::test]
async fn a_photo_at_which_one_worker_died_is_taken() {
    let (stack, given) = stack().await;
    let task = stack.begin(&given).await;
    kill_while_decoding(&stack, &task, 0).await;

    let _next = stack.spawn_worker(DARKROOM, &[]);

    assert_eq!(stack.result(&task).await.unwrap().images.len(), 2);
}
