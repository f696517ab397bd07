//! A client of the provider, as little of it as the tests need.

use std::io::Cursor;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use reqwest::multipart::{Form, Part};
use reqwest::{RequestBuilder, Response};
use sandbox::Provider;
use sandbox::provider::Settings;
use serde_json::{Value, json};

/// Fast enough that no test waits: a call takes 8 ms, a download 2 ms.
pub(crate) const SPEED: f64 = 1000.0;

/// An hour at [`SPEED`]: drawing a large picture takes a busy machine seconds. Tests of expiry say when it comes.
const URL_TTL_MS: u64 = 3_600_000_000;

/// One for all tests: it takes long to build. No connection is kept, as each test has its own runtime.
static HTTP: LazyLock<reqwest::Client> = LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.pool_max_idle_per_host(0).build().unwrap_or_default()
});

pub(crate) fn http() -> &'static reqwest::Client {
    &HTTP
}

pub(crate) fn aggregator() -> Settings {
    Settings { speed: SPEED, image_px: 64, url_ttl_ms: URL_TTL_MS, ..Settings::aggregator() }
}

pub(crate) fn openai() -> Settings {
    Settings { speed: SPEED, image_px: 64, url_ttl_ms: URL_TTL_MS, ..Settings::openai() }
}

/// A picture whose left half is red and whose right half is blue.
pub(crate) fn photo() -> Vec<u8> {
    let picture =
        RgbImage::from_fn(80, 80, |x, _| if x < 40 { Rgb([220, 30, 30]) } else { Rgb([30, 30, 220]) });
    let mut bytes = Cursor::new(Vec::new());
    let written = DynamicImage::from(picture).write_to(&mut bytes, ImageFormat::Png);
    assert!(written.is_ok(), "{written:?}");
    bytes.into_inner()
}

pub(crate) fn generations(provider: &Provider, body: &Value) -> RequestBuilder {
    let settings = provider.settings();
    http()
        .post(format!("{}/images/generations", provider.base_url()))
        .bearer_auth(settings.api_key)
        .json(body)
}

pub(crate) fn edits(provider: &Provider, form: Form) -> RequestBuilder {
    let settings = provider.settings();
    http().post(format!("{}/images/edits", provider.base_url())).bearer_auth(settings.api_key).multipart(form)
}

pub(crate) fn file(bytes: Vec<u8>, content_type: &str) -> Result<Part> {
    Ok(Part::bytes(bytes).file_name("photo.png").mime_str(content_type)?)
}

/// A sound request of the provider's model.
pub(crate) fn asks(provider: &Provider, prompt: &str, n: u32) -> Value {
    json!({ "model": provider.settings().model, "prompt": prompt, "n": n })
}

pub(crate) async fn body(answer: Response) -> Result<Value> {
    Ok(serde_json::from_slice(&answer.bytes().await?)?)
}

/// Status, `param` and `code` of an error.
pub(crate) async fn refusal(request: RequestBuilder) -> Result<(u16, Option<String>, Option<String>)> {
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    let error = body(answer).await?["error"].clone();
    anyhow::ensure!(
        error["message"].is_string() && error["type"].is_string(),
        "not the API's error: {error}"
    );
    let text = |name: &str| error[name].as_str().map(str::to_owned);
    Ok((status, text("param"), text("code")))
}

/// The URLs in an answer.
pub(crate) async fn urls(request: RequestBuilder) -> Result<Vec<String>> {
    let answer = body(request.send().await?.error_for_status()?).await?;
    let data = answer["data"].as_array().context("no data")?;
    data.iter().map(|image| Ok(image["url"].as_str().context("no url")?.to_owned())).collect()
}

pub(crate) fn picture(bytes: &[u8]) -> Result<RgbImage> {
    Ok(image::load_from_memory(bytes)?.into_rgb8())
}

/// Asks again until it is so: for what other processes do, where there is nothing to wait on.
pub(crate) async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) -> Result<()> {
    let wait = async {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        while !so().await {
            tick.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(300), wait).await.with_context(|| format!("never: {what}"))
}
