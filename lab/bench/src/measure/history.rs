//! What Temporal recorded of a task.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use prost::Message;
use temporalio_common::protos::temporal::api::enums::v1::EventType;
use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use workflows::keys::CallName;
use workflows::{GenerateImages, keys};

/// One task's history, in sum. Times are milliseconds since 1970, of the server's clock.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct History {
    pub(crate) events: u64,
    /// As protobuf, which is how it is stored.
    pub(crate) bytes: u64,
    /// When the workflow was closed, however.
    pub(crate) closed_ms: f64,
    pub(crate) completed: bool,
    /// When each paid call was scheduled, by its name within the task, such as `beautify` or `3`.
    pub(crate) wanted_ms: BTreeMap<String, f64>,
}

/// Reads the history of a closed task.
pub(crate) async fn read(temporal: &temporalio_client::Client, task_id: &str) -> Result<History> {
    let handle = temporal.get_workflow_handle::<GenerateImages>(keys::workflow_id(task_id));
    let events = handle.fetch_history(Default::default()).into_events().await;
    let events = events.with_context(|| format!("reading the history of task {task_id}"))?;
    Ok(summarise(&events))
}

fn summarise(events: &[HistoryEvent]) -> History {
    let mut history = History { events: events.len() as u64, ..History::default() };
    for event in events {
        history.bytes += event.encoded_len() as u64;
        let at_ms = event
            .event_time
            .as_ref()
            .map_or(0.0, |time| time.seconds as f64 * 1e3 + f64::from(time.nanos) / 1e6);
        history.closed_ms = at_ms;
        history.completed = event.event_type() == EventType::WorkflowExecutionCompleted;
        if let Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) = &event.attributes {
            let queue = scheduled.task_queue.as_ref().map_or("", |queue| queue.name.as_str());
            if queue.starts_with("generate.")
                && let Some(call) = CallName::of_activity(&scheduled.activity_id)
            {
                history.wanted_ms.insert(call.to_string(), at_ms);
            }
        }
    }
    history
}
