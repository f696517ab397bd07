//! Faults on demand, as the client sees them and as the bill shows them.

use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sandbox::provider::Settings;
use sandbox::{Entries, Format, Provider, ProviderFault, Rule};
use serde_json::Value;

use crate::client::*;

#[tokio::test]
async fn refusals_have_the_apis_form_and_cost_nothing() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let cases = [
        (ProviderFault::Status { status: 500, retry_after_s: None }, 500, "server_error", None),
        (ProviderFault::Status { status: 503, retry_after_s: Some(7) }, 503, "server_error", Some("7")),
        (ProviderFault::Status { status: 429, retry_after_s: Some(3) }, 429, "requests", Some("3")),
        (ProviderFault::ModerationBlocked, 400, "image_generation_user_error", None),
        (ProviderFault::InvalidKey, 401, "invalid_request_error", None),
        (ProviderFault::InsufficientQuota, 429, "insufficient_quota", None),
    ];
    for (fault, status, kind, retry_after) in cases {
        provider.faults().add(Rule::new(fault).times(1));
        let answer = generations(&provider, &asks(&provider, "x", 1)).send().await?;
        let wait = answer.headers().get("retry-after").cloned();
        assert_eq!(answer.status(), status);
        assert_eq!(wait.as_ref().map(|wait| wait.as_bytes()), retry_after.map(str::as_bytes));
        assert_eq!(body(answer).await?["error"]["type"], kind);
    }
    let meter = provider.meter().snapshot();
    assert_eq!((meter.billed_calls, meter.in_flight, meter.throttled), (0, 0, 0));
    provider.stop().await
}

#[tokio::test]
async fn a_rejected_prompt_is_named_as_such() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    provider.rejects("forbidden");

    let good = generations(&provider, &asks(&provider, "a garden", 1)).send().await?;
    let bad = generations(&provider, &asks(&provider, "a forbidden thing", 1)).send().await?;

    assert_eq!((good.status().as_u16(), bad.status().as_u16()), (200, 400));
    let error = body(bad).await?["error"].clone();
    assert_eq!(error["code"], "moderation_blocked");
    assert_eq!(error["moderation_details"]["moderation_stage"], "input");
    assert!(error["moderation_details"]["categories"].is_array());
    provider.stop().await
}

#[tokio::test]
async fn short_and_long_answers_bill_what_they_give() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    for (images, billed) in [(3, 3), (0, 3), (7, 10)] {
        provider.short_answer("x", images);
        let urls = urls(generations(&provider, &asks(&provider, "x", 5))).await?;
        assert_eq!((urls.len(), provider.bill().images), (images as usize, billed));
    }
    provider.stop().await
}

#[tokio::test]
async fn answers_can_be_cut_or_not_the_apis_at_all() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    provider.faults().add(Rule::new(ProviderFault::MalformedJson).times(1));
    provider.faults().add(Rule::new(ProviderFault::Html { status: 502 }).times(1));

    let cut = generations(&provider, &asks(&provider, "x", 2)).send().await?;
    let page = generations(&provider, &asks(&provider, "x", 2)).send().await?;

    assert_eq!((cut.status().as_u16(), page.status().as_u16()), (200, 502));
    assert_eq!(page.headers()["content-type"], "text/html");
    assert!(serde_json::from_slice::<Value>(&cut.bytes().await?).is_err());
    assert_eq!((provider.bill().calls, provider.bill().images), (1, 2));
    provider.stop().await
}

#[tokio::test]
async fn answers_can_be_anything_and_are_billed_if_they_say_so() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let cases = [
        (ProviderFault::says(200, r#"{"error":{"code":429}}"#), 200, "application/json", 0),
        (ProviderFault::says(451, "<html>no</html>"), 451, "text/html", 0),
        (ProviderFault::job(), 200, "application/json", 2),
    ];
    let mut billed = 0;
    for (fault, status, content_type, images) in cases {
        let ProviderFault::Says { body: expected, .. } = &fault else { continue };
        let expected = expected.clone();
        provider.faults().add(Rule::new(fault).times(1));
        let answer = generations(&provider, &asks(&provider, "x", 2)).send().await?;
        billed += images;
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["content-type"].to_str()?),
            (status, content_type)
        );
        assert_eq!((answer.text().await?, provider.bill().images), (expected, billed));
    }
    provider.stop().await
}

