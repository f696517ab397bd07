//! Bad input of every kind: the workflow fails at once, typed and readable, before anything is paid.

use serde_json::{Value, json};
use tests::{Outcome, Stack, a_task, payload, portrait};
use workflows::failure::FailureKind;
use workflows::keys;
use workflows::types::TaskState;

#[tokio::test]
async fn whatever_is_wrong_with_the_json_is_named() {
    let stack = Stack::start().await;
    let good = json!({"task_id": "x", "user_id": "ann", "plan": "free", "prompt": "p", "photo": "uploads/portrait.jpg"});
    let with = |field: &str, value: Value| {
        let mut input = good.clone();
        input[field] = value;
        input
    };
    let without = |field: &str| {
        let mut input = good.clone();
        input.as_object_mut().unwrap().remove(field);
        input
    };
    let many = vec!["p"; 3];
    let cases = [
        (json!("a string"), "not a generate_images input"),
        (json!(7), "not a generate_images input"),
        (json!(null), "not a generate_images input"),
        (json!([]), "expected an object"),
        // The fields by position.
        (json!(["x", "ann", "free", "p", [], "uploads/portrait.jpg"]), "expected an object"),
        (json!({}), "task_id"),
        (without("photo"), "photo"),
        (without("user_id"), "user_id"),
        (with("task_id", json!(5)), "expected a string"),
        (with("promt", json!("typo")), "promt"),
        (with("plan", json!("gold")), "plan `gold` is not configured: use one of free, pro, start"),
        (with("plan", json!("")), "plan `` is no plan's name"),
        (with("prompt", json!("")), "prompt is empty"),
        (with("prompt", json!(" \n")), "prompt is empty"),
        (with("prompt", json!("nul \0")), "prompt holds a NUL"),
        (with("photo", json!("http://host/\0")), "control character"),
        (with("prompt", json!("x".repeat(32_001))), "32001 characters: 32000 at most"),
        (without("prompt"), "neither prompt nor prompts"),
        (with("prompts", json!(["q"])), "both prompt and prompts"),
        (
            {
                let mut input = without("prompt");
                input["prompts"] = json!(["q", ""]);
                input
            },
            "prompts[1] is empty",
        ),
        (
            {
                let mut input = without("prompt");
                input["prompts"] = json!(many);
                input
            },
            "3 prompts for the 2 images",
        ),
        (with("task_id", json!("no/slash")), "task_id `no/slash` is not an id"),
        (with("user_id", json!("")), "user_id"),
        (with("user_id", json!("u".repeat(65))), "user_id"),
        (with("photo", json!("")), "photo"),
        (with("photo", json!("tasks/somebody-else/photo")), "a key of Darkroom's own"),
        (with("photo", json!("ftp://host/photo.jpg")), "scheme `ftp`"),
        (with("photo", json!("file:///etc/passwd")), "scheme `file`"),
        (with("photo", json!("http://")), "without a host"),
        (with("photo", json!("http:///photo.jpg")), "without a host"),
        (with("photo", json!("data:image/png;base64,AAAA")), "neither an http(s) URL nor an object key"),
        (with("photo", json!("/uploads/portrait.jpg")), "neither an http(s) URL nor an object key"),
        (with("photo", json!("uploads/../tasks/somebody-else/photo")), "segment"),
        (with("photo", json!("./tasks/somebody-else/photo")), "segment"),
        (with("photo", json!("..")), "segment"),
        (with("photo", json!("k".repeat(1_025))), "photo is 1025 bytes long"),
        (with("photo", json!("ж".repeat(513))), "photo is 1026 bytes long"),
        (with("photo", json!(format!("http://host/{}", "p".repeat(4_085)))), "photo is 4097 bytes long"),
        (with("photo", json!("k".repeat(1_024))), "there is no object `kkk"),
        (with("photo", json!("uploads/nobody.jpg")), "there is no object `uploads/nobody.jpg`"),
    ];
    for (input, says) in cases {
        let (kind, message) = stack.run_by_name(&keys::workflow_id("x"), &input).await.unwrap_err();
        assert_eq!(kind, "InvalidInput", "{input}: {message}");
        assert!(message.contains(says), "{input}: {message}");
        assert!(message.len() < 500, "{message}");
    }
    assert_eq!(stack.provider.meter().snapshot().calls, [], "nothing is paid");
}

