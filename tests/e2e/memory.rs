//! What a worker forgets leaves its memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use temporalio_sdk::runtime::RuntimeOptions;
use temporalio_sdk::workflow_interceptors::{WorkflowInterceptor, WorkflowInterceptorConstructor};
use temporalio_sdk::{Runtime, WorkerOptions};
use tests::{PATIENCE, Stack, a_task};
use workflows::types::Stage;
use workflows::{GenerateImages, task_queue};

const CACHED: usize = 2;

/// Lives as long as the workflow it was made for is in memory.
struct Witness(#[expect(dead_code, reason = "is counted")] Arc<()>);

impl WorkflowInterceptor for Witness {}

#[tokio::test]
async fn evicted_workflows_are_freed() {
    let stack = Stack::with().without_worker().start().await;
    let alive = Arc::new(());
    let count = Arc::downgrade(&alive);
    let witness = WorkflowInterceptorConstructor::new(move |_| Witness(alive.clone()));
    let mut options = WorkerOptions::new(task_queue::TASKS).max_cached_workflows(CACHED).build();
    options.register_workflow::<GenerateImages>().unwrap().register_workflow_interceptors(vec![witness]);
    let runtime = Runtime::from_current_tokio(RuntimeOptions::default()).unwrap();
    let mut worker = temporalio_sdk::Worker::new(&runtime, stack.temporal.clone(), options).unwrap();
    let shut_down = worker.shutdown_handle();

    let evicting = async {
        // Nobody does the first activity: each waits for it, and makes room for the next.
        for _ in 0..3 * CACHED {
            let task = stack.begin(&a_task()).await;
            stack.wait_until(&task, |progress| progress.stage == Stage::Prepare).await;
        }
        // One is the constructor's.
        let in_memory = || count.strong_count() - 1;
        let (began, mut ticks) = (Instant::now(), tokio::time::interval(Duration::from_millis(20)));
        while in_memory() > CACHED {
            assert!(began.elapsed() < PATIENCE, "{} workflows are in memory", in_memory());
            ticks.tick().await;
        }
        shut_down();
    };
    tokio::join!(async { worker.run().await.unwrap() }, evicting);
}
