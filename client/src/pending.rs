//! Activities that a task's workflow waits for, as Temporal describes them.

use std::time::SystemTime;

use temporalio_common::protos::temporal::api::enums::v1::PendingActivityState;
use temporalio_common::protos::temporal::api::workflow::v1::PendingActivityInfo;
use workflows::pending::{Pending, PendingState};

/// Reads a description of an activity.
pub(crate) fn pending(info: PendingActivityInfo) -> Pending {
    let is_queued = info.state() == PendingActivityState::Scheduled;
    let next = info.next_attempt_schedule_time.and_then(|time| time.try_into().ok());
    let state = match next.filter(|at| *at > SystemTime::now()) {
        Some(at) if is_queued => PendingState::TriedAgain(at),
        _ if is_queued => PendingState::Queued,
        _ => PendingState::Started,
    };
    Pending {
        activity: info.activity_type.map(|kind| kind.name).unwrap_or_default(),
        state,
        failure: info.last_failure.map(|failure| failure.message),
    }
}