#[tokio::test]
async fn a_workflow_id_that_is_not_the_tasks_is_refused() {
    let stack = Stack::start().await;
    let (kind, message) = stack.run_by_name("something-else", &json!(a_task().id("y").0)).await.unwrap_err();
    assert_eq!(kind, "InvalidInput");
    assert!(message.contains("`task-y`"), "{message}");
}

#[tokio::test]
async fn a_prompt_of_10_mb_is_refused_before_it_is_sent() {
    let stack = Stack::start().await;
    let error = stack.client.start(&a_task().prompt(&"x".repeat(10 << 20)).0).await.err().unwrap();
    assert!(matches!(error, client::Error::InvalidInput(_)), "{error}");
    assert!(error.to_string().contains("10485760 characters: 32000 at most"), "{error}");

    // Somebody else's client is refused by Temporal itself; up to its limit of 2 MB, by the workflow.
    let raw = |chars: usize| vec![payload("json/plain", format!("\"{}\"", "x".repeat(chars)))];
    let refused = stack.start_with_payloads("task-raw", raw(10 << 20)).await.err().unwrap();
    assert!(
        refused.contains("larger") || refused.contains("size") || refused.contains("exceeds"),
        "{refused}"
    );
    let input = a_task().id("raw").prompt(&"x".repeat(1_500_000));
    let (kind, message) = stack.run_by_name("task-raw", &json!(input.0)).await.unwrap_err();
    assert_eq!(kind, "InvalidInput");
    assert!(message.contains("1500000 characters"), "{message}");
}

#[tokio::test]
async fn a_photo_that_is_none_is_refused_with_what_it_is() {
    let stack = Stack::start().await;
    let serve = |name: &str, bytes: Vec<u8>| stack.provider.serve_photo(name, bytes, "image/jpeg");
    let mut heic = b"\0\0\0\x18ftypheic".to_vec();
    heic.extend([0; 200]);
    let mut small = Vec::new();
    let tiny = image::RgbImage::new(8, 8);
    tiny.write_to(&mut std::io::Cursor::new(&mut small), image::ImageFormat::Png).unwrap();
    let cases = [
        (serve("text", b"hello, I am a text file, not a picture".to_vec()), "text"),
        (serve("html", b"<!DOCTYPE html><html><body>log in</body></html>".to_vec()), "HTML"),
        (serve("empty", vec![]), "0 bytes"),
        (serve("large", vec![0xff; 50 << 20]), "20971520"),
        (serve("cut", portrait()[..portrait().len() / 2].to_vec()), "photo"),
        (serve("heic", heic), "HEIC"),
        (serve("small", small), "8"),
        (stack.provider.serve_status("missing", 404), "404"),
        (stack.provider.serve_status("forbidden", 403), "403"),
    ];
    for (number, (photo, says)) in cases.into_iter().enumerate() {
        let id = format!("photo-{number}");
        let input = a_task().id(&id).photo(&photo);
        let (kind, message) = stack.run_by_name(&keys::workflow_id(&id), &json!(input.0)).await.unwrap_err();
        assert_eq!(kind, "InvalidInput", "{photo}: {message}");
        assert!(message.contains(says), "{photo}: {message}");
        assert_eq!(stack.outcome(&input).await.state, None, "no row");
    }
    assert_eq!(stack.provider.meter().snapshot().calls, [], "nothing is paid");
}

