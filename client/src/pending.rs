//! What a task's workflow waits for, as Temporal knows it.

use std::time::SystemTime;

use temporalio_common::protos::temporal::api::enums::v1::PendingActivityState;
use temporalio_common::protos::temporal::api::workflow::v1::PendingActivityInfo;

/// An activity that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its type, such as `generate`.
    pub activity: String,
    /// Where it is.
    pub state: PendingState,
    /// What its last attempt failed with.
    pub failure: Option<String>,
}

/// Where an activity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingState {
    /// In the task queue.
    Queued,
    /// With a worker.
    Started,
    /// Its last attempt failed; the next one is put into the task queue then.
    TriedAgain(SystemTime),
}

impl From<PendingActivityInfo> for Pending {
    fn from(info: PendingActivityInfo) -> Self {
        let is_queued = info.state() == PendingActivityState::Scheduled;
        let next = info.next_attempt_schedule_time.and_then(|time| time.try_into().ok());
        let state = match next.filter(|at| *at > SystemTime::now()) {
            Some(at) if is_queued => PendingState::TriedAgain(at),
            _ if is_queued => PendingState::Queued,
            _ => PendingState::Started,
        };
        Self {
            activity: info.activity_type.map(|kind| kind.name).unwrap_or_default(),
            state,
            failure: info.last_failure.map(|failure| failure.message),
        }
    }
}
