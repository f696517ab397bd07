//! Answers that are no images, in the forms that gateways give them, and images in forms of their own: the whole outcome, with the bill.

use sandbox::{Entries, ProviderFault, Rule};
use sea_orm::{ConnectionTrait, Statement};
use tests::{GivenTask, Outcome, Stack, a_task};
use workflows::failure::FailureKind;
use workflows::types::{MissingReason, TaskFailure, TaskState};

/// What `a_task` asks for.
const PROMPT: &str = "in a garden";

const PAGE: &str = "<!doctype html><html><head><title>One API</title></head><body>Welcome</body></html>";

fn completed(images: usize, billed: u64) -> Outcome {
    Outcome {
        state: Some(TaskState::Completed),
        rows: images,
        objects: images,
        missing: vec![],
        images_billed: billed,
    }
}

fn failed(images: usize, billed: u64) -> Outcome {
    Outcome {
        state: Some(TaskState::Failed),
        rows: 0,
        objects: 0,
        missing: vec![(MissingReason::Failed, images)],
        images_billed: billed,
    }
}

/// How many images each call with this prompt asked for.
fn asked(stack: &Stack, prompt: &str) -> Vec<u32> {
    let calls = stack.provider.meter().snapshot().calls;
    calls.iter().filter(|call| call.prompt == prompt).map(|call| call.n).collect()
}

/// State and failure of each call in the ledger, in the order of their begin.
async fn ledger(stack: &Stack) -> Vec<(String, Option<String>)> {
    let sql = "SELECT state, failure_kind FROM calls ORDER BY call_id";
    let statement = Statement::from_string(stack.database.get_database_backend(), sql);
    let rows = stack.database.query_all_raw(statement).await.unwrap();
    rows.iter()
        .map(|row| (row.try_get("", "state").unwrap(), row.try_get("", "failure_kind").unwrap()))
        .collect()
}

fn row(state: &str, failure: Option<FailureKind>) -> (String, Option<String>) {
    (state.to_owned(), failure.map(|kind| kind.as_str().to_owned()))
}

/// Runs a task that is to fail.
async fn fails(stack: &Stack, task: &GivenTask) -> TaskFailure {
    match stack.result(&stack.begin(task).await).await {
        Err(client::Error::Failed { failure, .. }) => failure,
        ended => panic!("{ended:?}"),
    }
}

