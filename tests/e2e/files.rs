//! The files behind an answer: not there yet, not there any more, of another kind, or odd and whole nevertheless.

use chaos::Disruptions;
use sandbox::{Meter, ProviderFault, Rule};
use tests::{Outcome, Stack, a_task};
use worker::config::Role;
use workflows::keys;
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

/// How many images each call asked for.
fn asked(meter: &Meter) -> Vec<u32> {
    meter.calls.iter().map(|call| call.n).collect()
}

#[tokio::test]
async fn a_url_that_answers_404_for_a_moment_costs_no_call() {
    for status in [404, 403] {
        let stack = Stack::start().await;
        stack.provider.faults().add(Rule::new(ProviderFault::DownloadStatus { status }).image(1).times(3));
        let task = a_task();

        stack.run(&task).await;

        assert_eq!(stack.outcome(&task).await, completed(2, 3), "{status}");
        let meter = stack.provider.meter().snapshot();
        assert_eq!((asked(&meter), meter.downloads), (vec![1, 2], 2 + 3), "{status}");
    }
}

#[tokio::test]
async fn an_image_whose_url_stays_dead_for_half_a_minute_is_made_again_alone() {
    let stack = Stack::start().await;
    // The second image of the first call: the call that makes it again has only one.
    stack.provider.faults().add(Rule::new(ProviderFault::DownloadStatus { status: 404 }).image(1));
    let task = a_task();

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(2, 4));
    let meter = stack.provider.meter().snapshot();
    assert_eq!(asked(&meter), [1, 2, 1]);
    let dead: Vec<u64> = meter
        .download_log
        .iter()
        .filter(|download| download.status == Some(404))
        .map(|download| download.started_ms)
        .collect();
    assert!(dead.len() >= 3, "{dead:?}");
    let waited = meter.calls[2].started_ms - dead[0];
    assert!((30_000..60_000).contains(&waited), "{waited} ms after the first answer: {dead:?}");
}

#[tokio::test]
async fn a_staged_object_that_the_store_misses_for_a_while_costs_no_call() {
    let mut stack = Stack::with()
        .openai()
        .configure(|config| config.worker.roles = vec![Role::Tasks, Role::Generate])
        .start()
        .await;
    let given = a_task();
    let task = stack.begin(&given).await;
    stack.provider.meter().wait_until(|meter| meter.billed_calls == 1 && meter.in_flight == 0).await.unwrap();
    stack.wait_until_scheduled(&task, "transfer-beautify").await;
    let staged = stack.storage.list(&keys::staging_prefix(task.task_id())).await.unwrap().remove(0).0;
    let bytes = stack.storage.get(&staged, 1 << 30).await.unwrap();
    stack.storage.delete(&staged).await.unwrap();
    stack.stop_worker();
    stack.config.worker.roles = vec![Role::Tasks, Role::Generate, Role::Transfer];
    stack.start_worker();
    stack.wait_until_retried(&task, "transfer-beautify").await;

    stack.storage.put(&staged, "application/octet-stream", bytes).await.unwrap();

    stack.result(&task).await.unwrap();
    assert_eq!(stack.outcome(&given).await, completed(2, 3));
}

#[tokio::test]
async fn a_call_that_is_made_again_stages_under_keys_of_its_own() {
    let mut stack = Stack::with()
        .openai()
        .configure(|config| config.worker.roles = vec![Role::Tasks, Role::Generate])
        .start()
        .await;
    let given = a_task();
    let staging = keys::staging_prefix(&given.0.task_id);
    let task = stack.begin(&given).await;
    stack.wait_until_scheduled(&task, "transfer-beautify").await;
    let first = stack.storage.list(&staging).await.unwrap();
    stack.terminate(&task).await;
    stack.stop_worker();
    // The same task makes the same call with another request.
    stack.config.beautify.prompt = "Retouch it less.".into();
    stack.start_worker();

    let workflow_id = keys::workflow_id(&given.0.task_id);
    let input = serde_json::json!(given.0);
    let staged_again = async {
        stack.provider.meter().wait_until(|meter| meter.billed_calls == 2).await.unwrap();
        stack.wait_until_scheduled(&task, "transfer-beautify").await;
        stack.storage.list(&staging).await.unwrap()
    };
    let both = tokio::select! {
        ended = stack.run_by_name(&workflow_id, &input) => panic!("no worker transfers: {ended:?}"),
        both = staged_again => both,
    };

    assert_eq!((first.len(), both.len()), (1, 2), "{both:?}");
    assert!(both.contains(&first[0]), "{first:?} {both:?}");
}

#[tokio::test]
async fn a_file_of_a_kind_that_is_not_stored_is_downloaded_once_and_not_paid_for_again() {
    let stack = Stack::start().await;
    stack.provider.faults().add(Rule::new(ProviderFault::DownloadGif).prompt("a garden"));
    let task = a_task().plan("start").prompts(["a garden", "a beach"]);

    let output = stack.run(&task).await;

    let expected = Outcome {
        state: Some(TaskState::Partial),
        rows: 15,
        objects: 15,
        missing: vec![(MissingReason::Failed, 15)],
        images_billed: 31,
    };
    assert_eq!(stack.outcome(&task).await, expected);
    assert!(output.missing.iter().all(|image| image.message.contains("GIF isn't supported")), "{output:?}");
    let meter = stack.provider.meter().snapshot();
    assert_eq!((meter.calls.len(), meter.downloads), (7, 30));
}

#[tokio::test]
async fn a_web_page_in_an_images_place_may_pass() {
    let stack = Stack::start().await;
    stack.provider.faults().add(Rule::new(ProviderFault::DownloadNotAnImage).image(0).times(2));
    let task = a_task();

    stack.run(&task).await;

    assert_eq!(stack.outcome(&task).await, completed(2, 3));
    assert_eq!(stack.provider.meter().snapshot().downloads, 2 + 2);
}

#[tokio::test]
async fn a_file_that_lacks_only_its_end_is_stored_as_it_comes() {
    for format in ["png", "jpeg", "webp"] {
        let stack = Stack::with()
            .configure(move |config| config.provider.output_format = format.into())
            .start()
            .await;
        stack.provider.faults().add(Rule::new(ProviderFault::DownloadWithoutEnd));
        let task = a_task();

        let output = stack.run(&task).await;

        // Rows, objects and the bill agree. Not all decoders that tests use take such a file.
        stack.assert_invariants(&[&task], &Disruptions::default()).await;
        assert_eq!((output.state, output.images.len()), (TaskState::Completed, 2), "{format}");
        assert_eq!(stack.provider.bill().images, 3, "{format}");
        let content_type = format!("image/{format}");
        assert!(output.images.iter().all(|image| image.object.content_type == content_type), "{output:?}");
        assert_eq!(stack.provider.meter().snapshot().downloads, 2, "{format}");
    }
}

#[tokio::test]
async fn a_file_cut_within_its_pixels_is_made_again() {
    for format in ["png", "jpeg", "webp"] {
        let stack = Stack::with()
            .configure(move |config| config.provider.output_format = format.into())
            .start()
            .await;
        stack.provider.faults().add(Rule::new(ProviderFault::Truncated { keep_bytes: 900 }).image(1));
        let task = a_task();

        stack.run(&task).await;

        assert_eq!(stack.outcome(&task).await, completed(2, 4), "{format}");
        assert_eq!(stack.provider.meter().snapshot().downloads, 1 + 3 + 1, "{format}");
    }
}
