//! Reads from a run's history how much of the task the database has.

use std::collections::BTreeSet;

use futures::{Stream, StreamExt};
use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use workflows::types::PrepareOutput;

/// The trace of a run in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trace {
    /// Nothing, because `prepare` never succeeded. An earlier run may have left a row, which the
    /// next run's `prepare` compares.
    Nothing,
    /// A row that says `running`, because `prepare` succeeded and `insert` did not.
    Row,
    /// A row with the task's end, which is the answer to every further start.
    End,
}

impl Trace {
    /// Reads a run's history, up to the event that decides.
    pub(crate) async fn of<E>(
        mut history: impl Stream<Item = Result<HistoryEvent, E>> + Unpin,
    ) -> Result<Self, E> {
        let (mut prepares, mut inserts) = (BTreeSet::new(), BTreeSet::new());
        let mut trace = Self::Nothing;
        while let Some(event) = history.next().await {
            let event = event?;
            if let Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) = &event.attributes {
                match scheduled.activity_type.as_ref().map(|kind| kind.name.as_str()) {
                    Some("prepare") => prepares.insert(event.event_id),
                    Some("insert") => inserts.insert(event.event_id),
                    _ => false,
                };
            } else if let Some(Attributes::ActivityTaskCompletedEventAttributes(completed)) = event.attributes
            {
                if inserts.contains(&completed.scheduled_event_id) {
                    return Ok(Self::End);
                }
                if prepares.contains(&completed.scheduled_event_id) {
                    let payload = completed.result.and_then(|result| result.payloads.into_iter().next());
                    let output = payload.and_then(|payload| serde_json::from_slice(&payload.data).ok());
                    trace = match output {
                        Some(PrepareOutput::Finished { .. }) => Self::End,
                        Some(PrepareOutput::Ready(_)) | None => Self::Row,
                    };
                }
            }
        }
        Ok(trace)
    }
}
