//! Pure: what a load takes at least, and what it takes when nothing is lost between two calls. All times are provider time.
//!
//! A task is its retouching (one call, whose answer brings the image along), then its batches (one call each, all wanted at
//! once), and the downloads of each batch as soon as it is there.

mod bound;
mod queue;
mod schedule;

pub use bound::{alone_ms, makespan_ms};
pub use schedule::{Outage, Schedule, TaskTimes, schedule};

/// What the provider and the workers allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Provider calls at once.
    pub calls: u32,
    /// Images that move at once.
    pub transfers: u32,
    /// Images of a batch, at most.
    pub batch_size: u32,
    /// What a call takes.
    pub call_ms: u64,
    /// What the download of an image takes.
    pub download_ms: u64,
}

/// A task as far as the model cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// When it is there.
    pub at_ms: u64,
    /// How many images it wants; at least one.
    pub images: u32,
    /// Its plan's lane.
    pub lane: PlanLane,
    /// Whose it is: a user's further tasks have a lane of their own.
    pub user: u32,
}

/// Where a plan's tasks wait, as far as they don't wait in their user's own lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLane {
    /// Tells the plans apart.
    pub plan: u32,
    /// What a call adds to the lane's pass: the less, the more calls the lane gets.
    pub stride: u64,
    /// Running tasks of one user that stand in it.
    pub tasks: u32,
}

/// The weight of 1.
const WHOLE_STRIDE: u64 = 1_000;

impl PlanLane {
    /// The lane of a weight, with Temporal's arithmetic.
    pub fn new(plan: u32, weight: f32, tasks: u32) -> Self {
        Self { plan, stride: ((WHOLE_STRIDE as f32 / weight) as u64).max(1), tasks }
    }
}

impl Task {
    /// Calls it takes after its retouching.
    fn batches(&self, limits: &Limits) -> u32 {
        self.images.div_ceil(limits.batch_size.max(1))
    }
}