#[tokio::test]
async fn an_error_inside_a_200_is_what_its_code_says() {
    let stack = Stack::start().await;
    let says = |body: &str, times| Rule::new(ProviderFault::says(200, body)).prompt(PROMPT).times(times);
    let faults = stack.provider.faults();
    faults.add(says(r#"{"error":{"code":429,"message":"Rate limit exceeded. Try again in 467ms."}}"#, 1));
    faults.add(says(r#"{"error":{"code":502,"message":"Provider returned error"}}"#, 3));
    let task = a_task();

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(2, 3));
    let unavailable = row("failed", Some(FailureKind::Unavailable));
    let expected = [
        row("done", None),
        row("failed", Some(FailureKind::Throttled)),
        unavailable.clone(),
        unavailable.clone(),
        unavailable,
        row("done", None),
    ];
    assert_eq!(ledger(&stack).await, expected);
}

#[tokio::test]
async fn moderation_is_moderation_under_each_of_its_names_and_statuses() {
    let stack = Stack::start().await;
    let says = [
        ("azure", 400, r#"{"error":{"code":"content_filter","message":"The response was filtered."}}"#),
        (
            "new-api",
            500,
            r#"{"error":{"type":"new_api_error","code":"sensitive_words_detected","message":"m"}}"#,
        ),
        (
            "openrouter",
            403,
            r#"{"error":{"code":403,"message":"m","metadata":{"reasons":["sexual"],"flagged_input":"…"}}}"#,
        ),
        ("lawyers", 451, r#"{"message":"Unavailable for legal reasons"}"#),
    ];
    for (prompt, status, body) in says {
        stack.provider.faults().add(Rule::new(ProviderFault::says(status, body)).prompt(prompt));
    }
    let task = a_task().plan("start").prompts(["a garden", "azure", "new-api", "openrouter", "lawyers"]);

    stack.run(&task).await;

    let expected = Outcome {
        state: Some(TaskState::Partial),
        rows: 6,
        objects: 6,
        missing: vec![(MissingReason::Rejected, 24)],
        images_billed: 7,
    };
    assert_eq!(stack.outcome(&task).await, expected);
    for (prompt, ..) in says {
        let asked = asked(&stack, prompt);
        assert_eq!((asked.len(), asked.iter().sum()), (2, 6), "{prompt} is not asked again");
    }
}

#[tokio::test]
async fn an_image_file_that_the_provider_calls_invalid_is_no_moderation() {
    let stack = Stack::start().await;
    let body =
        r#"{"error":{"type":"image_generation_user_error","code":"invalid_image_file","message":"m"}}"#;
    stack.provider.faults().add(Rule::new(ProviderFault::says(400, body)).prompt(PROMPT));
    let task = a_task();

    let failure = fails(&stack, &task).await;

    assert_eq!(failure.kind, FailureKind::Malformed);
    assert!(failure.message.contains("invalid_image_file"), "{}", failure.message);
    assert_eq!(stack.outcome(&task).await, failed(2, 1));
}

#[tokio::test]
async fn entries_that_say_they_were_rejected_are_not_asked_for_again() {
    let stack = Stack::start().await;
    let says = [
        (
            "entries",
            r#"{"data":[{"error":{"code":"SomeFilter","message":"not this"}},{"respect_moderation":false}]}"#,
        ),
        ("beside", r#"{"data":[],"error":{"code":"some_filter","message":"not this"}}"#),
    ];
    for (prompt, body) in says {
        stack.provider.faults().add(Rule::new(ProviderFault::says(200, body)).prompt(prompt));
    }
    let task = a_task().prompts(["entries", "beside"]);

    let output = stack.run(&task).await;

    let expected = Outcome {
        state: Some(TaskState::Partial),
        rows: 0,
        objects: 0,
        missing: vec![(MissingReason::Rejected, 2)],
        images_billed: 1,
    };
    assert_eq!(stack.outcome(&task).await, expected);
    assert_eq!((asked(&stack, "entries"), asked(&stack, "beside")), (vec![1], vec![1]));
    assert!(output.missing.iter().all(|image| image.message.contains("not this")), "{output:?}");
}

#[tokio::test]
async fn one_rejected_entry_leaves_the_other_images() {
    let stack = Stack::start().await;
    stack
        .provider
        .faults()
        .add(Rule::new(ProviderFault::Entries(Entries::RejectedFirst)).prompt(PROMPT).times(1));
    let task = a_task();

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(2, 3), "the rejected one isn't billed");
    assert_eq!(asked(&stack, PROMPT), [2, 1]);
}

#[tokio::test]
async fn a_job_of_an_asynchronous_api_is_started_once_and_named() {
    for (prompt, billed, calls) in [(PROMPT, 1 + 2, 2), ("Retouch this portrait", 1, 1)] {
        let stack = Stack::start().await;
        stack.provider.faults().add(Rule::new(ProviderFault::job()).prompt(prompt));
        let task = a_task();

        let failure = fails(&stack, &task).await;

        assert_eq!(failure.kind, FailureKind::Malformed);
        assert!(failure.message.contains("asynchronous API"), "{}", failure.message);
        assert!(failure.message.contains("task_id"), "{}", failure.message);
        assert_eq!(stack.outcome(&task).await, failed(2, billed));
        assert_eq!(stack.provider.meter().snapshot().calls.len(), calls);
        assert_eq!(ledger(&stack).await.last(), Some(&row("unusable", Some(FailureKind::Malformed))));
    }
}

#[tokio::test]
async fn a_web_page_in_the_apis_place_is_asked_once_and_costs_nothing() {
    let stack = Stack::start().await;
    stack.provider.faults().add(Rule::new(ProviderFault::says(200, PAGE)));
    let task = a_task();

    let failure = fails(&stack, &task).await;

    assert_eq!(failure.kind, FailureKind::Malformed);
    assert!(failure.message.contains("a web page answers"), "{}", failure.message);
    assert!(failure.message.contains("provider.base_url"), "{}", failure.message);
    assert_eq!(stack.outcome(&task).await, failed(2, 0));
    assert_eq!(stack.provider.meter().snapshot().calls.len(), 1);
    assert_eq!(ledger(&stack).await, [row("failed", Some(FailureKind::Malformed))]);
}

#[tokio::test]
async fn a_page_without_a_way_to_the_origin_is_no_possible_loss() {
    let stack = Stack::start().await;
    stack.provider.faults().add(Rule::new(ProviderFault::Html { status: 522 }).prompt(PROMPT).times(1));
    stack.provider.faults().add(Rule::new(ProviderFault::Html { status: 502 }).prompt(PROMPT).times(1));
    let task = a_task();

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(2, 3));
    let failures = &ledger(&stack).await[1..3];
    assert_eq!(
        failures,
        [row("failed", Some(FailureKind::Unavailable)), row("ambiguous", Some(FailureKind::Ambiguous))]
    );
}

#[tokio::test]
async fn images_behind_a_data_prefix_are_images() {
    let stack = Stack::start().await;
    stack.provider.faults().add(Rule::new(ProviderFault::Entries(Entries::DataUrls)));
    let task = a_task();

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(2, 3));
    assert_eq!(stack.provider.meter().snapshot().downloads, 0);
}

#[tokio::test]
async fn bytes_that_cannot_be_read_leave_the_url_beside_them() {
    let stack = Stack::start().await;
    stack.provider.faults().add(Rule::new(ProviderFault::Entries(Entries::BrokenBytes)));
    let task = a_task();

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(2, 3));
    assert_eq!(asked(&stack, PROMPT), [2]);
}

#[tokio::test]
async fn one_odd_entry_costs_no_other() {
    let stack = Stack::start().await;
    stack
        .provider
        .faults()
        .add(Rule::new(ProviderFault::Entries(Entries::NullFirst)).prompt(PROMPT).times(1));
    let task = a_task();

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(2, 4), "the odd one alone is paid again");
    assert_eq!(asked(&stack, PROMPT), [2, 1]);
}

#[tokio::test]
async fn an_answer_of_which_nothing_can_be_read_is_unreadable_and_not_short() {
    let stack = Stack::start().await;
    let body = r#"{"data":[{"revised_prompt":"p"},null]}"#.to_owned();
    stack
        .provider
        .faults()
        .add(Rule::new(ProviderFault::Says { status: 200, body, billed: true }).prompt(PROMPT));
    let task = a_task();

    let failure = fails(&stack, &task).await;

    assert!(failure.message.contains("none of 2 entries holds an image"), "{}", failure.message);
    let expected = Outcome { missing: vec![(MissingReason::Ambiguous, 2)], ..failed(2, 1 + 5 * 2) };
    assert_eq!(stack.outcome(&task).await, expected);
    assert_eq!(asked(&stack, PROMPT), [2; 5]);
}

#[tokio::test]
async fn an_operators_word_decides_without_a_release() {
    let stack = Stack::with()
        .configure(|config| config.provider.words.codes.rejected.push("not_with_us".into()))
        .start()
        .await;
    let body = r#"{"error":{"code":"not_with_us","message":"m"}}"#;
    stack.provider.faults().add(Rule::new(ProviderFault::says(400, body)).prompt("forbidden"));
    let task = a_task().prompts(["a garden", "forbidden"]);

    stack.run(&task).await;

    let outcome = stack.outcome(&task).await;
    assert_eq!((outcome.rows, outcome.missing), (1, vec![(MissingReason::Rejected, 1)]));
}