#[tokio::test]
async fn a_key_that_only_the_store_can_refuse_is_refused() {
    let stack = Stack::with().strict_store().start().await;
    let given = a_task().photo(&format!("uploads/{}", "k".repeat(300)));

    let error = stack.result(&stack.begin(&given).await).await.unwrap_err();

    let client::Error::Failed { failure, .. } = &error else { panic!("{error}") };
    assert_eq!(failure.kind, FailureKind::InvalidInput, "{error}");
    assert!(failure.message.contains("the object store refuses the key `uploads/kkk"), "{error}");
    assert_eq!(stack.outcome(&given).await.state, None, "no row");
}

#[tokio::test]
async fn the_operators_wrong_bucket_is_not_the_callers_fault_and_the_task_waits_until_it_is_mended() {
    let wrong = |config: &mut worker::Config| config.storage.bucket = "nowhere".into();
    let mut stack = Stack::with().strict_store().configure(wrong).start().await;
    let given = a_task();
    let task = stack.begin(&given).await;
    stack.wait_until_retried(&task, "prepare").await;

    let why = stack.last_failure(&task, "prepare").await;
    assert!(why.contains(&format!("bucket `nowhere` at {}", stack.store.endpoint())), "{why}");
    assert!(why.contains("NoSuchBucket"), "{why}");
    stack.stop_worker();
    stack.config.storage.bucket = stack.store.bucket().to_owned();
    stack.start_worker();

    assert_eq!(stack.result(&task).await.unwrap().images.len(), 2);
    let expected =
        Outcome { state: Some(TaskState::Completed), rows: 2, objects: 2, missing: vec![], images_billed: 3 };
    assert_eq!(stack.outcome(&given).await, expected);
}

#[tokio::test]
async fn bad_input_can_be_corrected_under_the_same_id() {
    let stack = Stack::start().await;
    let bad = a_task().photo("uploads/nobody.jpg");
    let error = stack.result(&stack.begin(&bad).await).await.unwrap_err();
    assert!(matches!(error, client::Error::Failed { .. }), "{error}");

    let output = stack.run(&bad.clone().photo("uploads/portrait.jpg")).await;

    assert_eq!(output.images.len(), 2);
}

#[tokio::test]
async fn payloads_that_are_no_json_at_all_fail_and_never_hang() {
    let stack = Stack::start().await;
    let surrogate =
        br#"{"task_id":"x","user_id":"u","plan":"free","prompt":"half an emoji \ud83d","photo":"k"}"#;
    let nested = [vec![b'['; 200], vec![b']'; 200]].concat();
    let good = serde_json::to_vec(&json!(a_task().id("x").0)).unwrap();
    let cases = [
        vec![],
        vec![payload("json/plain", good.clone()), payload("json/plain", good)],
        vec![payload("json/plain", surrogate.to_vec())],
        vec![payload("json/plain", b"1e999".to_vec())],
        vec![payload("json/plain", nested)],
        vec![payload("json/plain", b"not json".to_vec())],
        vec![payload("binary/plain", b"\xff\xfe".to_vec())],
        vec![payload("json/plain", b"\"photo?X-Signature=topsecret\"".to_vec())],
    ];
    for payloads in cases {
        let shown = format!("{payloads:?}");
        let (kind, message) = stack.run_with_payloads("task-x", payloads).await.unwrap_err();
        assert_eq!(kind, "InvalidInput", "{shown}: {message}");
        assert!(!message.contains("topsecret") && message.len() < 600, "{message}");
    }
}

#[tokio::test]
async fn prompts_too_long_for_all_their_calls_are_refused() {
    let stack = Stack::with().configure(|config| config.provider.images_per_call = Some(1)).start().await;
    let input = a_task().id("long").plan("pro").prompt(&"ж".repeat(32_000));
    let (kind, message) = stack.run_by_name(&keys::workflow_id("long"), &json!(input.0)).await.unwrap_err();
    assert_eq!(kind, "InvalidInput");
    assert!(message.contains("4480000 bytes over its 70 provider calls"), "{message}");
}
