//! Recorded histories are replayed: a change of the workflow that would break running tasks fails here, not in production.
//!
//! What each history covers stands beside it in `tests/src/paths.rs`; `./test record` records them anew.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::wildcard_enum_match_arm, reason = "Temporal has many events; some tell what was covered")]

use std::collections::BTreeSet;

use prost::Message;
use temporalio_client::WorkflowHistory;
use temporalio_common::protos::temporal::api::enums::v1::EventType;
use temporalio_common::protos::temporal::api::history::v1::History;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};
use tests::PATHS;
use workflows::GenerateImages;
use workflows::types::{GenerateOutput, ImageSource, MissingReason, PrepareOutput, TaskState, Transferred};

fn recorded(name: &str) -> History {
    let file = format!("{}/replay/histories/{name}.bin", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{file}: {error}; run ./test record"));
    History::decode(&bytes[..]).unwrap()
}

/// Replays a history on the workflow as it is now; the failure is told.
async fn replay(history: History) -> Result<(), String> {
    let options = WorkflowReplayerOptions::new().register_workflow::<GenerateImages>().unwrap().build();
    let replayer = WorkflowReplayer::new(options).unwrap();
    let replayed = replayer.replay_workflow(WorkflowHistory::from(history)).await;
    replayed.map(drop).map_err(|error| format!("{error:?}"))
}

#[tokio::test]
async fn every_recorded_history_replays() {
    for path in PATHS {
        let replayed = replay(recorded(path.name)).await;
        assert_eq!(replayed, Ok(()), "{}: {}", path.name, path.covers);
    }
}

#[test]
fn every_history_has_its_path_and_every_path_its_history() {
    let folder = format!("{}/replay/histories", env!("CARGO_MANIFEST_DIR"));
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let paths: BTreeSet<String> = PATHS.iter().map(|path| format!("{}.bin", path.name)).collect();
    assert_eq!(files, paths);
}

/// What the corpus has seen, read from the histories themselves.
fn seen() -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for path in PATHS {
        for event in recorded(path.name).events {
            let kind = event.event_type();
            match event.attributes {
                Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) => {
                    let id = scheduled.activity_id;
                    let step = scheduled.activity_type.unwrap_or_default().name;
                    let again = if id.contains('.') { " again" } else { "" };
                    seen.insert(format!("{step}{again}"));
                }
                Some(Attributes::ActivityTaskCompletedEventAttributes(completed)) => {
                    let payloads = completed.result.unwrap_or_default().payloads;
                    let text = String::from_utf8_lossy(&payloads[0].data).into_owned();
                    for status in ["ready", "finished", "generated", "rejected", "stored", "gone", "unusable"]
                    {
                        if text.contains(&format!(r#""status":"{status}""#)) {
                            seen.insert(format!("status {status}"));
                        }
                    }
                    if text.contains("staging_key") {
                        seen.insert("staging key".into());
                    }
                }
                Some(Attributes::ActivityTaskStartedEventAttributes(started)) if started.attempt > 1 => {
                    seen.insert("retry".into());
                }
                Some(Attributes::ActivityTaskFailedEventAttributes(_)) => {
                    seen.insert("activity failed".into());
                }
                Some(Attributes::ActivityTaskCanceledEventAttributes(_)) => {
                    seen.insert("activity cancelled".into());
                }
                Some(
                    Attributes::WorkflowExecutionCompletedEventAttributes(_)
                    | Attributes::WorkflowExecutionFailedEventAttributes(_)
                    | Attributes::WorkflowExecutionCanceledEventAttributes(_),
                ) => {
                    seen.insert(format!("closed {kind:?}").replace("WorkflowExecution", ""));
                }
                _ => {}
            }
        }
        // What was recorded, as `insert` was told.
        let bytes = recorded(path.name).encode_to_vec();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for state in ENDS {
            if text.contains(&format!(r#""state":"{}""#, state.as_str())) {
                seen.insert(format!("state {}", state.as_str()));
            }
        }
        for reason in REASONS {
            let name = serde_json::to_string(&reason).unwrap();
            if text.contains(&format!(r#""reason":{name}"#)) {
                seen.insert(format!("reason {name}"));
            }
        }
    }
    seen
}

#[test]
fn every_branch_of_the_workflow_is_covered() {
    let seen = seen();
    for reason in REASONS {
        assert!(
            seen.contains(&format!("reason {}", serde_json::to_string(&reason).unwrap())),
            "{reason:?}: {seen:?}"
        );
    }
    for state in ENDS {
        assert!(seen.contains(&format!("state {}", state.as_str())), "{state:?}: {seen:?}");
    }
    insta::assert_snapshot!(seen.into_iter().collect::<Vec<_>>().join("\n"));
}

const REASONS: [MissingReason; 6] = [
    MissingReason::Rejected,
    MissingReason::ShortAnswer,
    MissingReason::Gone,
    MissingReason::Cancelled,
    MissingReason::Ambiguous,
    MissingReason::Failed,
];
const ENDS: [TaskState; 4] =
    [TaskState::Completed, TaskState::Partial, TaskState::Cancelled, TaskState::Failed];

/// Doesn't compile with a new reason, state, status or source: record a path that reaches it, and add it to what is looked for.
const _: fn(MissingReason, TaskState, Transferred, GenerateOutput, PrepareOutput, ImageSource) =
    |reason, state, transferred, output, prepared, source| {
        match reason {
            MissingReason::Rejected
            | MissingReason::ShortAnswer
            | MissingReason::Gone
            | MissingReason::Cancelled
            | MissingReason::Ambiguous
            | MissingReason::Failed => {}
        }
        match state {
            TaskState::Running
            | TaskState::Completed
            | TaskState::Partial
            | TaskState::Cancelled
            | TaskState::Failed => {}
        }
        match transferred {
            Transferred::Stored(_) | Transferred::Gone { .. } | Transferred::Unusable { .. } => {}
        }
        match output {
            GenerateOutput::Generated { .. } | GenerateOutput::Rejected { .. } => {}
        }
        match prepared {
            PrepareOutput::Ready(_) | PrepareOutput::Finished { .. } => {}
        }
        match source {
            ImageSource::Url(_) | ImageSource::StagingKey(_) => {}
        }
    };

/// The gate is proven to fail: a history that differs in one thing is one of a workflow that was changed in that thing.
async fn is_refused(change: impl FnOnce(&mut History)) {
    let mut history = recorded("start");
    change(&mut history);
    let refused = replay(history).await.expect_err("the change passed unnoticed");
    assert!(refused.contains("Nondeterminism"), "{refused}");
}

#[tokio::test]
async fn a_changed_order_of_batches_fails() {
    is_refused(|history| {
        let mut ids: Vec<&mut String> = Vec::new();
        for event in &mut history.events {
            if let Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) = &mut event.attributes
                && scheduled.activity_id.starts_with("generate-")
            {
                ids.push(&mut scheduled.activity_id);
            }
        }
        let (first, rest) = ids.split_first_mut().unwrap();
        std::mem::swap(*first, rest[0]);
    })
    .await;
}

#[tokio::test]
async fn a_changed_wire_name_fails() {
    is_refused(|history| {
        for event in &mut history.events {
            if let Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) = &mut event.attributes
                && scheduled.activity_id == "beautify"
            {
                scheduled.activity_type.as_mut().unwrap().name = "retouch".into();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_added_activity_fails() {
    // A history without `beautify` is one of a workflow before that step was added.
    is_refused(|history| {
        let scheduled = history.events.iter().position(|event| {
            matches!(&event.attributes, Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled))
                if scheduled.activity_id == "beautify")
        });
        history.events[scheduled.unwrap()].attributes = history
            .events
            .iter()
            .find(|event| event.event_type() == EventType::ActivityTaskScheduled)
            .and_then(|event| event.attributes.clone());
    })
    .await;
}
