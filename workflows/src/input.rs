//! Input that always decodes, and the checks that need nothing but the input itself.
//!
//! The SDK can't create a workflow whose input doesn't decode, and Temporal would retry the
//! workflow task for ever. So every input decodes, and a wrong input fails the workflow in its
//! first line.

mod signed_url;

use serde::Serialize;
use serde::de::DeserializeOwned;
use temporalio_common::data_converters::{
    PayloadConversionError, SerializationContext, TemporalDeserializable,
};
use temporalio_common::protos::temporal::api::common::v1::Payload;

use crate::types::GenerateImagesInput;
use crate::{keys, object};

/// A decoded `T`, or the reason why the input is no `T`.
///
/// The type is deliberately not `Deserialize`, because it takes the payloads as they are, whatever
/// their number and encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Checked<T> {
    /// The input as a `T`.
    Decoded(T),
    /// The reason why the input can't be decoded, for people.
    Undecodable(String),
}

impl<T> From<T> for Checked<T> {
    fn from(value: T) -> Self {
        Checked::Decoded(value)
    }
}

impl<T: DeserializeOwned> TemporalDeserializable for Checked<T> {
    fn from_payloads(
        _: &SerializationContext<'_>,
        payloads: Vec<Payload>,
    ) -> Result<Self, PayloadConversionError> {
        Ok(match payloads.as_slice() {
            [payload] => match object::from_slice(&payload.data) {
                Ok(decoded) => Checked::Decoded(decoded),
                Err(error) => Checked::Undecodable(plainly(&error.to_string())),
            },
            payloads => Checked::Undecodable(format!("{} arguments were sent, not one", payloads.len())),
        })
    }
}

/// Shortens a message of serde to at most 300 characters. The values that serde quotes are removed,
/// because they may be secret.
fn plainly(error: &str) -> String {
    let (found, expected) = error.rsplit_once(", expected ").map_or((error, None), |(a, b)| (a, Some(b)));
    let found = found.split('"').next().unwrap_or_default().trim_end();
    let expected = expected.map(|expected| format!(", expected {expected}")).unwrap_or_default();
    format!("{found}{expected}").chars().take(300).collect()
}

/// Longest prompt, in characters. OpenAI's Images API accepts as many.
pub(crate) const MAX_PROMPT_CHARS: usize = 32_000;
/// Largest number of prompts of a task.
pub(crate) const MAX_PROMPTS: usize = 1_000;
/// Largest size of all prompts as JSON, in bytes. A history has the prompts several times, and
/// Temporal accepts 2 MB at a time.
pub(crate) const MAX_PROMPTS_BYTES: usize = 1_000_000;
/// Longest task id, user id and plan name, in bytes. The user id is also a fairness key, and
/// Temporal's limit for one is 64 bytes.
pub(crate) const MAX_ID_BYTES: usize = 64;
/// Longest URL of a photo, in bytes. A signed URL fits.
pub(crate) const MAX_URL_BYTES: usize = 4_096;
/// Longest object key of a photo, in bytes, which is the limit of S3 and R2.
pub(crate) const MAX_KEY_BYTES: usize = 1_024;

impl Checked<GenerateImagesInput> {
    /// Returns the input if it is valid and was sent under its task's workflow id. The error says
    /// what is wrong and what would be right.
    pub fn validate(&self, workflow_id: &str) -> Result<&GenerateImagesInput, String> {
        let input = match self {
            Checked::Decoded(input) => input,
            Checked::Undecodable(why) => {
                return Err(format!(
                    "the input is not a generate_images input: {why}. Expected an object \
                     {{task_id, user_id, plan, prompt or prompts, photo}}"
                ));
            }
        };
        input.validate()?;
        let expected = keys::workflow_id(&input.task_id);
        if workflow_id != expected {
            return Err(format!(
                "task_id `{}` must be started under the workflow id `{expected}`, not `{workflow_id}`: \
                 the id is what keeps a task from being done twice",
                input.task_id
            ));
        }
        Ok(input)
    }
}

