//! The image provider: OpenAI's Images API, and its dialect at aggregators.
//!
//! Differences between providers are settings. A preset has the defaults of four of them:
//! `reference`, `answer`, `images_per_call` and `overloaded`.

mod answer;
mod check;
mod complaint;
mod http;
mod images;
mod payload;
#[cfg(test)]
mod tests;
mod verdict;
mod wait;
mod wire;
mod words;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use secrecy::SecretString;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::request::hex;

pub use check::{CheckFailed, Checked};
pub use http::Provider;
pub use paid_calls::Failed as Error;
pub use words::{Kinds, Overloaded, Words};

/// Section `[provider]` of the configuration, which describes one account at one provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name of the account's route. The task queue of its paid calls is `generate.<route>`.
    pub route: String,
    /// Preset that fits the provider's API.
    pub preset: Preset,
    /// Base URL of the API, up to and including the version, such as `https://api.openai.com/v1`.
    pub base_url: String,
    /// API key of the account, sent as `Authorization: Bearer`.
    pub api_key: SecretString,
    /// Model id that each request names, such as `gpt-image-2`.
    pub model: String,
    /// Way in which the reference image is sent. Without a value, the preset decides.
    pub reference: Option<Reference>,
    /// Form in which images come back. Without a value, the preset decides.
    pub answer: Option<AnswerFormat>,
    /// Largest number of images that one call asks for. Without a value, the preset decides.
    pub images_per_call: Option<u32>,
    /// Kind of failure that an overloaded provider counts as. Without a value, the preset decides.
    pub overloaded: Option<Overloaded>,
    /// Name of the account in the ledger and the limits. An empty name means the route's name.
    pub key_name: String,
    /// Name of the HTTP header that carries an idempotency key. With an empty name, no key is sent.
    pub idempotency_header: String,
    /// True if the provider bills a call only once, however often the call is repeated under its
    /// idempotency key.
    pub honours_idempotency: bool,
    /// Limit on the calls of one name that may have been billed and gave no result. At the limit,
    /// no further call of that name is made.
    pub max_billed_failures: u32,
    /// Field `size` of the request, such as `1024x1024`. An empty field is not sent.
    pub size: String,
    /// Field `quality` of the request. An empty field is not sent.
    pub quality: String,
    /// Field `aspect_ratio` of the request, for aggregators. An empty field is not sent.
    pub aspect_ratio: String,
    /// Field `output_format` of the request. An empty field is not sent.
    pub output_format: String,
    /// Timeout of a call in seconds, from the connection to the last byte of the answer.
    pub timeout_s: u64,
    /// Price of a successful call in US dollars, without its images.
    pub price_per_call_usd: f64,
    /// Price of an image in US dollars.
    pub price_per_image_usd: f64,
    /// Words in an error that decide what the error means.
    pub words: Words,
}

/// API that a provider speaks. The preset has the defaults of other settings, and decides whether
/// `response_format` is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// API of OpenAI itself. The reference goes by multipart to `/images/edits`, answers are
    /// base64, and a call asks for up to 10 images.
    Openai,
    /// API of Apicore and similar gateways. The reference is the field `image` of
    /// `/images/generations`, answers are URLs, and a call asks for up to 5 images.
    Aggregator,
}

/// Way in which the reference image is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// Multipart upload to `/images/edits`.
    Edits,
    /// Data URL in the field `image` of `/images/generations`.
    ImageField,
}

/// Form in which images come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerFormat {
    /// URLs that expire after a while.
    Url,
    /// Base64 text within the answer.
    B64Json,
}

impl Settings {
    /// Returns the name of the provider key, under which the ledger and the limits know the
    /// account.
    pub fn provider_key(&self) -> &str {
        if self.key_name.is_empty() { &self.route } else { &self.key_name }
    }

    /// Returns the price in US dollars of an answer with `images` images.
    pub fn price_usd(&self, images: u32) -> f64 {
        self.price_per_call_usd + self.price_per_image_usd * f64::from(images)
    }

    /// Returns the way in which the reference image is sent: the configured one, else the preset's.
    pub fn reference(&self) -> Reference {
        self.reference.unwrap_or(match self.preset {
            Preset::Openai => Reference::Edits,
            Preset::Aggregator => Reference::ImageField,
        })
    }

    /// Returns the form in which images come back: the configured one, else the preset's.
    pub fn answer(&self) -> AnswerFormat {
        self.answer.unwrap_or(match self.preset {
            Preset::Openai => AnswerFormat::B64Json,
            Preset::Aggregator => AnswerFormat::Url,
        })
    }

    /// Returns the kind of failure that an overloaded provider counts as: the configured one, else
    /// the preset's.
    pub fn overloaded(&self) -> Overloaded {
        self.overloaded.unwrap_or(match self.preset {
            // OpenAI's error for overload asks for fewer calls a minute, for a quarter of an hour.
            Preset::Openai => Overloaded::Throttled,
            Preset::Aggregator => Overloaded::Unavailable,
        })
    }

    /// Returns the largest number of images that one call asks for: the configured one, else the
    /// preset's.
    pub fn images_per_call(&self) -> u32 {
        self.images_per_call.unwrap_or(match self.preset {
            Preset::Openai => 10,
            Preset::Aggregator => 5,
        })
    }
}

/// A reference image (JPEG, PNG or WebP), already encoded for its request.
#[derive(Debug)]
pub(crate) struct ReferenceImage {
    content_type: &'static str,
    encoded: Bytes,
    sha256: String,
}

impl ReferenceImage {
    /// Encodes an image for one way of sending.
    pub(crate) fn new(image: Bytes, way: Reference) -> Self {
        let content_type = wire::content_type(&image);
        let sha256 = hex(&Sha256::digest(&image));
        let encoded = match way {
            Reference::Edits => image,
            Reference::ImageField => BASE64_STANDARD.encode(&image).into(),
        };
        Self { content_type, encoded, sha256 }
    }

    /// Returns the SHA-256 of the image's bytes before the encoding, in hex.
    pub(crate) fn sha256(&self) -> &str {
        &self.sha256
    }
}

/// Request of one paid call, without the account's settings.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    /// Prompt that describes the images.
    pub(crate) prompt: &'a str,
    /// Number of images to ask for.
    pub(crate) images: u32,
    /// Form of answer to ask for.
    pub(crate) answer: AnswerFormat,
    /// Reference image that is sent along.
    pub(crate) reference: &'a ReferenceImage,
    /// Idempotency key of the call. All attempts at the call send the same key, and no other call
    /// does.
    pub(crate) idempotency_key: String,
}

/// Answer to a paid call that is no failure.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Images in the answer's order, at most as many as asked for.
    Images {
        images: Vec<Payload>,
        /// Number of images on the bill. Images beyond the number asked for are billed too.
        billed: u32,
        /// Provider's words about images that are not there, or a description of what is there.
        left_out: Option<String>,
        request_id: Option<String>,
    },
    /// Moderation rejected the prompt or the images made from it.
    Rejected { message: String, request_id: Option<String> },
}

/// One image of an answer.
#[derive(Debug)]
pub(crate) enum Payload {
    /// URL of the image, which expires after a while.
    Url(String),
    /// Bytes of the image, which came with the answer.
    Bytes(Bytes),
}
