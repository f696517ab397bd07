//! The wire: names and JSON of everything another program sees. A change here breaks callers, recorded histories, or both.
#![allow(clippy::unwrap_used, reason = "tests")]

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use temporalio_common::data_converters::{
    PayloadConverter, SerializationContext, SerializationContextData, TemporalDeserializable,
};
use temporalio_common::protos::temporal::api::common::v1::Payload;
use workflows::failure::FailureKind;
use workflows::keys::CallName;
use workflows::types::*;
use workflows::{Checked, keys, task_queue};

/// The JSON of a value, having checked that it comes back the same.
fn wire<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: T) -> Value {
    let json = serde_json::to_value(&value).unwrap();
    assert_eq!(serde_json::from_value::<T>(json.clone()).unwrap(), value);
    json
}

fn input() -> GenerateImagesInput {
    GenerateImagesInput {
        task_id: "order-1".into(),
        user_id: "ann".into(),
        plan: "pro".into(),
        prompt: Some("in a garden".into()),
        prompts: vec![],
        photo: "uploads/ann.jpg".into(),
    }
}

fn object() -> StoredObject {
    StoredObject {
        object_key: "tasks/order-1/images/000".into(),
        size_bytes: 51_200,
        content_type: "image/png".into(),
        width: 1024,
        height: 768,
        sha256: "ab".repeat(32),
    }
}

fn output() -> GenerateImagesOutput {
    GenerateImagesOutput {
        task_id: "order-1".into(),
        state: TaskState::Partial,
        images_planned: 2,
        images: vec![StoredImage { index: 0, prompt_index: 0, object: object() }],
        missing: vec![MissingImage {
            index: 1,
            prompt_index: 0,
            reason: MissingReason::Rejected,
            message: "HTTP 400 moderation_blocked".into(),
        }],
    }
}

#[test]
fn the_list_of_activities_is_complete() {
    let declared = include_str!("../../workflows/src/activities.rs")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("#[activity(name = \"")?.strip_suffix("\")]"));
    use workflows::activities::{HOUSEKEEPING, NAMES};
    assert_eq!(declared.collect::<Vec<_>>(), [&NAMES[..], &HOUSEKEEPING[..]].concat());
}

#[test]
fn names_are_frozen() {
    let failures: Vec<Value> = FailureKind::ALL.map(wire).to_vec();
    let states = [
        TaskState::Running,
        TaskState::Completed,
        TaskState::Partial,
        TaskState::Cancelled,
        TaskState::Failed,
    ];
    for state in states {
        assert_eq!(wire(state), json!(state.as_str()));
        assert_eq!(TaskState::parse(state.as_str()), Some(state));
    }
    for kind in FailureKind::ALL {
        assert_eq!(wire(kind), json!(kind.as_str()));
        assert_eq!(FailureKind::parse(kind.as_str()), Some(kind));
    }
    let calls = [CallName::beautify(1), CallName::beautify(2), CallName::batch(3, 1), CallName::batch(3, 2)];
    let calls = calls.map(|name| name.to_string());
    use MissingReason::{Ambiguous, Cancelled, Failed, Gone, Rejected, ShortAnswer};
    insta::assert_json_snapshot!(
        "names",
        json!({
            "task_queues": [task_queue::TASKS, task_queue::generate("default"), task_queue::TRANSFER],
            "workflow_id": keys::workflow_id("order-1"),
            "objects": [
                keys::photo("order-1"), keys::beautified("order-1"), keys::image("order-1", 7, 1),
                keys::image("order-1", 999, 2), keys::staged("order-1", CallName::batch(3, 2), "0123456789abcdef", 4),
            ],
            "idempotency_key": keys::idempotency("order-1", CallName::batch(3, 2), &"0123456789abcdef".repeat(4)),
            "lanes": [keys::plan_lane("pro"), keys::user_lane(&"0123456789abcdef".repeat(4))],
            "calls": calls,
            "failures": failures,
            "states": states.map(TaskState::as_str),
            "missing": [Rejected, ShortAnswer, Gone, Cancelled, Ambiguous, Failed],
            "stages": [Stage::Prepare, Stage::Beautify, Stage::Generate, Stage::Insert, Stage::Done],
            "image_states": [ImageState::Queued, ImageState::Generated, ImageState::Stored, ImageState::Missing],
        })
    );
}

