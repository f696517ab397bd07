//! Beautify: one paid call that retouches the user's photo.

use temporalio_sdk::activities::{ActivityContext, ActivityError};
use workflows::keys;
use workflows::types::{BeautifyInput, GenerateOutput};

use crate::Activities;
use crate::paid_call::{PaidCall, make};
use crate::provider::AnswerFormat;

/// Has the photo retouched.
///
/// Returned, failed, twice: as in `generate.rs`; it is a paid call like any other.
pub(crate) async fn beautify(
    reach: &Activities,
    ctx: &ActivityContext,
    input: BeautifyInput,
) -> Result<GenerateOutput, ActivityError> {
    let paid = PaidCall {
        task_id: &input.task_id,
        user_id: &input.user_id,
        plan: &input.plan,
        name: &keys::beautify_call(input.part),
        prompt: &reach.beautify_prompt,
        images: 1,
        // The whole task waits for it: where nothing else is configured, it comes with the answer, not by another download.
        answer: reach.provider.settings().answer.unwrap_or(AnswerFormat::B64Json),
        reference_key: &input.photo_key,
    };
    make(reach, ctx, paid).await
}
