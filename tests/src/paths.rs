//! Every path through the workflow, each a run that is recorded and replayed.

use std::pin::Pin;

use sandbox::{ProviderFault, Rule};
use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;
use workflows::keys;

use crate::{GivenTask, Stack, a_task};

/// A path: its name, which is also its history's file, what it covers, and the run.
pub struct Path {
    /// Name of the history.
    pub name: &'static str,
    /// What of the workflow it covers.
    pub covers: &'static str,
    run: fn(GivenTask) -> Run,
}

type Run = Pin<Box<dyn Future<Output = Vec<HistoryEvent>>>>;

impl Path {
    /// Runs it on the live sandbox and returns its history.
    pub async fn record(&self) -> Vec<HistoryEvent> {
        (self.run)(a_task().id(self.name)).await
    }
}

/// Declares the paths: name, what it covers, and the run from the given task to its history.
macro_rules! paths {
    ($($name:ident, $covers:literal, |$task:ident| $run:block)*) => {
        /// All paths.
        pub const PATHS: &[Path] = &[$(Path {
            name: stringify!($name),
            covers: $covers,
            run: |$task| Box::pin(async move $run),
        }),*];
    };
}

/// Runs a task to its end, however it ends.
async fn ended(stack: &Stack, task: &GivenTask) -> Vec<HistoryEvent> {
    let task = stack.begin(task).await;
    let _ = stack.result(&task).await;
    stack.history(&task).await
}

/// Runs a task with one rule for the provider.
async fn ended_with(rule: Rule, task: &GivenTask) -> Vec<HistoryEvent> {
    let stack = Stack::start().await;
    stack.provider.faults().add(rule);
    ended(&stack, task).await
}

