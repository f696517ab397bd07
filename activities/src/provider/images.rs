//! Finds the images of an answer, in all places where providers put them.

use serde_json::Value;

use super::complaint::Complaint;
use super::{Payload, payload};
use crate::media::image_file::kind;

/// Fields of an entry that may hold its image, in the order in which they are tried.
const IMAGE_FIELDS: [&str; 6] = ["b64_json", "url", "image_url", "b64", "image_base64", "image"];
/// Image fields that hold base64, as their names say.
const BASE64_FIELDS: [&str; 3] = ["b64_json", "b64", "image_base64"];

/// Entries of an answer, sorted by what they hold.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Images that can be used, in the answer's order.
    pub(super) images: Vec<Payload>,
    /// Words of entries that report their own rejection or failure.
    pub(super) rejected: Vec<Complaint>,
    /// Descriptions of the entries that hold no image and report nothing.
    pub(super) unreadable: Vec<String>,
}

impl Found {
    /// Returns the number of images that are billed, as far as the answer tells. All images that
    /// came count. Unreadable entries count too, up to the number asked for.
    pub(super) fn billed(&self, asked: u32) -> u32 {
        let images = self.images.len() as u32;
        images.max(asked.min(images + self.unreadable.len() as u32))
    }

    fn entry(&mut self, entry: &Value) {
        let blocked = entry.get("respect_moderation") == Some(&Value::Bool(false));
        match (if blocked { Err(String::new()) } else { image(entry) }, Complaint::of_entry(entry)) {
            (Ok(image), _) => self.images.push(image),
            (Err(_), Some(complaint)) => self.rejected.push(complaint),
            (Err(why), None) => self.unreadable.push(why),
        }
    }
}

/// Returns the images of `data`, else of `images`, else of `candidates` and `choices`. The Images
/// API and its dialects use the first two. Some gateways use the others.
pub(super) fn find(answer: &Value) -> Found {
    let mut found = Found::default();
    for name in ["data", "images"] {
        match &answer[name] {
            Value::Array(entries) => entries.iter().for_each(|entry| found.entry(entry)),
            // A single image may stand there without a list, or with its list one level deeper.
            one @ (Value::Object(_) | Value::String(_)) => {
                let entries = one["images"].as_array().map_or(std::slice::from_ref(one), Vec::as_slice);
                found.images.extend(entries.iter().filter_map(|entry| image(entry).ok()));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        if !found.images.is_empty() {
            return found;
        }
    }
    for part in list(answer, "candidates").flat_map(|candidate| list(&candidate["content"], "parts")) {
        let inline = [&part["inlineData"]["data"], &part["inline_data"]["data"]];
        let data = inline.into_iter().find_map(Value::as_str);
        let is_draft = part["thought"] == Value::Bool(true);
        found.images.extend(data.filter(|_| !is_draft).and_then(|data| payload::read(data).ok()));
    }
    for message in list(answer, "choices").map(|choice| &choice["message"]) {
        let entries = list(message, "images").chain(list(message, "content"));
        let mut images: Vec<Payload> = entries.filter_map(|entry| image(entry).ok()).collect();
        if images.is_empty() {
            let content = message["content"].as_str().unwrap_or_default();
            images.extend(markdown(content).filter_map(|url| best([("url", url)]).ok()));
        }
        found.images.extend(images);
    }
    found
}

/// Collects the answer's reasons for having no image: the reasons for which the model ended, and
/// the text that it wrote instead.
pub(super) fn reason(answer: &Value) -> Complaint {
    let mut codes = Vec::new();
    let mut texts = Vec::new();
    let mut code = |value: &Value| codes.extend(value.as_str().map(str::to_owned));
    code(&answer["promptFeedback"]["blockReason"]);
    for end in list(answer, "candidates").chain(list(answer, "choices")) {
        ["finishReason", "finish_reason", "native_finish_reason"].iter().for_each(|name| code(&end[*name]));
        texts.extend(["finishMessage", "refusal"].iter().map(|name| &end[*name]));
        texts.extend([&end["message"]["refusal"], &end["message"]["content"]]);
        texts.extend(list(&end["content"], "parts").map(|part| &part["text"]));
    }
    let texts: Vec<&str> =
        texts.into_iter().filter_map(Value::as_str).filter(|text| !text.is_empty()).collect();
    Complaint { codes, ..Complaint::of_text(&texts.join("; ")) }
}

/// Tells whether the answer may rightly have no image. Either the list of images is empty, or a
/// chat model answered, for which images are optional.
pub(super) fn is_empty(answer: &Value) -> bool {
    let is_empty = |name: &str| answer[name].as_array().is_some_and(Vec::is_empty);
    let is_there = |name: &str| answer[name].is_array() || answer[name].is_object();
    is_empty("data")
        || is_empty("images")
        || ["candidates", "choices", "promptFeedback"].into_iter().any(is_there)
}

/// Reads the image of one entry. The error describes the entry without quoting it.
fn image(entry: &Value) -> Result<Payload, String> {
    let texts: Vec<(&str, &str)> = match entry {
        Value::String(text) => vec![("url", text)],
        Value::Object(fields) => {
            IMAGE_FIELDS.iter().filter_map(|name| Some((*name, locator(fields.get(*name)?)?))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Vec::new(),
    };
    best(texts).map_err(|why| why.unwrap_or_else(|| describe(entry)))
}

/// Picks the best image of several texts, each with its field's name. Bytes of an image come first,
/// then a URL, then other bytes from base64. The error describes the last text, if there is any.
fn best<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Payload, Option<String>> {
    let (mut url, mut bytes, mut why) = (None, None, None);
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.trim().is_empty()) {
        let is_base64 = BASE64_FIELDS.contains(&name) || text.trim_start().starts_with("data:");
        match payload::read(text) {
            Ok(Payload::Bytes(image)) if kind::is_image(&image) => return Ok(Payload::Bytes(image)),
            Ok(Payload::Bytes(image)) if is_base64 => bytes = bytes.or(Some(Payload::Bytes(image))),
            Ok(Payload::Bytes(_)) => {
                why = Some(format!("{name}: {} bytes of text that are no URL", text.len()))
            }
            Ok(Payload::Url(found)) => url = url.or(Some(Payload::Url(found))),
            Err(wrong) => why = Some(format!("{name}: {wrong}")),
        }
    }
    url.or(bytes).ok_or(why)
}

/// Returns the text of a field, or the `url` of the object that stands in its place.
fn locator(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value["url"].as_str())
}

/// Returns the URLs of the images in a Markdown text, such as `![…](url)` or `![…](url "title")`.
fn markdown(text: &str) -> impl Iterator<Item = &str> {
    text.split("![").skip(1).filter_map(|image| {
        let (_, link) = image.split_once("](")?;
        let (link, _) = link.split_once(')')?;
        link.trim().split([' ', '\n']).next()
    })
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[name].as_array().into_iter().flatten()
}

/// Describes a value without quoting it. Field names come from the provider, but values may hold
/// anybody's words.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "true or false".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(text) => format!("a text of {} bytes", text.len()),
        Value::Array(all) => format!("a list of {}", all.len()),
        Value::Object(fields) if fields.is_empty() => "an empty object".to_owned(),
        Value::Object(fields) => {
            let is_plain = |name: &&String| {
                name.len() <= 40
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
            };
            let names: Vec<&str> = fields.keys().filter(is_plain).take(8).map(String::as_str).collect();
            format!("an object of {} fields ({})", fields.len(), names.join(", "))
        }
    }
}