#[tokio::test]
async fn entries_come_in_other_forms() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let ask = async |entries| {
        provider.faults().add(Rule::new(ProviderFault::Entries(entries)).times(1));
        let before = provider.bill().images;
        let data =
            body(generations(&provider, &asks(&provider, "x", 2)).send().await?).await?["data"].clone();
        anyhow::Ok((data, provider.bill().images - before))
    };

    let (data, billed) = ask(Entries::DataUrls).await?;
    let prefixed = data[0]["b64_json"].as_str().context("bytes")?;
    let bytes = STANDARD.decode(prefixed.strip_prefix("data:image/jpeg;base64,").context("a data URL")?)?;
    assert!(image::load_from_memory(&bytes).is_ok());
    assert_eq!(billed, 2);

    let (data, billed) = ask(Entries::BrokenBytes).await?;
    assert!(STANDARD.decode(data[0]["b64_json"].as_str().context("bytes")?).is_err());
    assert_eq!((data[0]["url"].is_string(), billed), (true, 2));

    let (data, billed) = ask(Entries::NullFirst).await?;
    assert_eq!((data[0].is_null(), data[1]["url"].is_string(), billed), (true, true, 2));

    let (data, billed) = ask(Entries::RejectedFirst).await?;
    assert_eq!((data[0]["error"].is_object(), data[1]["url"].is_string(), billed), (true, true, 1));
    provider.stop().await
}

#[tokio::test]
async fn connections_are_reset_before_or_after_billing() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    for (fault, billed) in [(ProviderFault::ResetBeforeBilling, 0), (ProviderFault::ResetAfterBilling, 1)] {
        provider.faults().add(Rule::new(fault).times(1));
        let error =
            generations(&provider, &asks(&provider, "x", 1)).send().await.err().context("an answer came")?;
        assert!(error.is_request(), "{error:?}");
        assert!(format!("{error:?}").contains("ConnectionReset"), "{error:?}");
        let meter = provider.meter().wait_until(|meter| meter.in_flight == 0).await?;
        assert_eq!(meter.billed_calls, billed);
    }
    provider.stop().await
}

#[tokio::test]
async fn a_call_can_hang_after_it_was_billed() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    provider.faults().add(Rule::new(ProviderFault::HangAfterBilling).times(1));

    let call = tokio::spawn(generations(&provider, &asks(&provider, "x", 1)).send());
    let meter =
        provider.meter().wait_until(|meter| meter.calls.iter().any(|call| call.ended_ms.is_some())).await?;

    // Time enough for another call from end to end, and the first still waits.
    assert_eq!(generations(&provider, &asks(&provider, "x", 1)).send().await?.status(), 200);
    assert_eq!((meter.billed_calls, meter.calls[0].status, call.is_finished()), (1, None, false));
    call.abort();
    provider.stop().await
}

#[tokio::test]
async fn downloads_fail_or_are_cut_with_a_length_that_fits() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let urls = urls(generations(&provider, &asks(&provider, "x", 2))).await?;
    let whole = http().get(&urls[1]).send().await?.bytes().await?;
    provider.fails_downloads(404, 1);
    provider
        .faults()
        .add(Rule::new(ProviderFault::Truncated { keep_bytes: 100 }).prompt("x").image(1).times(1));

    let missing = http().get(&urls[0]).send().await?;
    let cut = http().get(&urls[1]).send().await?;
    let again = http().get(&urls[1]).send().await?;

    assert_eq!(missing.status(), 404);
    assert_eq!((cut.status().as_u16(), cut.headers()["content-length"].to_str()?), (200, "100"));
    assert_eq!(cut.bytes().await?, whole.slice(..100));
    assert_eq!(again.bytes().await?, whole);
    provider.stop().await
}

