//! The wire format: what both dialects take and give, and what they refuse.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::multipart::Form;
use sandbox::Provider;
use serde_json::{Value, json};

use crate::client::*;

#[tokio::test]
async fn an_aggregator_answers_with_urls_of_real_pictures() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let photo = provider.serve_photo("me.png", photo(), "image/png");
    let mut request = asks(&provider, "a garden", 3);
    request["image"] = json!([photo]);

    let answer = generations(&provider, &request).send().await?;

    let headers = answer.headers().clone();
    for name in ["x-request-id", "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests"] {
        assert!(headers.contains_key(name), "{name} is missing");
    }
    let answer = body(answer).await?;
    assert!(answer["created"].as_u64().is_some_and(|created| created > 1_700_000_000));
    assert!(answer["usage"]["total_tokens"].as_u64().is_some_and(|tokens| tokens > 3 * 1290));
    let data = answer["data"].as_array().context("no data")?;
    assert_eq!(data.len(), 3);
    for image in data {
        let file = http().get(image["url"].as_str().context("no url")?).send().await?;
        assert_eq!(file.headers()["content-type"], "image/jpeg");
        let length: usize = file.headers()["content-length"].to_str()?.parse()?;
        let bytes = file.bytes().await?;
        assert_eq!(bytes.len(), length);
        assert_eq!(image::guess_format(&bytes)?, image::ImageFormat::Jpeg);
        assert_eq!(picture(&bytes)?.dimensions(), (64, 64));
    }
    let meter = provider.meter().snapshot();
    assert_eq!((meter.billed_calls, meter.images_billed, meter.downloads), (1, 3, 3));
    assert_eq!(meter.photo_hits.get("me.png"), Some(&1));
    assert_eq!(provider.bill().cost_micros, 3 * 39_000);
    provider.stop().await
}

#[tokio::test]
async fn an_aggregator_takes_data_urls_shapes_and_gives_base64_on_demand() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let mut request = asks(&provider, "a garden", 2);
    request["image"] = json!(format!("data:image/png;base64,{}", STANDARD.encode(photo())));
    request["aspect_ratio"] = json!("3:4");
    request["response_format"] = json!("b64_json");
    request["output_format"] = json!("webp");

    let answer = body(generations(&provider, &request).send().await?).await?;

    let data = answer["data"].as_array().context("no data")?;
    assert_eq!(data.len(), 2);
    for image in data {
        assert_eq!(image.as_object().map(|image| image.len()), Some(1), "{image}");
        let bytes = STANDARD.decode(image["b64_json"].as_str().context("no b64_json")?)?;
        assert_eq!(image::guess_format(&bytes)?, image::ImageFormat::WebP);
        assert_eq!(picture(&bytes)?.dimensions(), (48, 64));
    }
    provider.stop().await
}

#[tokio::test]
async fn openai_gives_base64_and_takes_references_only_by_edits() -> Result<()> {
    let provider = Provider::start(openai()).await?;

    let mut with_image = asks(&provider, "x", 1);
    with_image["image"] = json!("http://127.0.0.1/x.png");
    let mut with_format = asks(&provider, "x", 1);
    with_format["response_format"] = json!("url");
    for (request, param) in [(with_image, "image"), (with_format, "response_format")] {
        let refused = refusal(generations(&provider, &request)).await?;
        assert_eq!(refused, (400, Some(param.to_owned()), Some("unknown_parameter".to_owned())));
    }

    let form = |name: &'static str, count: usize| -> Result<Form> {
        let mut form = Form::new()
            .text("model", "gpt-image-2")
            .text("prompt", "a garden")
            .text("n", "2")
            .text("size", "1536x1024");
        for _ in 0..count {
            form = form.part(name, file(photo(), "image/png")?);
        }
        Ok(form)
    };
    for form in [form("image", 1)?, form("image[]", 2)?] {
        let answer = body(edits(&provider, form).send().await?).await?;
        assert_eq!(answer["output_format"], "png");
        let data = answer["data"].as_array().context("no data")?;
        assert_eq!(data.len(), 2);
        for image in data {
            let bytes = STANDARD.decode(image["b64_json"].as_str().context("no b64_json")?)?;
            assert_eq!(image::guess_format(&bytes)?, image::ImageFormat::Png);
            assert_eq!(picture(&bytes)?.dimensions(), (64, 42));
        }
    }
    provider.stop().await
}

#[tokio::test]
async fn edits_take_json_with_image_urls_too() -> Result<()> {
    let provider = Provider::start(openai()).await?;
    let photo = provider.serve_photo("me.png", photo(), "image/png");
    let request = json!({ "model": "gpt-image-2", "prompt": "x", "images": [{ "image_url": photo }] });

    let url = format!("{}/images/edits", provider.base_url());
    let answer = http().post(url).bearer_auth("sandbox-key").json(&request).send().await?;

    assert_eq!(answer.status(), 200);
    assert_eq!(provider.meter().snapshot().photo_hits.get("me.png"), Some(&1));
    provider.stop().await
}

