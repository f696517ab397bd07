//! Beautify: one paid call that retouches the user's photo.

use temporalio_sdk::activities::ActivityContext;
use workflows::keys;
use workflows::types::{BeautifyInput, GenerateOutput};

use crate::Activities;
use crate::failure::{Costly, Failure};
use crate::generate::{PaidCall, call};
use crate::heartbeat::Done;
use crate::provider::AnswerFormat;

/// Has the photo retouched.
///
/// Returned, failed, twice: as in `generate.rs`; it is a paid call like any other.
pub(crate) async fn beautify(
    reach: &Activities,
    ctx: &ActivityContext,
    costly: &Done<Costly>,
    input: BeautifyInput,
) -> Result<GenerateOutput, Failure> {
    let name = keys::beautify_call(input.part);
    let paid = PaidCall {
        task_id: &input.task_id,
        name: &name,
        prompt: &reach.beautify_prompt,
        images: 1,
        // The whole task waits for it: where nothing else is configured, it comes with the answer, not by another download.
        answer: reach.provider.settings().answer.unwrap_or(AnswerFormat::B64Json),
        reference_key: &input.photo_key,
    };
    call(reach, ctx, costly, paid).await
}
