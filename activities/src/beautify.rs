//! The step `beautify` retouches the user's photo by one paid call.

use temporalio_sdk::activities::{ActivityContext, ActivityError};
use workflows::keys::CallName;
use workflows::types::{BeautifyInput, GenerateOutput};

use crate::PaidSteps;
use crate::paid_call::make;
use crate::provider::AnswerFormat;
use crate::request::PaidCall;

/// Has the user's photo retouched by one paid call.
///
/// Results, failures and second executions are those of `generate.rs`.
pub(crate) async fn beautify(
    env: &PaidSteps,
    ctx: &ActivityContext,
    input: BeautifyInput,
) -> Result<GenerateOutput, ActivityError> {
    let paid = PaidCall {
        task_id: &input.task_id,
        user_id: &input.user_id,
        plan: &input.plan,
        name: CallName::beautify(input.call_number),
        prompt: &env.beautify_prompt,
        images: 1,
        // The whole task waits for this image. By default the image comes with the answer, which
        // saves a download.
        answer: env.provider.settings().answer.unwrap_or(AnswerFormat::B64Json),
        reference_key: &input.photo_key,
    };
    make(env, ctx, paid).await
}