#[tokio::test]
async fn urls_need_their_signature_and_expire() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let urls = urls(generations(&provider, &asks(&provider, "x", 1))).await?;
    let (unsigned, _) = urls[0].split_once('?').context("no query")?;
    let status = async |url: &str| anyhow::Ok(http().get(url).send().await?.status().as_u16());

    assert_eq!(status(&urls[0]).await?, 200);
    assert_eq!(status(unsigned).await?, 403);
    provider.expire_urls();
    assert_eq!(status(&urls[0]).await?, 403);

    provider.change(|settings| settings.url_ttl_ms = 0);
    let at_once = crate::client::urls(generations(&provider, &asks(&provider, "x", 1))).await?;
    assert_eq!(status(&at_once[0]).await?, 403);
    provider.stop().await
}

#[tokio::test]
async fn the_provider_goes_away_and_comes_back_where_it_was() -> Result<()> {
    let mut provider = Provider::start(aggregator()).await?;
    provider.hold();
    let cut = tokio::spawn(generations(&provider, &asks(&provider, "x", 1)).send());
    provider.meter().wait_until(|meter| meter.in_flight == 1).await?;

    provider.go_down().await;
    assert!(cut.await?.is_err());
    let refused =
        generations(&provider, &asks(&provider, "x", 1)).send().await.err().context("an answer came")?;
    assert!(refused.is_connect(), "{refused:?}");
    provider.come_back().await?;
    provider.release();

    assert_eq!(generations(&provider, &asks(&provider, "x", 1)).send().await?.status(), 200);
    let meter = provider.meter().wait_until(|meter| meter.in_flight == 0).await?;
    assert_eq!(meter.billed_calls, 2);
    provider.stop().await
}

#[tokio::test]
async fn bodies_trickle_end_early_or_call_themselves_something_else() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    for fault in [ProviderFault::SlowBody { ms: 50 }, ProviderFault::CutBody, ProviderFault::WrongContentType]
    {
        provider.faults().add(Rule::new(fault).times(1));
    }
    let ask = async || anyhow::Ok(generations(&provider, &asks(&provider, "x", 1)).send().await?);

    let (slow, cut, mislabelled) = (ask().await?, ask().await?, ask().await?);

    assert_eq!((slow.status().as_u16(), cut.status().as_u16()), (200, 200));
    assert!(body(slow).await?["data"].is_array());
    assert!(cut.bytes().await.is_err());
    assert_eq!(mislabelled.headers()["content-type"], "text/html");
    assert!(body(mislabelled).await?["data"].is_array());
    let meter = provider.meter().snapshot();
    assert_eq!(meter.billed_calls, 3);
    assert_eq!(meter.calls.iter().map(|call| call.spoilt).collect::<Vec<_>>(), [false, true, false]);
    provider.stop().await
}

#[tokio::test]
async fn a_hang_before_billing_costs_nothing() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    provider.faults().add(Rule::new(ProviderFault::HangBeforeBilling).times(1));
    let call = tokio::spawn(generations(&provider, &asks(&provider, "x", 1)).send());
    provider.meter().wait_until(|meter| meter.calls.len() == 1).await?;

    // Time enough for another call from end to end, and the first still waits.
    assert_eq!(generations(&provider, &asks(&provider, "x", 1)).send().await?.status(), 200);
    let meter = provider.meter().snapshot();
    assert_eq!((meter.calls[0].billed, meter.billed_calls, meter.in_flight), (false, 1, 0));
    assert!(!call.is_finished());
    call.abort();
    provider.stop().await
}

