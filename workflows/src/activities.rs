//! Declared activities: name, input, output. The crate `activities` implements them; types are checked at compile time.
#![expect(missing_docs, reason = "the macro documents none of what it generates")]

use temporalio_macros::activity_definitions;

use crate::types::{
    BeautifyInput, GenerateInput, GenerateOutput, InsertInput, InsertOutput, PrepareInput, PrepareOutput,
    TransferInput, TransferOutput,
};

/// Every declared activity's name: what the suites iterate over. `tests/contract` sees to it that none is left out.
pub const NAMES: [&str; 5] = ["prepare", "beautify", "generate", "transfer", "insert"];

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

pub use steps::{Beautify, Generate, Insert, Prepare, Transfer};
