//! Activities that a task's workflow waits for, as Temporal knows them.

use std::time::SystemTime;

/// An activity that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Type of the activity, such as `generate`.
    pub activity: String,
    /// State of the activity now.
    pub state: PendingState,
    /// Message of the last attempt's failure, if an attempt has failed.
    pub failure: Option<String>,
}

/// State of an activity that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingState {
    /// The activity waits in its task queue.
    Queued,
    /// A worker executes the activity.
    Started,
    /// The last attempt failed, and the next one enters the task queue at this time.
    TriedAgain(SystemTime),
}
