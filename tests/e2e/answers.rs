//! What a provider may answer, and what becomes of it.

use sandbox::{ProviderFault, Rule};
use tests::{Outcome, Stack, a_task};
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
async fn several_prompts_are_spread_over_the_images() {
    let stack = Stack::start().await;
    let task = a_task().plan("start").prompts(["a garden", "a beach", "a library"]);

    let output = stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(30, 31));
    let asked: Vec<(String, u32)> = stack
        .provider
        .meter()
        .snapshot()
        .calls
        .iter()
        .skip(1)
        .map(|call| (call.prompt.clone(), call.n))
        .collect();
    for prompt in ["a garden", "a beach", "a library"] {
        assert_eq!(asked.iter().filter(|(asked, n)| asked == prompt && *n == 5).count(), 2, "{asked:?}");
    }
    let prompts: Vec<u32> = output.images.iter().map(|image| image.prompt_index).collect();
    assert_eq!(prompts, [vec![0; 10], vec![1; 10], vec![2; 10]].concat());
}

#[tokio::test]
async fn openai_answers_in_bytes_to_a_multipart_edit() {
    let stack = Stack::with().openai().start().await;
    let task = a_task().plan("start");

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(30, 31));
    let meter = stack.provider.meter().snapshot();
    assert!(meter.calls.iter().all(|call| call.path == "/v1/images/edits"), "{meter}");
    assert_eq!(meter.downloads, 0);
}

#[tokio::test]
async fn an_aggregator_may_answer_in_bytes_too() {
    use activities::provider::AnswerFormat;
    let stack =
        Stack::with().configure(|config| config.provider.answer = Some(AnswerFormat::B64Json)).start().await;
    let task = a_task();

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(2, 3));
    assert_eq!(stack.provider.meter().snapshot().downloads, 0);
}

#[tokio::test]
async fn a_provider_of_one_image_a_call_gets_a_call_an_image() {
    let stack = Stack::with().configure(|config| config.provider.images_per_call = Some(1)).start().await;
    let task = a_task();

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(2, 3));
    assert_eq!(stack.provider.meter().snapshot().calls.len(), 3);
}

#[tokio::test]
async fn a_short_answer_is_topped_up() {
    let stack = Stack::start().await;
    stack.provider.short_answer("in a garden", 3);
    let task = a_task().plan("start");

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(30, 31));
    let meter = stack.provider.meter().snapshot();
    let asked: Vec<u32> = meter.calls.iter().skip(1).map(|call| call.n).collect();
    assert_eq!(
        asked.iter().filter(|n| **n == 2).count(),
        1,
        "one call for the two missing images: {asked:?}"
    );
    assert_eq!(asked.len(), 7);
}

#[tokio::test]
async fn an_answer_without_images_is_asked_again_and_then_given_up() {
    let stack = Stack::start().await;
    stack.provider.faults().add(Rule::new(ProviderFault::ShortAnswer { images: 0 }).prompt("nothing"));
    let task = a_task().plan("start").prompts(["a garden", "nothing"]);

    stack.run(&task).await;

    let expected = Outcome {
        state: Some(TaskState::Partial),
        rows: 15,
        objects: 15,
        missing: vec![(MissingReason::ShortAnswer, 15)],
        images_billed: 16,
    };
    assert_eq!(stack.outcome(&task).await, expected);
    let meter = stack.provider.meter().snapshot();
    assert_eq!(meter.calls.iter().filter(|call| call.prompt == "nothing").count(), 3 * 4);
}

#[tokio::test]
async fn a_rejected_prompt_leaves_a_partial_task() {
    let stack = Stack::start().await;
    stack.provider.rejects("forbidden");
    let task = a_task().plan("start").prompts(["a garden", "forbidden"]);

    let output = stack.run(&task).await;

    let expected = Outcome {
        state: Some(TaskState::Partial),
        rows: 15,
        objects: 15,
        missing: vec![(MissingReason::Rejected, 15)],
        images_billed: 16,
    };
    assert_eq!(stack.outcome(&task).await, expected);
    assert!(output.missing.iter().all(|image| image.message.contains("moderation_blocked")), "{output:?}");
    let meter = stack.provider.meter().snapshot();
    let rejected = meter.calls.iter().filter(|call| call.prompt == "forbidden").count();
    assert_eq!(rejected, 3, "a rejection is a result: it isn't asked again");
}

