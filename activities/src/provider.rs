//! The image provider: OpenAI's Images API, and its dialect at aggregators.
//!
//! What differs between providers is an option; a preset gives them all at once.

mod answer;
mod check;
mod complaint;
mod error;
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

use crate::fingerprint::hex;

pub use check::{CheckFailed, Checked};
pub use error::Error;
pub use http::Provider;
pub use words::{Kinds, Overloaded, Words};

/// Section `[provider]` of the configuration: one account at one provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name of the route it serves: the task queue is `generate.<route>`.
    pub route: String,
    /// Which API it speaks.
    pub preset: Preset,
    /// Base URL up to and including the version, such as `https://api.openai.com/v1`.
    pub base_url: String,
    /// Its key, sent as `Authorization: Bearer`.
    pub api_key: SecretString,
    /// The model's id.
    pub model: String,
    /// How the reference image travels; the preset's if not set.
    pub reference: Option<Reference>,
    /// How images come back; the preset's if not set.
    pub answer: Option<AnswerFormat>,
    /// Images one call may be asked for; the preset's if not set.
    pub images_per_call: Option<u32>,
    /// What overload means; the preset's if not set.
    pub overloaded: Option<Overloaded>,
    /// Name of the account, in the ledger and the limits; empty: the route's.
    pub key_name: String,
    /// Header that carries an idempotency key; empty: none.
    pub idempotency_header: String,
    /// Whether a call repeated under its idempotency key is known to be billed once.
    pub honours_idempotency: bool,
    /// How many calls of one name may have been billed without a result; then it is not made again.
    pub max_billed_failures: u32,
    /// `size` of the request, such as `1024x1024`; empty: not sent.
    pub size: String,
    /// `quality` of the request; empty: not sent.
    pub quality: String,
    /// `aspect_ratio` of the request (aggregators); empty: not sent.
    pub aspect_ratio: String,
    /// `output_format` of the request; empty: not sent.
    pub output_format: String,
    /// How long a call may take, in seconds.
    pub timeout_s: u64,
    /// What a successful call costs, in US dollars, besides its images.
    pub price_per_call_usd: f64,
    /// What an image costs, in US dollars.
    pub price_per_image_usd: f64,
    /// The words that decide what a refusal means.
    pub words: Words,
}

/// Which API a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// OpenAI's own: the reference by multipart to `/images/edits`, answers in base64, up to 10 images a call.
    Openai,
    /// Apicore and its kin: the reference as `image` in `/images/generations`, answers as URLs, up to 5 images a call.
    Aggregator,
}

/// How the reference image travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// Multipart upload to `/images/edits`.
    Edits,
    /// As a data URL in `image` of `/images/generations`.
    ImageField,
}

/// How images come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerFormat {
    /// As URLs that live a short while.
    Url,
    /// As base64 in the answer.
    B64Json,
}

impl Settings {
    /// The provider key: what the account is called in the ledger and the limits.
    pub fn provider_key(&self) -> &str {
        if self.key_name.is_empty() { &self.route } else { &self.key_name }
    }

    /// What images cost that came with one answer, in US dollars.
    pub fn price_usd(&self, images: u32) -> f64 {
        self.price_per_call_usd + self.price_per_image_usd * f64::from(images)
    }

    /// How the reference image travels.
    pub fn reference(&self) -> Reference {
        self.reference.unwrap_or(match self.preset {
            Preset::Openai => Reference::Edits,
            Preset::Aggregator => Reference::ImageField,
        })
    }

    /// How images come back.
    pub fn answer(&self) -> AnswerFormat {
        self.answer.unwrap_or(match self.preset {
            Preset::Openai => AnswerFormat::B64Json,
            Preset::Aggregator => AnswerFormat::Url,
        })
    }

    /// What overload means.
    pub fn overloaded(&self) -> Overloaded {
        self.overloaded.unwrap_or(match self.preset {
            // It asks for fewer calls a minute then, for a quarter of an hour.
            Preset::Openai => Overloaded::Throttled,
            Preset::Aggregator => Overloaded::Unavailable,
        })
    }

    /// Images one call may be asked for.
    pub fn images_per_call(&self) -> u32 {
        self.images_per_call.unwrap_or(match self.preset {
            Preset::Openai => 10,
            Preset::Aggregator => 5,
        })
    }
}

/// A reference image, as it travels: a JPEG, PNG or WebP, encoded already.
#[derive(Debug)]
pub(crate) struct ReferenceImage {
    content_type: &'static str,
    encoded: Bytes,
    sha256: String,
}

impl ReferenceImage {
    /// Encodes an image for this way to travel.
    pub(crate) fn new(image: Bytes, way: Reference) -> Self {
        let content_type = wire::content_type(&image);
        let sha256 = hex(&Sha256::digest(&image));
        let encoded = match way {
            Reference::Edits => image,
            Reference::ImageField => BASE64_STANDARD.encode(&image).into(),
        };
        Self { content_type, encoded, sha256 }
    }

    /// SHA-256 of the image's bytes, in hex.
    pub(crate) fn sha256(&self) -> &str {
        &self.sha256
    }
}

/// One call to make.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    /// What the images should show.
    pub(crate) prompt: &'a str,
    /// How many images.
    pub(crate) images: u32,
    /// How they are asked to come back.
    pub(crate) answer: AnswerFormat,
    /// The reference image.
    pub(crate) reference: &'a ReferenceImage,
    /// The same for every attempt at this call, and for no other call.
    pub(crate) idempotency_key: String,
}

/// What a call gave.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Images, at most as many as asked.
    Images {
        images: Vec<Payload>,
        /// How many the answer had: more than asked are billed too.
        billed: u32,
        /// The provider's words about images that are not there, or a description of what is there.
        left_out: Option<String>,
        request_id: Option<String>,
    },
    /// Moderation rejected the prompt or what came of it.
    Rejected { message: String, request_id: Option<String> },
}

/// One image of an answer.
#[derive(Debug)]
pub(crate) enum Payload {
    /// It lies there for a while.
    Url(String),
    /// It came along.
    Bytes(Bytes),
}
