//! Faults on demand, as the client sees them and as the bill shows them.

use anyhow::{Context, Result};
use sandbox::{Fault, Provider, Rule};
use serde_json::Value;

use crate::client::*;

#[tokio::test]
async fn refusals_have_the_apis_form_and_cost_nothing() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let cases = [
        (Fault::Status { status: 500, retry_after_s: None }, 500, "server_error", None),
        (Fault::Status { status: 503, retry_after_s: Some(7) }, 503, "server_error", Some("7")),
        (Fault::Status { status: 429, retry_after_s: Some(3) }, 429, "requests", Some("3")),
        (Fault::ModerationBlocked, 400, "image_generation_user_error", None),
        (Fault::InvalidKey, 401, "invalid_request_error", None),
        (Fault::InsufficientQuota, 429, "insufficient_quota", None),
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
    provider.faults().add(Rule::new(Fault::MalformedJson).times(1));
    provider.faults().add(Rule::new(Fault::Html { status: 502 }).times(1));

    let cut = generations(&provider, &asks(&provider, "x", 2)).send().await?;
    let page = generations(&provider, &asks(&provider, "x", 2)).send().await?;

    assert_eq!((cut.status().as_u16(), page.status().as_u16()), (200, 502));
    assert_eq!(page.headers()["content-type"], "text/html");
    assert!(serde_json::from_slice::<Value>(&cut.bytes().await?).is_err());
    assert_eq!((provider.bill().calls, provider.bill().images), (1, 2));
    provider.stop().await
}

#[tokio::test]
async fn connections_are_reset_before_or_after_billing() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    for (fault, billed) in [(Fault::ResetBeforeBilling, 0), (Fault::ResetAfterBilling, 1)] {
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
    provider.faults().add(Rule::new(Fault::HangAfterBilling).times(1));

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
    provider.faults().add(Rule::new(Fault::Truncated { keep_bytes: 100 }).prompt("x").image(1).times(1));

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