#[tokio::test]
async fn a_task_of_rejected_prompts_alone_is_partial_and_empty() {
    let stack = Stack::start().await;
    stack.provider.rejects("forbidden");
    let task = a_task().prompt("forbidden");

    stack.run(&task).await;

    let expected = Outcome {
        state: Some(TaskState::Partial),
        rows: 0,
        objects: 0,
        missing: vec![(MissingReason::Rejected, 2)],
        images_billed: 1,
    };
    assert_eq!(stack.outcome(&task).await, expected);
}

#[tokio::test]
async fn a_photo_that_may_not_be_retouched_is_its_own_reference() {
    let stack = Stack::start().await;
    stack.provider.rejects("Retouch this portrait");
    let task = a_task();

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(2, 2));
}

#[tokio::test]
async fn a_throttled_call_is_made_again_when_the_provider_says() {
    let stack = Stack::start().await;
    stack
        .provider
        .faults()
        .add(Rule::new(ProviderFault::Status { status: 429, retry_after_s: Some(1) }).times(1));
    let task = a_task();

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(2, 3));
    let calls = stack.provider.meter().snapshot().calls;
    assert!(calls[1].started_ms >= calls[0].started_ms + 1_000, "Retry-After is obeyed: {calls:?}");
}

#[tokio::test]
async fn an_unavailable_provider_is_tried_again() {
    let stack = Stack::start().await;
    stack.provider.fails(503, 3);
    let task = a_task();

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(2, 3));
}

#[tokio::test]
async fn a_malformed_request_fails_the_task_with_what_the_provider_said() {
    let stack = Stack::with().configure(|config| config.provider.size = "1x1".into()).start().await;
    let task = a_task();

    let ended = stack.result(&stack.begin(&task).await).await;

    let Err(client::Error::Failed { failure, .. }) = ended else { panic!("{ended:?}") };
    assert_eq!(failure.kind, workflows::failure::FailureKind::Malformed);
    assert!(failure.message.contains("size"), "{}", failure.message);
    let expected = Outcome {
        state: Some(TaskState::Failed),
        rows: 0,
        objects: 0,
        missing: vec![(MissingReason::Failed, 2)],
        images_billed: 0,
    };
    assert_eq!(stack.outcome(&task).await, expected);
}

#[tokio::test]
async fn a_failed_download_repeats_the_download_and_never_the_call() {
    let stack = Stack::start().await;
    stack.provider.fails_downloads(500, 4);
    let task = a_task();

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(2, 3));
    assert_eq!(stack.provider.meter().snapshot().downloads, 2 + 4);
}

#[tokio::test]
async fn only_the_image_whose_download_failed_is_moved_again() {
    let stack = Stack::start().await;
    stack.provider.faults().add(Rule::new(ProviderFault::DownloadStatus { status: 500 }).image(1).times(2));
    let task = a_task();

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(2, 3));
    assert_eq!(stack.provider.meter().snapshot().downloads, 2 + 2);
}

#[tokio::test]
async fn a_file_cut_anywhere_is_downloaded_again() {
    let stack = Stack::start().await;
    stack.provider.faults().add(Rule::new(ProviderFault::Truncated { keep_bytes: 1_000 }).times(1));
    let task = a_task();

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(2, 3));
}

#[tokio::test]
async fn an_image_whose_url_has_died_is_made_again_alone() {
    let stack = Stack::start().await;
    stack.provider.faults().add(Rule::new(ProviderFault::DownloadStatus { status: 410 }).image(1).times(1));
    let task = a_task();

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(2, 4));
    let asked: Vec<u32> = stack.provider.meter().snapshot().calls.iter().map(|call| call.n).collect();
    assert_eq!(asked, [1, 2, 1]);
}

#[tokio::test]
async fn an_image_larger_than_allowed_is_not_paid_for_again() {
    let stack = Stack::with().configure(|config| config.fetch.max_image_bytes = 1_024).start().await;
    let task = a_task();

    let ended = stack.result(&stack.begin(&task).await).await;

    let Err(client::Error::Failed { failure, .. }) = ended else { panic!("{ended:?}") };
    assert!(failure.message.contains("1024"), "{}", failure.message);
    assert_eq!(stack.provider.meter().snapshot().calls.len(), 2);
    assert_eq!(stack.outcome(&task).await.missing, [(MissingReason::Failed, 2)]);
}

#[tokio::test]
async fn one_dead_and_one_unusable_image_cost_the_batch_no_other() {
    let stack =
        Stack::with().configure(|config| config.fetch.allow_hosts = vec!["127.0.0.1".into()]).start().await;
    stack.provider.faults().add(Rule::new(ProviderFault::DownloadStatus { status: 410 }).image(0).times(1));
    let task = a_task().plan("start");

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(30, 32));
}