#[test]
fn the_workflow_s_types_are_frozen() {
    let several = GenerateImagesInput { prompt: None, prompts: vec!["a".into(), "b".into()], ..input() };
    let image = ImageProgress {
        index: 0,
        state: ImageState::Stored,
        object_key: Some("tasks/order-1/images/000".into()),
        reason: None,
    };
    let missing = ImageProgress {
        index: 1,
        state: ImageState::Missing,
        object_key: None,
        reason: Some(MissingReason::Gone),
    };
    insta::assert_json_snapshot!(
        "workflow",
        json!({
            "input": wire(input()),
            "input_with_prompts": wire(several),
            "output": wire(output()),
            "progress": wire(Progress {
                stage: Stage::Generate,
                images_planned: 2,
                images_stored: 1,
                images_missing: 1,
                batches: 1,
                batches_generated: 1,
                batches_done: 0,
                calls_answered: 2,
                images: vec![image, missing],
            }),
        })
    );
}

#[test]
fn the_activities_types_are_frozen() {
    let plan = PlanSpec { name: "pro".into(), images: 70, batch_size: 5 };
    let lane = Lane { key: keys::plan_lane("pro"), weight: 5.0 };
    let ready = PrepareOutput::Ready(Prepared {
        plan,
        route: "default".into(),
        photo_key: "tasks/order-1/photo".into(),
        lane,
    });
    let failure = TaskFailure { kind: FailureKind::Malformed, message: "HTTP 400".into() };
    let url = ImageSource::Url("https://cdn.example/1.png".into());
    let staged = ImageSource::StagingKey("staging/order-1/3/0123456789abcdef/0".into());
    insta::assert_json_snapshot!(
        "activities",
        json!({
            "prepare": [
                wire(PrepareInput { request: input() }),
                wire(ready),
                wire(PrepareOutput::Finished { output: output(), failure: None }),
                wire(PrepareOutput::Finished { output: output(), failure: Some(failure.clone()) }),
            ],
            "beautify": wire(BeautifyInput {
                task_id: "order-1".into(),
                user_id: "ann".into(),
                plan: "pro".into(),
                call_number: 1,
                photo_key: "tasks/order-1/photo".into(),
            }),
            "generate": [
                wire(GenerateInput {
                    task_id: "order-1".into(),
                    user_id: "ann".into(),
                    plan: "pro".into(),
                    batch: 3,
                    call_number: 1,
                    images: 5,
                    prompt: "in a garden".into(),
                    reference_key: "tasks/order-1/beautified".into(),
                }),
                wire(GenerateOutput::Generated {
                    images: vec![url.clone(), staged],
                    request_id: Some("req-1".into()),
                }),
                wire(GenerateOutput::Rejected { message: "moderation_blocked".into(), request_id: None }),
            ],
            "transfer": [
                wire(TransferInput {
                    task_id: "order-1".into(),
                    images: vec![Transfer { source: url, object_key: "tasks/order-1/images/000".into() }],
                }),
                wire(TransferOutput {
                    images: vec![Transferred::Stored(object()), Transferred::Gone { message: "HTTP 404".into() }, Transferred::Unusable { message: "too large".into() }],
                }),
            ],
            "insert": [
                wire(InsertInput { output: output(), failure: None, request: input() }),
                wire(InsertInput { output: output(), failure: Some(failure.clone()), request: input() }),
                wire(InsertOutput { rows: 1, recorded: None }),
                wire(InsertOutput { rows: 1, recorded: Some(TaskEnd { output: output(), failure: Some(failure) }) }),
            ],
        })
    );
}

/// The input of a workflow or an activity, as decoded from this JSON.
fn decoded<T: DeserializeOwned>(json: &Value) -> Checked<T> {
    let payload = Payload { data: serde_json::to_vec(json).unwrap(), ..Payload::default() };
    let converter = PayloadConverter::default();
    let context = SerializationContext::new(&SerializationContextData::None, &converter);
    Checked::from_payloads(&context, vec![payload]).unwrap()
}

/// The object is an input, and the array of the same values isn't.
fn only_objects<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: T, by_position: Value) {
    assert_eq!(decoded::<T>(&json!(value)), Checked::Decoded(value));
    for other in [by_position, json!([]), json!("x"), json!(1), json!(null)] {
        let Checked::Undecodable(why) = decoded::<T>(&other) else { panic!("{other} was taken") };
        assert!(why.contains("expected an object"), "{other}: {why}");
    }
}

