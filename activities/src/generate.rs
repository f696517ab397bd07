//! Generate: one paid call for the images of a batch.

use temporalio_sdk::activities::{ActivityContext, ActivityError};
use workflows::keys;
use workflows::types::{GenerateInput, GenerateOutput};

use crate::Activities;
use crate::paid_call::{PaidCall, make};

/// Has a batch's images generated.
///
/// Returned: every image lies at the URL or under the staging key named; nothing of the answer is lost any more.
/// Failed: no image of this attempt is kept. `Unavailable`, `Throttled`, `Refused`: nothing was billed. `Ambiguous`,
/// `Malformed`, `StorageUnavailable`: it may have been. The ledger has which.
/// Twice: as in `paid_call.rs`; staged bytes are overwritten by their like.
pub(crate) async fn generate(
    reach: &Activities,
    ctx: &ActivityContext,
    input: GenerateInput,
) -> Result<GenerateOutput, ActivityError> {
    let paid = PaidCall {
        task_id: &input.task_id,
        user_id: &input.user_id,
        plan: &input.plan,
        name: &keys::call(input.batch, input.part),
        prompt: &input.prompt,
        images: input.images,
        answer: reach.provider.settings().answer(),
        reference_key: &input.reference_key,
    };
    make(reach, ctx, paid).await
}
