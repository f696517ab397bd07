//! Each plan, and what a task of it leaves behind.

use tests::{Outcome, Stack, a_task};
use workflows::types::TaskState;

async fn a_plan_gives_its_images(plan: &str, images: usize) {
    let stack = Stack::start().await;
    let task = a_task().plan(plan);

    let output = stack.run(&task).await;

    let expected = Outcome {
        state: Some(TaskState::Completed),
        rows: images,
        objects: images,
        missing: vec![],
        images_billed: images as u64 + 1,
    };
    assert_eq!(stack.outcome(&task).await, expected);
    let indices: Vec<u32> = output.images.iter().map(|image| image.index).collect();
    assert_eq!(indices, (0..images as u32).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_free_task_gives_2_images() {
    a_plan_gives_its_images("free", 2).await;
}

#[tokio::test]
async fn a_start_task_gives_30_images() {
    a_plan_gives_its_images("start", 30).await;
}

#[tokio::test]
async fn a_pro_task_gives_70_images() {
    a_plan_gives_its_images("pro", 70).await;
}
