//! Declares each activity with its name, input and output. The crate `activities` implements the
//! activities, and the compiler checks the types.
#![expect(missing_docs, reason = "the macro documents none of what it generates")]

use temporalio_macros::activity_definitions;

use crate::reconcile::report::{ReconcileInput, ReconcileOutput};
use crate::types::{
    BeautifyInput, GenerateInput, GenerateOutput, InsertInput, InsertOutput, PrepareInput, PrepareOutput,
    TransferInput, TransferOutput,
};

/// Names of all steps of a task. Suites iterate over the list, and `tests/contract` checks that the
/// list lacks no step.
pub const NAMES: [&str; 5] = ["prepare", "beautify", "generate", "transfer", "insert"];
/// Names of the activities that belong to no task.
pub const HOUSEKEEPING: [&str; 1] = ["reconcile"];

/// The steps of a task.
pub struct Steps;

#[activity_definitions]
impl Steps {
    /// Checks the input, stores a checked copy of the photo and gives the task its row.
    #[activity(name = "prepare")]
    pub fn prepare(input: PrepareInput) -> PrepareOutput {
        unimplemented!()
    }

    /// Has the provider retouch the photo in one paid call.
    #[activity(name = "beautify")]
    pub fn beautify(input: BeautifyInput) -> GenerateOutput {
        unimplemented!()
    }

    /// Makes images of a batch in one paid call.
    #[activity(name = "generate")]
    pub fn generate(input: GenerateInput) -> GenerateOutput {
        unimplemented!()
    }

    /// Stores the images of one call, and makes no paid call.
    #[activity(name = "transfer")]
    pub fn transfer(input: TransferInput) -> TransferOutput {
        unimplemented!()
    }

    /// Records all image rows and the final state.
    #[activity(name = "insert")]
    pub fn insert(input: InsertInput) -> InsertOutput {
        unimplemented!()
    }
}

/// Activities that belong to no task.
pub struct Housekeeping;

#[activity_definitions]
impl Housekeeping {
    /// Compares rows, objects, calls and workflows, and makes the safe repairs.
    #[activity(name = "reconcile")]
    pub fn reconcile(input: ReconcileInput) -> ReconcileOutput {
        unimplemented!()
    }
}

pub use housekeeping::Reconcile;
pub use steps::{Beautify, Generate, Insert, Prepare, Transfer};
