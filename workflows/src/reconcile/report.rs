//! Input and output of `reconcile`, with each kind of finding and its repair.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Age from which no task can need an object, a call or a row. The age is a task's execution
/// timeout and one hour.
pub const MIN_AGE: Duration = Duration::from_secs(25 * 3600);
/// Largest number of examples that a report has of each finding.
pub const MAX_EXAMPLES: usize = 10;

/// Input of the workflow and of the activity `reconcile`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReconcileInput {
    /// If true, nothing is changed, and the report says which repairs would be made.
    #[serde(default)]
    pub dry_run: bool,
    /// Minimum age in seconds. Younger objects, closed workflows and calls are left alone. The
    /// default is 25 hours.
    #[serde(default = "min_age_s")]
    pub min_age_s: u64,
    /// If true, every object is read, and its hash is compared with its row's.
    #[serde(default)]
    pub deep: bool,
}

fn min_age_s() -> u64 {
    MIN_AGE.as_secs()
}

impl Default for ReconcileInput {
    fn default() -> Self {
        Self { dry_run: false, min_age_s: min_age_s(), deep: false }
    }
}

/// Output of the workflow and of the activity `reconcile`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconcileOutput {
    /// True if repairs were only reported, and not made.
    pub dry_run: bool,
    /// Numbers of rows and objects that were compared.
    pub looked_at: LookedAt,
    /// Each finding that occurred, in the order of [`Finding::ALL`].
    pub found: Vec<Found>,
}

/// Numbers of rows and objects that a run compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookedAt {
    /// Number of task rows that say `running`.
    pub running_tasks: u64,
    /// Number of rows of paid calls.
    pub calls: u64,
    /// Number of rows of images.
    pub images: u64,
    /// Number of objects under `tasks/` and `staging/`.
    pub objects: u64,
}

/// A finding with the number of its occurrences and its repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Kind of disagreement that was found.
    pub finding: Finding,
    /// The repair that was made, or that would be made without `dry_run`. `None` means that a
    /// person has to look.
    pub repair: Option<Repair>,
    /// Number of occurrences of the finding.
    pub count: u64,
    /// The first occurrences, at most [`MAX_EXAMPLES`].
    pub examples: Vec<String>,
}

/// A disagreement between rows, objects, calls and workflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// A task's row says `running`, and its workflow has ended with a result.
    UnrecordedTask,
    /// A task has objects and no row, and its workflow has ended with a result.
    LostTask,
    /// A task's row says `running`. Its workflow ended without a result, or is gone, for longer
    /// than the minimum age.
    AbandonedTask,
    /// A task's row says `running`. Its workflow ended without a result, or is gone, and the
    /// minimum age has not passed. The task may still be started again under its id.
    EndedTask,
    /// A call is open in the ledger, and nobody will record its end.
    AbandonedCall,
    /// A call's result is kept, though its task has ended.
    LeftoverResult,
    /// The object of an image row is gone.
    MissingObject,
    /// The object of an image row has another size or, with `deep`, another hash.
    DifferentObject,
    /// An object belongs to no row, and its task has ended or never began.
    StrayObject,
    /// An object lies under Darkroom's prefixes, and Darkroom can't tell that it is the object's
    /// owner.
    UnknownObject,
}

/// A repair that `reconcile` makes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    /// The row was recorded from the workflow's result.
    RowRecorded,
    /// The row was closed as `failed`, or as `cancelled` where its workflow was cancelled.
    RowClosed,
    /// The call was closed as `ambiguous`, a possible loss.
    CallClosed,
    /// The recorded result of the call was emptied.
    ResultEmptied,
    /// The object was removed.
    ObjectRemoved,
}

impl Finding {
    /// Every finding, in the order of reports.
    pub const ALL: [Finding; 10] = [
        Self::UnrecordedTask,
        Self::LostTask,
        Self::AbandonedTask,
        Self::EndedTask,
        Self::AbandonedCall,
        Self::LeftoverResult,
        Self::MissingObject,
        Self::DifferentObject,
        Self::StrayObject,
        Self::UnknownObject,
    ];

    /// Returns the repair, or `None` if no repair is safe.
    pub fn repair(self) -> Option<Repair> {
        match self {
            Self::UnrecordedTask | Self::LostTask => Some(Repair::RowRecorded),
            Self::AbandonedTask => Some(Repair::RowClosed),
            Self::AbandonedCall => Some(Repair::CallClosed),
            Self::LeftoverResult => Some(Repair::ResultEmptied),
            Self::StrayObject => Some(Repair::ObjectRemoved),
            Self::EndedTask | Self::MissingObject | Self::DifferentObject | Self::UnknownObject => None,
        }
    }
}

impl ReconcileOutput {
    /// Counts a finding, and keeps the example if there are fewer than [`MAX_EXAMPLES`].
    pub fn add(&mut self, finding: Finding, example: String) {
        let place = match self.found.binary_search_by_key(&finding, |found| found.finding) {
            Ok(place) => place,
            Err(place) => {
                let found = Found { finding, repair: finding.repair(), count: 0, examples: Vec::new() };
                self.found.insert(place, found);
                place
            }
        };
        let found = &mut self.found[place];
        found.count += 1;
        if found.examples.len() < MAX_EXAMPLES {
            found.examples.push(example);
        }
    }
}

/// Progress of a run. The activity's heartbeat carries the progress, and the next attempt goes on
/// from there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconcileProgress {
    /// The step that is under way.
    pub step: Step,
    /// Last place that is done, in the step's own order. Empty before the first place.
    pub after: String,
    /// The report so far.
    pub output: ReconcileOutput,
}

/// The steps of a run, in order. Rows come first, because the other steps ask whether a task has
/// ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Rows of running tasks, against Temporal.
    #[default]
    Tasks,
    /// Open calls, against leases and tasks.
    Calls,
    /// Results of calls, against tasks.
    Results,
    /// Objects under `tasks/`, against images and tasks.
    Objects,
    /// Objects under `staging/`, against tasks.
    Staged,
    /// Nothing is left to do.
    Done,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_bounded_and_in_order() {
        let mut output = ReconcileOutput::default();
        for number in 0..1_000 {
            output.add(Finding::StrayObject, number.to_string());
        }
        output.add(Finding::LostTask, "a".into());
        let found: Vec<_> =
            output.found.iter().map(|found| (found.finding, found.count, found.examples.len())).collect();
        assert_eq!(found, [(Finding::LostTask, 1, 1), (Finding::StrayObject, 1_000, MAX_EXAMPLES)]);
        assert!(Finding::ALL.is_sorted());
    }
}