#[tokio::test]
async fn malformed_requests_get_the_apis_errors_and_cost_nothing() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let long = "x".repeat(32_001);
    let cases: [(&str, Value, u16, &str, &str); 15] = [
        ("model", json!(null), 400, "model", "missing_required_parameter"),
        ("model", json!("gpt-image-1"), 404, "model", "model_not_found"),
        ("prompt", json!(null), 400, "prompt", "missing_required_parameter"),
        ("prompt", json!(""), 400, "prompt", "empty_string"),
        ("prompt", json!(7), 400, "prompt", "invalid_type"),
        ("prompt", json!(long), 400, "prompt", "string_above_max_length"),
        ("n", json!(0), 400, "n", "integer_below_min_value"),
        ("n", json!(11), 400, "n", "integer_above_max_value"),
        ("n", json!("3"), 400, "n", "invalid_type"),
        ("size", json!("huge"), 400, "size", "invalid_value"),
        ("output_format", json!("gif"), 400, "output_format", "invalid_value"),
        ("colour", json!("red"), 400, "colour", "unknown_parameter"),
        ("image", json!("data:image/png;base64,!"), 400, "image", "invalid_image_url"),
        ("image", json!("ftp://example.org/x.png"), 400, "image", "invalid_image_url"),
        ("image", json!("data:image/png;base64,aGVsbG8="), 400, "image", "invalid_image_file"),
    ];
    let count = cases.len();
    for (name, value, status, param, code) in cases {
        let mut request = asks(&provider, "x", 1);
        request[name] = value.clone();
        let refused = refusal(generations(&provider, &request)).await?;
        assert_eq!(refused, (status, Some(param.to_owned()), Some(code.to_owned())), "{name}: {value:.40}");
    }
    let meter = provider.meter().snapshot();
    assert_eq!((meter.calls.len(), meter.billed_calls, meter.in_flight), (count, 0, 0));
    provider.stop().await
}

#[tokio::test]
async fn a_limit_of_32000_is_of_characters_and_is_allowed() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let answer = generations(&provider, &asks(&provider, &"ü".repeat(32_000), 1)).send().await?;
    assert_eq!(answer.status(), 200);
    provider.stop().await
}

#[tokio::test]
async fn malformed_forms_get_the_apis_errors() -> Result<()> {
    let provider = Provider::start(openai()).await?;
    let form = || Form::new().text("model", "gpt-image-2").text("prompt", "x");
    let cases: [(Form, u16, Option<&str>, Option<&str>); 5] = [
        (form(), 400, Some("image"), Some("missing_required_parameter")),
        (form().text("image", "not a file"), 400, Some("image"), Some("invalid_type")),
        (
            form().part("image", file(photo(), "image/gif")?),
            400,
            Some("image"),
            Some("unsupported_file_mimetype"),
        ),
        (
            form().part("image", file(b"text".to_vec(), "image/png")?),
            400,
            Some("image"),
            Some("invalid_image_file"),
        ),
        (
            form().part("image", file(photo(), "image/png")?).text("n", "many"),
            400,
            Some("n"),
            Some("invalid_type"),
        ),
    ];
    for (form, status, param, code) in cases {
        let refused = refusal(edits(&provider, form)).await?;
        assert_eq!(refused, (status, param.map(str::to_owned), code.map(str::to_owned)));
    }
    assert_eq!(provider.meter().snapshot().billed_calls, 0);
    provider.stop().await
}

#[tokio::test]
async fn what_is_no_request_at_all_gets_the_apis_errors_too() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let url = format!("{}/images/generations", provider.base_url());
    let post = |url: &str| http().post(url).bearer_auth("sandbox-key");
    let json = "application/json";

    assert_eq!(refusal(post(&url).header("content-type", json).body("{")).await?, (400, None, None));
    assert_eq!(refusal(post(&url).header("content-type", json).body("[]")).await?, (400, None, None));
    assert_eq!(refusal(post(&url).body("x")).await?, (415, None, None));
    assert_eq!(refusal(post(&format!("{}/images/nothing", provider.base_url()))).await?, (404, None, None));
    assert_eq!(refusal(http().get(&url).bearer_auth("sandbox-key")).await?, (405, None, None));
    provider.stop().await
}

#[tokio::test]
async fn only_the_right_key_is_let_in() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let url = format!("{}/images/generations", provider.base_url());
    let request = asks(&provider, "x", 1);

    let missing = refusal(http().post(&url).json(&request)).await?;
    let wrong = refusal(http().post(&url).bearer_auth("sandbox-key2").json(&request)).await?;

    assert_eq!(missing, (401, None, None));
    assert_eq!(wrong, (401, None, Some("invalid_api_key".to_owned())));
    let meter = provider.meter().snapshot();
    assert_eq!((meter.calls.len(), meter.billed_calls), (2, 0));
    provider.stop().await
}

#[tokio::test]
async fn a_reference_that_cannot_be_fetched_is_refused_unbilled() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let gone = provider.serve_status("gone.png", 404);
    let moved = provider.serve_redirect("moved.png", &provider.serve_photo("here.png", photo(), "image/png"));

    let mut request = asks(&provider, "x", 1);
    request["image"] = json!(gone);
    let refused = refusal(generations(&provider, &request)).await?;
    request["image"] = json!(moved);
    let answered = generations(&provider, &request).send().await?;

    assert_eq!(refused, (400, Some("image".to_owned()), Some("invalid_image_url".to_owned())));
    assert_eq!(answered.status(), 200);
    let meter = provider.meter().snapshot();
    let hits: Vec<_> = meter.photo_hits.iter().map(|(name, hits)| (name.as_str(), *hits)).collect();
    assert_eq!(hits, [("gone.png", 1), ("here.png", 1), ("moved.png", 1)]);
    assert_eq!(meter.billed_calls, 1);
    provider.stop().await
}

#[tokio::test]
async fn the_meter_can_be_read_over_http() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    urls(generations(&provider, &asks(&provider, "x", 2))).await?;

    let read = http().get(format!("{}/_meter", provider.url())).send().await?.bytes().await?;

    assert_eq!(serde_json::from_slice::<sandbox::Meter>(&read)?, provider.meter().snapshot());
    provider.stop().await
}
