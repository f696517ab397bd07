//! Photos by URL: fetched safely, or not at all.

use prost::Message;
use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use tests::{Stack, a_task, portrait};
use workflows::failure::FailureKind;

#[tokio::test]
async fn a_photo_may_be_a_url_behind_a_redirect() {
    let stack = Stack::start().await;
    let url = stack.provider.serve_photo("ann.jpg", portrait(), "image/jpeg");
    let redirect = stack.provider.serve_redirect("moved", &url);

    let output = stack.run(&a_task().photo(&redirect)).await;

    assert_eq!(output.images.len(), 2);
    assert_eq!(stack.provider.meter().snapshot().photo_hits["ann.jpg"], 1);
}

#[tokio::test]
async fn a_photos_host_that_fails_is_tried_again() {
    let stack = Stack::start().await;
    let url = stack.provider.serve_status("flaky", 503);
    let task = stack.begin(&a_task().photo(&url)).await;
    stack.provider.meter().wait_until(|meter| !meter.photo_hits.is_empty()).await.unwrap();

    stack.provider.serve_photo("flaky", portrait(), "image/jpeg");

    assert_eq!(stack.result(&task).await.unwrap().images.len(), 2);
}

#[tokio::test]
async fn unsafe_addresses_are_never_connected_to() {
    let stack = Stack::with().configure(|config| config.fetch.allow_hosts = vec![]).start().await;
    let own = stack.provider.serve_photo("secret", portrait(), "image/jpeg");
    let port = own.rsplit_once(':').unwrap().1.split('/').next().unwrap().to_owned();
    let urls = [
        own,
        format!("http://localhost:{port}/photos/secret"),
        "http://127.0.0.1/photos/secret".into(),
        "http://2130706433/".into(),
        "http://0x7f.1/".into(),
        "http://[::1]/".into(),
        "http://[::ffff:127.0.0.1]/".into(),
        "http://10.0.0.1/".into(),
        "http://192.168.1.1/".into(),
        "http://169.254.169.254/latest/meta-data/".into(),
        "http://[fd00::1]/".into(),
        "http://[fe80::1]/".into(),
        "http://user:hunter2@example.com/".into(),
        "http://example.com:22/".into(),
    ];
    for (number, url) in urls.iter().enumerate() {
        let task = stack.begin(&a_task().id(&format!("unsafe-{number}")).photo(url)).await;
        let error = stack.result(&task).await.unwrap_err();
        let client::Error::Failed { failure, .. } = &error else { panic!("{url}: {error}") };
        assert_eq!(failure.kind, FailureKind::InvalidInput, "{url}: {error}");
        assert!(!failure.message.contains("hunter2"), "{error}");
    }
    let meter = stack.provider.meter().snapshot();
    assert_eq!((meter.photo_hits.len(), meter.calls.len()), (0, 0), "{meter}");
}

#[tokio::test]
async fn a_redirect_into_the_private_network_is_refused() {
    let stack = Stack::start().await;
    let redirect = stack.provider.serve_redirect("evil", "http://169.254.169.254/latest/meta-data/");
    let loop_back = stack.provider.url() + "/photos/loop";
    let looped = stack.provider.serve_redirect("loop", &loop_back);

    for (id, url) in [("evil", redirect), ("loop", looped)] {
        let task = stack.begin(&a_task().id(id).photo(&url)).await;
        let error = stack.result(&task).await.unwrap_err();
        let client::Error::Failed { failure, .. } = &error else { panic!("{error}") };
        assert_eq!(failure.kind, FailureKind::InvalidInput, "{error}");
    }
    assert_eq!(stack.provider.meter().snapshot().calls, []);
}

#[tokio::test]
async fn secrets_stay_out_of_the_history() {
    let stack = Stack::start().await;
    let url = stack.provider.serve_photo("signed", portrait(), "image/jpeg") + "?X-Signature=topsecret";
    let task = stack.begin(&a_task().photo(&url)).await;
    stack.result(&task).await.unwrap();
    let broken = stack
        .begin(&a_task().photo(&(stack.provider.serve_status("gone", 404) + "?X-Signature=topsecret")))
        .await;
    let _ = stack.result(&broken).await.unwrap_err();

    let secrets =
        [stack.provider.settings().api_key, stack.store.secret_key().to_owned(), "topsecret".into()];
    for task in [&task, &broken] {
        // The first event is the input, the fifth hands it to `prepare`, and another to `insert`: the caller's own, each time.
        let history = stack.history(task).await;
        assert!(history.len() > 6);
        let is_handed_on = |event: &HistoryEvent| {
            [1, 5].contains(&event.event_id)
                || matches!(&event.attributes, Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled))
                            if scheduled.activity_id == "insert")
        };
        for event in history.iter().filter(|event| !is_handed_on(event)) {
            let bytes = event.encode_to_vec();
            for secret in &secrets {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "`{secret}` is in {event:?}");
            }
        }
    }
}