impl GenerateImagesInput {
    /// Checks everything that needs no configuration and no I/O. The error names the field and says
    /// how to mend it.
    pub fn validate(&self) -> Result<(), String> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if self.task_id.is_empty() || self.task_id.len() > MAX_ID_BYTES || !self.task_id.bytes().all(legal) {
            return Err(format!(
                "task_id {} is not an id: use 1–{MAX_ID_BYTES} of A–Z a–z 0–9 _ -",
                excerpt(&self.task_id)
            ));
        }
        if self.user_id.is_empty()
            || self.user_id.len() > MAX_ID_BYTES
            || self.user_id.chars().any(char::is_control)
        {
            return Err(format!(
                "user_id {} is not an id: use 1–{MAX_ID_BYTES} bytes without control characters",
                excerpt(&self.user_id)
            ));
        }
        if self.plan.is_empty() || self.plan.len() > MAX_ID_BYTES || self.plan.chars().any(char::is_control) {
            return Err(format!(
                "plan {} is no plan's name: name a configured plan, such as `free`",
                excerpt(&self.plan)
            ));
        }
        self.validate_prompts()?;
        self.validate_photo()
    }

    fn validate_prompts(&self) -> Result<(), String> {
        if self.prompt.is_some() && !self.prompts.is_empty() {
            return Err("both prompt and prompts are given: give one of them".into());
        }
        let prompts = self.all_prompts();
        if prompts.is_empty() {
            return Err("neither prompt nor prompts is given: give one of them".into());
        }
        if prompts.len() > MAX_PROMPTS {
            return Err(format!("prompts has {} entries: {MAX_PROMPTS} at most", prompts.len()));
        }
        for (position, prompt) in prompts.iter().enumerate() {
            let field = if self.prompt.is_some() { "prompt".into() } else { format!("prompts[{position}]") };
            if prompt.trim().is_empty() {
                return Err(format!("{field} is empty: say what the images should show"));
            }
            if prompt.contains('\0') {
                return Err(format!("{field} holds a NUL character: remove it"));
            }
            let chars = prompt.chars().count();
            if chars > MAX_PROMPT_CHARS {
                return Err(format!("{field} has {chars} characters: {MAX_PROMPT_CHARS} at most"));
            }
        }
        let bytes = serde_json::to_string(&prompts).map_or(usize::MAX, |json| json.len());
        if bytes > MAX_PROMPTS_BYTES {
            return Err(format!("prompts have {bytes} bytes as JSON: {MAX_PROMPTS_BYTES} at most"));
        }
        Ok(())
    }

    fn validate_photo(&self) -> Result<(), String> {
        let limit = if self.photo_is_url() { MAX_URL_BYTES } else { MAX_KEY_BYTES };
        if self.photo.is_empty() || self.photo.len() > limit {
            return Err(format!(
                "photo is {} bytes long: give an http(s) URL of at most {MAX_URL_BYTES} bytes, \
                 or an object key of 1–{MAX_KEY_BYTES} bytes",
                self.photo.len()
            ));
        }
        if self.photo.chars().any(char::is_control) {
            return Err(format!(
                "photo {} holds a control character: encode or remove it",
                excerpt(&self.photo)
            ));
        }
        match self.photo.split_once("://") {
            Some((scheme, rest)) => validate_url(scheme, rest),
            None => validate_key(&self.photo),
        }
    }

    /// Returns the prompts of either field, `prompt` or `prompts`, in order.
    pub fn all_prompts(&self) -> Vec<&str> {
        self.prompt.as_deref().into_iter().chain(self.prompts.iter().map(String::as_str)).collect()
    }

    /// Returns true if the photo is a URL, and false if the photo is an object key.
    pub fn photo_is_url(&self) -> bool {
        self.photo.contains("://")
    }

    /// Returns true if both inputs name the same photo. URLs that differ only in their signatures
    /// name the same photo.
    fn is_same_photo(&self, other: &Self) -> bool {
        let signed = self.photo_is_url() && other.photo_is_url();
        self.photo == other.photo
            || signed
                && signed_url::without_signature(&self.photo) == signed_url::without_signature(&other.photo)
    }

    /// Returns the names of the fields in which the two inputs differ. An empty list means that
    /// both ask for the same.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let mut fields = Vec::new();
        let mut compare = |field: &'static str, same: bool| {
            if !same {
                fields.push(field);
            }
        };
        compare("task_id", self.task_id == other.task_id);
        compare("user_id", self.user_id == other.user_id);
        compare("plan", self.plan == other.plan);
        compare("prompts", self.all_prompts() == other.all_prompts());
        compare("photo", self.is_same_photo(other));
        fields
    }
}

fn validate_url(scheme: &str, rest: &str) -> Result<(), String> {
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(format!("photo has the scheme {}: use http or https, or an object key", excerpt(scheme)));
    }
    if rest.starts_with(['/', '?', '#']) || rest.is_empty() {
        return Err("photo is a URL without a host: give the whole URL".into());
    }
    Ok(())
}

/// Checks an object key as far as Darkroom can. The store itself refuses other illegal keys.
fn validate_key(key: &str) -> Result<(), String> {
    if keys::is_own(key) {
        return Err(format!(
            "photo {} is a key of Darkroom's own: copy the object to another key, such as uploads/…",
            excerpt(key)
        ));
    }
    if key.starts_with('/') || key.starts_with("data:") {
        return Err(format!("photo {} is neither an http(s) URL nor an object key", excerpt(key)));
    }
    // Some stores and proxies resolve such a segment and would read another object, perhaps one of
    // another task.
    if key.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(format!(
            "photo {} has `.` or `..` as a segment of its path: give the key as the bucket lists it",
            excerpt(key)
        ));
    }
    Ok(())
}

/// Quotes at most 40 characters of a foreign text, for a message.
fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(40).flat_map(char::escape_debug).collect();
    if text.chars().nth(40).is_some() {
        short.push('…');
    }
    format!("`{short}`")
}