#[tokio::test]
async fn an_unreadable_answer_is_asked_for_again_five_times_at_most() {
    let stack = Stack::start().await;
    stack.provider.faults().add(
        Rule::new(ProviderFault::Status { status: 503, retry_after_s: None }).prompt("a garden").times(2),
    );
    stack.provider.faults().add(Rule::new(ProviderFault::MalformedJson).prompt("a garden").times(2));
    stack.provider.faults().add(Rule::new(ProviderFault::MalformedJson).prompt("a beach"));
    let task = a_task().prompts(["a garden", "a beach"]);

    stack.run(&task).await;

    let outcome = stack.outcome(&task).await;
    assert_eq!((outcome.state, outcome.rows), (Some(TaskState::Partial), 1));
    assert_eq!(outcome.missing, [(MissingReason::Ambiguous, 1)]);
    let calls = stack.provider.meter().snapshot().calls;
    let asked = |prompt: &str| calls.iter().filter(|call| call.prompt == prompt).count();
    assert_eq!((asked("a garden"), asked("a beach")), (2 + 2 + 1, 5), "other failures don't count");
}

#[tokio::test]
async fn a_retry_after_of_0_is_tried_again_and_not_given_up() {
    let stack = Stack::start().await;
    stack
        .provider
        .faults()
        .add(Rule::new(ProviderFault::Status { status: 429, retry_after_s: Some(0) }).times(3));
    let task = a_task();

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(2, 3));
}

#[tokio::test]
async fn what_no_row_speaks_of_is_removed_at_the_end() {
    let stack = Stack::start().await;
    stack.provider.hold();
    let given = a_task();
    let task = stack.begin(&given).await;
    for key in [
        workflows::keys::image(task.task_id(), 99, 1),
        workflows::keys::staged(
            task.task_id(),
            workflows::keys::CallName::batch(3, 1),
            "0123456789abcdef",
            0,
        ),
    ] {
        stack.storage.put(&key, "image/png", "left by a transfer that died".into()).await.unwrap();
    }

    stack.provider.release();
    stack.result(&task).await.unwrap();

    assert_eq!(stack.outcome(&given).await, completed(2, 3));
}

#[tokio::test]
async fn a_database_that_refuses_the_rows_loses_nothing() {
    use sea_orm::ConnectionTrait;
    let stack = Stack::start().await;
    let given = a_task();
    stack.database.execute_unprepared("ALTER TABLE images RENAME COLUMN sha256 TO renamed").await.unwrap();
    let task = stack.begin(&given).await;
    stack.wait_until_retried(&task, "insert").await;

    stack.database.execute_unprepared("ALTER TABLE images RENAME COLUMN renamed TO sha256").await.unwrap();

    stack.result(&task).await.unwrap();
    assert_eq!(stack.outcome(&given).await, completed(2, 3));
}

#[tokio::test]
async fn a_refused_account_waits_visibly_and_can_be_cancelled() {
    let stack = Stack::start().await;
    stack.provider.faults().add(Rule::new(ProviderFault::InsufficientQuota));
    let given = a_task();
    let task = stack.begin(&given).await;
    stack.wait_until_retried(&task, "beautify").await;

    assert!(!task.is_closed().await.unwrap());
    task.cancel("test").await.unwrap();
    assert_eq!(stack.result(&task).await.unwrap().state, TaskState::Cancelled);
    assert_eq!(stack.outcome(&given).await.images_billed, 0);
}

#[tokio::test]
async fn every_attempt_at_a_call_carries_the_same_idempotency_key_where_one_is_configured() {
    let stack = Stack::with()
        .provider(|provider| provider.idempotency_header = Some("Idempotency-Key".into()))
        .start()
        .await;
    stack.provider.faults().add(Rule::new(ProviderFault::ResetAfterBilling).prompt("in a garden").times(1));
    let task = a_task();

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(2, 3), "billed once, though the answer was lost");
    let id = &task.0.task_id;
    let keys: Vec<String> = stack
        .provider
        .meter()
        .snapshot()
        .calls
        .iter()
        .filter_map(|call| call.idempotency_key.clone())
        .collect();
    let names: Vec<&str> = keys.iter().map(|key| workflows::keys::task_and_call(key)).collect();
    assert_eq!(names, [format!("{id}/beautify"), format!("{id}/1"), format!("{id}/1")]);
    assert_eq!(keys[1], keys[2]);
}
