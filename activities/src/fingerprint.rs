//! The fingerprint of a paid call: of all that decides what its images show, and whose they are.

use sha2::{Digest, Sha256};

use crate::paid_call::PaidCall;
use crate::provider::{ReferenceImage, Settings};

/// SHA-256, in hex, of the user, the prompt, the number of images, the reference's bytes, the model and its options. The key and the base
/// URL are not in it: the same request by another way gives an image of the same worth.
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

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
