//! Request of a paid call, and its fingerprint: all that decides the contents and the owner of its images.

use sha2::{Digest, Sha256};
use workflows::keys::CallName;

use crate::provider::{AnswerFormat, ReferenceImage, Settings};

/// One paid call of a task.
pub(crate) struct PaidCall<'a> {
    pub(crate) task_id: &'a str,
    pub(crate) user_id: &'a str,
    pub(crate) plan: &'a str,
    pub(crate) name: CallName,
    pub(crate) prompt: &'a str,
    pub(crate) images: u32,
    pub(crate) answer: AnswerFormat,
    pub(crate) reference_key: &'a str,
}

/// Returns the SHA-256, in hex, of the user, the prompt, the number of images, the answer's format,
/// the reference's bytes, the model and its options. The key and the base URL are not in it,
/// because the same request by another way gives an image of the same worth.
pub(crate) fn fingerprint(settings: &Settings, paid: &PaidCall<'_>, reference: &ReferenceImage) -> String {
    let asked = serde_json::json!([
        paid.user_id,
        paid.prompt,
        paid.images,
        format!("{:?}", paid.answer),
        reference.sha256(),
        settings.model,
        settings.size,
        settings.quality,
        settings.aspect_ratio,
        settings.output_format,
    ]);
    hex(&Sha256::digest(asked.to_string()))
}

/// Returns two lower-case hex digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