paths! {
    free, "a plan of one batch", |task| { ended(&Stack::start().await, &task).await }
    start, "a plan of six batches", |task| { ended(&Stack::start().await, &task.plan("start")).await }
    pro, "a plan of fourteen batches", |task| { ended(&Stack::start().await, &task.plan("pro")).await }
    several_prompts, "batches of different prompts", |task| {
        ended(&Stack::start().await, &task.plan("start").prompts(["a garden", "a beach", "a library"])).await
    }
    bytes, "answers in bytes: staging keys in place of URLs", |task| {
        ended(&Stack::with().openai().start().await, &task).await
    }
    short_answer, "a second call for a batch", |task| {
        ended_with(Rule::new(ProviderFault::ShortAnswer { images: 1 }).prompt("in a garden").times(1), &task).await
    }
    no_images, "all calls for a batch, and giving up", |task| {
        ended_with(Rule::new(ProviderFault::ShortAnswer { images: 0 }).prompt("in a garden"), &task).await
    }
    no_retouched_photo, "all calls for the reference, and failing", |task| {
        ended_with(Rule::new(ProviderFault::ShortAnswer { images: 0 }).prompt("Retouch"), &task).await
    }
    rejected_prompt, "a rejected batch beside one that is made", |task| {
        ended_with(Rule::new(ProviderFault::ModerationBlocked).prompt("forbidden"), &task.prompts(["a garden", "forbidden"])).await
    }
    rejected_photo, "the photo as its own reference", |task| {
        ended_with(Rule::new(ProviderFault::ModerationBlocked).prompt("Retouch"), &task).await
    }
    dead_url, "an image made again alone", |task| {
        ended_with(Rule::new(ProviderFault::DownloadStatus { status: 410 }).image(1).times(1), &task).await
    }
    dead_urls, "files that are dead each time, and giving up", |task| {
        ended_with(Rule::new(ProviderFault::DownloadStatus { status: 410 }), &task).await
    }
    failed_download, "a transfer that is tried again", |task| {
        ended_with(Rule::new(ProviderFault::DownloadStatus { status: 500 }).times(2), &task).await
    }
    unusable_image, "an image that must not be taken", |task| {
        let stack = Stack::with().configure(|config| config.fetch.max_image_bytes = 1_024).start().await;
        ended(&stack, &task).await
    }
    unavailable, "paid calls that are tried again", |task| {
        ended_with(Rule::new(ProviderFault::Status { status: 503, retry_after_s: None }).times(3), &task).await
    }
    bad_request, "a task that fails", |task| {
        let stack = Stack::with().configure(|config| config.provider.size = "1x1".into()).start().await;
        ended(&stack, &task).await
    }
    batch_failed, "a batch that fails beside one that is made", |task| {
        let fault = ProviderFault::Status { status: 400, retry_after_s: None };
        ended_with(Rule::new(fault).prompt("unlucky"), &task.prompts(["a garden", "unlucky"])).await
    }
    batch_spent, "a batch whose calls may all have been billed, beside one that is made", |task| {
        ended_with(Rule::new(ProviderFault::CutBody).prompt("unlucky"), &task.prompts(["a garden", "unlucky"])).await
    }
    one_image_a_call, "a batch that takes a call an image", |task| {
        ended_with(Rule::new(ProviderFault::ShortAnswer { images: 1 }), &task.plan("start")).await
    }
    reset, "a task that had ended, run again after a reset", |task| {
        let stack = Stack::start().await;
        let task = stack.begin(&task).await;
        stack.result(&task).await.unwrap();
        stack.reset(&task).await;
        stack.result(&task).await.unwrap();
        stack.history(&task).await
    }
    no_plan, "input that prepare refuses", |task| { ended(&Stack::start().await, &task.plan("gold")).await }
    bad_form, "input that the workflow itself refuses", |task| {
        let stack = Stack::start().await;
        let _ = stack.run_with_payloads(&keys::workflow_id(&task.0.task_id), vec![]).await;
        stack.history(&stack.client.task(&task.0.task_id)).await
    }
    finished_before, "another run of a finished task", |task| {
        let stack = Stack::start().await;
        stack.run(&task).await;
        let input = serde_json::to_value(&task.0).unwrap();
        stack.run_by_name(&keys::workflow_id(&task.0.task_id), &input).await.unwrap();
        stack.history(&stack.client.task(&task.0.task_id)).await
    }
    other_input, "another run with other input", |task| {
        let stack = Stack::start().await;
        stack.run(&task).await;
        let input = serde_json::to_value(&task.clone().user("bob").0).unwrap();
        stack.run_by_name(&keys::workflow_id(&task.0.task_id), &input).await.unwrap_err();
        stack.history(&stack.client.task(&task.0.task_id)).await
    }
    cancel_in_prepare, "a cancel before there is a row", |task| {
        let stack = Stack::start().await;
        let task = stack.begin(&task.photo(&stack.provider.serve_status("photo", 503))).await;
        stack.wait_until_retried(&task, "prepare").await;
        task.cancel("test").await.unwrap();
        stack.result(&task).await.unwrap();
        stack.history(&task).await
    }
    cancel_in_beautify, "a cancel while the photo is retouched", |task| {
        let stack = Stack::start().await;
        stack.provider.hold();
        let task = stack.begin(&task).await;
        stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();
        task.cancel("test").await.unwrap();
        stack.wait_until_cancel_is_heard(&task).await;
        stack.provider.release();
        stack.result(&task).await.unwrap();
        stack.history(&task).await
    }
    cancel_in_generate, "a cancel between batches that run and batches that wait", |task| {
        let stack = Stack::with().configure(|config| config.generate.slots = 2).start().await;
        stack.provider.hold();
        let task = stack.begin(&task.plan("start")).await;
        stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();
        stack.provider.release_one();
        stack.provider.meter().wait_until(|meter| meter.in_flight == 2).await.unwrap();
        task.cancel("test").await.unwrap();
        stack.wait_until_cancel_is_heard(&task).await;
        stack.provider.release();
        stack.result(&task).await.unwrap();
        stack.history(&task).await
    }
    cancel_in_transfer, "a cancel that finds nothing left to cancel", |task| {
        let stack = Stack::start().await;
        stack.provider.hold_downloads();
        let task = stack.begin(&task).await;
        stack.provider.meter().wait_until(|meter| meter.downloads_in_flight == 2).await.unwrap();
        task.cancel("test").await.unwrap();
        stack.wait_until_cancel_is_heard(&task).await;
        stack.provider.release_downloads();
        stack.result(&task).await.unwrap();
        stack.history(&task).await
    }
    refused_account, "an account without credit, and a cancel while it waits", |task| {
        let stack = Stack::start().await;
        stack.provider.faults().add(Rule::new(ProviderFault::InsufficientQuota));
        let task = stack.begin(&task).await;
        stack.wait_until_retried(&task, "beautify").await;
        task.cancel("test").await.unwrap();
        stack.result(&task).await.unwrap();
        stack.history(&task).await
    }
    worker_restarted, "a worker that ends in the middle, and another that goes on", |task| {
        let mut stack = Stack::start().await;
        stack.provider.hold();
        let task = stack.begin(&task.plan("start")).await;
        stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();
        stack.provider.release();
        stack.stop_worker();
        stack.start_worker();
        stack.result(&task).await.unwrap();
        stack.history(&task).await
    }
}