#[tokio::test]
async fn images_can_be_no_images_in_urls_and_in_bytes() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    provider.faults().add(Rule::new(ProviderFault::NotAnImage));
    let urls = urls(generations(&provider, &asks(&provider, "x", 1))).await?;
    let answer = http().get(&urls[0]).send().await?;
    assert_eq!(answer.headers()["content-type"], "image/jpeg");
    assert!(image::load_from_memory(&answer.bytes().await?).is_err());

    let mut asks = asks(&provider, "x", 1);
    asks["response_format"] = "b64_json".into();
    let answer = body(generations(&provider, &asks).send().await?).await?;
    let bytes = STANDARD.decode(answer["data"][0]["b64_json"].as_str().context("bytes")?)?;

    assert!(image::load_from_memory(&bytes).is_err());
    let meter = provider.meter().snapshot();
    assert_eq!(
        (meter.download_log[0].spoilt, meter.calls[0].spoilt, meter.calls[1].spoilt),
        (true, false, true)
    );
    provider.stop().await
}

#[tokio::test]
async fn downloads_go_wrong_in_every_way() -> Result<()> {
    let provider = Provider::start(Settings { format: Format::Png, ..aggregator() }).await?;
    let urls = urls(generations(&provider, &asks(&provider, "x", 1))).await?;
    let sound = http().get(&urls[0]).send().await?.bytes().await?;
    let download = async |fault| {
        provider.faults().clear();
        // All but a hang come to an end, however slow the machine.
        let patience =
            Duration::from_millis(if fault == ProviderFault::DownloadHang { 500 } else { 120_000 });
        provider.faults().add(Rule::new(fault));
        let answer = http().get(&urls[0]).timeout(patience).send().await.ok();
        let content_type = answer.as_ref().map(|answer| answer.headers()["content-type"].clone());
        let bytes = match answer {
            Some(answer) => answer.bytes().await.ok(),
            None => None,
        };
        (content_type.map(|value| value.to_str().unwrap_or_default().to_owned()), bytes)
    };

    let png = || Some("image/png".to_owned());
    assert_eq!(download(ProviderFault::DownloadHang).await, (None, None));
    assert_eq!(download(ProviderFault::DownloadCut).await, (png(), None));
    assert_eq!(download(ProviderFault::DownloadSlow { ms: 50 }).await, (png(), Some(sound.clone())));
    assert_eq!(
        download(ProviderFault::DownloadWrongType).await,
        (Some("text/html".into()), Some(sound.clone()))
    );
    let (content_type, page) = download(ProviderFault::DownloadNotAnImage).await;
    assert_eq!((content_type, page.is_some_and(|page| page.starts_with(b"<html>"))), (png(), true));
    let (_, gif) = download(ProviderFault::DownloadGif).await;
    assert!(gif.is_some_and(|gif| gif.starts_with(b"GIF89a")));
    let (_, endless) = download(ProviderFault::DownloadWithoutEnd).await;
    assert_eq!(endless, Some(sound.slice(..sound.len() - 12)));
    let (_, flipped) = download(ProviderFault::FlippedBit).await;
    let flipped = flipped.context("the file comes")?;
    let different = sound.iter().zip(&flipped).filter(|(sound, flipped)| sound != flipped).count();
    assert_eq!((flipped.len(), different), (sound.len(), 1));
    assert!(image::load_from_memory(&flipped).is_err(), "a PNG's checksum tells");
    provider.stop().await
}

#[tokio::test]
async fn a_storm_passes_and_chance_is_the_seeds() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let statuses = async |calls: usize| {
        let mut statuses = Vec::new();
        for _ in 0..calls {
            statuses.push(generations(&provider, &asks(&provider, "x", 1)).send().await?.status().as_u16());
        }
        anyhow::Ok(statuses)
    };
    let busy = || Rule::new(ProviderFault::Status { status: 429, retry_after_s: None });
    provider.faults().add(busy().during(Duration::ZERO));
    assert_eq!(statuses(1).await?, [200]);
    provider.faults().add_first(busy().during(Duration::from_secs(600)));
    assert_eq!(statuses(2).await?, [429, 429]);

    let draw = async |seed| {
        provider.faults().clear();
        provider.faults().seed(seed);
        provider.faults().add(busy().chance(0.5));
        statuses(20).await
    };
    let (once, again, other) = (draw(1).await?, draw(1).await?, draw(2).await?);

    assert_eq!(once, again);
    assert_ne!(once, other);
    provider.stop().await
}
