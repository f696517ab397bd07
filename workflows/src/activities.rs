//! Declared activities: name, input, output. The crate `activities` implements them; types are checked at compile time.
#![expect(missing_docs, reason = "the macro documents none of what it generates")]

use temporalio_macros::activity_definitions;

use crate::reconcile::{ReconcileInput, ReconcileOutput};
use crate::types::{
    BeautifyInput, GenerateInput, GenerateOutput, InsertInput, InsertOutput, PrepareInput, PrepareOutput,
    TransferInput, TransferOutput,
};

/// The name of every step of a task. The suites iterate over them, and `tests/contract` checks that none is left out.
pub const NAMES: [&str; 5] = ["prepare", "beautify", "generate", "transfer", "insert"];
/// The names of the other activities, which belong to no task.
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

    /// Retouches the photo: one paid call.
    #[activity(name = "beautify")]
    pub fn beautify(input: BeautifyInput) -> GenerateOutput {
        unimplemented!()
    }

    /// Makes the images of a batch: one paid call.
    #[activity(name = "generate")]
    pub fn generate(input: GenerateInput) -> GenerateOutput {
        unimplemented!()
    }

    /// Stores the images of one call. Never a paid call.
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