#[test]
fn only_objects_are_input() {
    let by_position = json!(["order-1", "ann", "pro", "in a garden", [], "uploads/ann.jpg"]);
    only_objects(input(), by_position.clone());
    only_objects(PrepareInput { request: input() }, json!([input()]));
    let (task_id, photo_key) = ("order-1".to_owned(), "tasks/order-1/photo".to_owned());
    let (user_id, plan) = ("ann".to_owned(), "pro".to_owned());
    let beautify = BeautifyInput {
        task_id: task_id.clone(),
        user_id: user_id.clone(),
        plan: plan.clone(),
        call_number: 1,
        photo_key,
    };
    only_objects(beautify, json!(["order-1", "ann", "pro", 1, "tasks/order-1/photo"]));
    let (prompt, reference_key) = ("p".to_owned(), "k".to_owned());
    let generate = GenerateInput {
        task_id: task_id.clone(),
        user_id,
        plan,
        batch: 3,
        call_number: 1,
        images: 5,
        prompt,
        reference_key,
    };
    only_objects(generate, json!(["order-1", "ann", "pro", 3, 1, 5, "p", "k"]));
    only_objects(TransferInput { task_id, images: vec![] }, json!(["order-1", []]));
    only_objects(
        InsertInput { output: output(), failure: None, request: input() },
        json!([output(), null, input()]),
    );

    // However it is read, and wherever it stands.
    for nested in [by_position, json!({"request": ["order-1", "ann", "pro", "p", [], "k"]})] {
        assert!(serde_json::from_value::<GenerateImagesInput>(nested.clone()).is_err(), "{nested}");
        assert!(serde_json::from_value::<PrepareInput>(nested.clone()).is_err(), "{nested}");
    }
}

#[test]
fn reconcile_s_types_are_frozen() {
    use workflows::reconcile::*;
    let mut output = ReconcileOutput {
        dry_run: true,
        looked_at: LookedAt { running_tasks: 1, calls: 2, images: 3, objects: 4 },
        found: vec![],
    };
    Finding::ALL.into_iter().for_each(|finding| output.add(finding, "an example".into()));
    let defaults: ReconcileInput = serde_json::from_value(json!({})).unwrap();
    assert_eq!(defaults, ReconcileInput::default());
    use Step::{Calls, Done, Objects, Results, Staged, Tasks};
    let steps = [Tasks, Calls, Results, Objects, Staged, Done].map(wire);
    insta::assert_json_snapshot!(
        "reconcile",
        json!({
            "schedule_id": SCHEDULE_ID,
            "input": wire(defaults),
            "output": wire(output.clone()),
            "heartbeat": wire(ReconcileProgress { step: Objects, after: "tasks/a/photo".into(), output: ReconcileOutput::default() }),
            "steps": steps,
        })
    );
}

#[test]
fn heartbeat_details_are_frozen() {
    use workflows::heartbeats::{MissingFile, PhotoTries, TransferProgress};
    let missing = Some(MissingFile { answers: 2, since_ms: 1_500 });
    insta::assert_json_snapshot!(
        "heartbeats",
        json!({
            "prepare": wire(PhotoTries { fetches: 1, decodings: 2 }),
            "transfer": [
                wire(TransferProgress { transferred: Some(Transferred::Stored(object())), broken: 1, missing: None }),
                wire(TransferProgress { transferred: None, broken: 0, missing }),
            ],
        })
    );
}

#[test]
fn a_result_of_prepare_from_before_there_were_lanes_is_still_read() {
    let old = json!({
        "status": "ready", "route": "default", "photo_key": "tasks/order-1/photo",
        "plan": { "name": "pro", "images": 70, "batch_size": 5, "priority": 3, "weight": 1.0 },
    });
    let PrepareOutput::Ready(prepared) = serde_json::from_value(old).unwrap() else { panic!("not ready") };
    assert_eq!(prepared.lane, Lane::default());
}

#[test]
fn the_longest_lanes_fit_into_a_fairness_key() {
    let plan = "p".repeat(keys::MAX_PLAN_BYTES);
    assert_eq!(keys::plan_lane(&plan).len(), 64);
    assert!(keys::user_lane(&"f".repeat(64)).len() <= 64);
}
