//! `reconcile` compares rows, objects, calls and workflows, makes the safe repairs and reports the
//! rest.
//!
//! One activity does all of this, and keeps its place in its heartbeat. The result is counts and a
//! few examples, so that neither the history nor a worker's memory grows with the bucket.
#![expect(missing_docs, reason = "the macro documents none of what it generates")]

pub(crate) mod report;

use temporalio_common::error::ApplicationFailure;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_workflow::{WorkflowContext, WorkflowContextView, WorkflowResult};

use crate::activities::Housekeeping;
use crate::failure::FailureKind;
use crate::input::Checked;
use crate::options;

pub use report::{
    Finding, Found, LookedAt, MAX_EXAMPLES, MIN_AGE, ReconcileInput, ReconcileOutput, ReconcileProgress,
    Repair, Step,
};

/// Id of the schedule, and the beginning of the workflow ids of its runs, to which Temporal appends
/// the time.
pub const SCHEDULE_ID: &str = "reconcile";

/// The workflow `reconcile`, which runs the activity of the same name.
#[workflow]
pub struct Reconcile {
    input: Checked<ReconcileInput>,
}

#[workflow_methods]
impl Reconcile {
    #[init]
    fn new(_: &WorkflowContextView, input: Checked<ReconcileInput>) -> Self {
        Self { input }
    }

    /// Runs one comparison to its end.
    #[run(name = "reconcile")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<ReconcileOutput> {
        let ctx: &WorkflowContext<Self> = ctx;
        let input = match ctx.state(|workflow| workflow.input.clone()) {
            Checked::Decoded(input) => input,
            Checked::Undecodable(why) => {
                let message = format!(
                    "the input is not a reconcile input: {why}. Expected an object {{dry_run, min_age_s, deep}}"
                );
                let kind = FailureKind::InvalidInput.as_str().to_owned();
                return Err(ApplicationFailure::builder(message)
                    .type_name(kind)
                    .non_retryable(true)
                    .build()
                    .into());
            }
        };
        // The activity gets a child token, as in `generate_images`, because the workflow's own
        // token would keep an evicted workflow in memory.
        let cancellable = ctx.cancellation_token().child_token();
        Ok(ctx.execute_activity(Housekeeping::reconcile, input, options::reconcile(&cancellable)).await?)
    }
}
