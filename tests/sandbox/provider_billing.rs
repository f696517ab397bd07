//! The bill: each accepted call once, whatever becomes of the client.

use anyhow::Result;
use sandbox::provider::Settings;
use sandbox::{Bill, Provider};

use crate::client::*;

const KEY: &str = "x-idempotency-key";

fn honouring() -> Settings {
    Settings { idempotency_header: Some(KEY.to_owned()), ..aggregator() }
}

#[tokio::test]
async fn a_call_goes_on_and_is_billed_when_the_client_hangs_up() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    provider.hold();
    let call = tokio::spawn(generations(&provider, &asks(&provider, "x", 4)).send());
    provider.meter().wait_until(|meter| meter.in_flight == 1).await?;

    call.abort();
    let gone = provider.meter().wait_until(|meter| meter.calls[0].client_gone).await?;
    assert_eq!((gone.in_flight, gone.billed_calls), (1, 0));
    provider.release();
    let meter = provider.meter().wait_until(|meter| meter.in_flight == 0).await?;

    assert_eq!((meter.billed_calls, meter.images_billed, meter.calls[0].status), (1, 4, None));
    provider.stop().await
}

#[tokio::test]
async fn prices_are_per_call_and_per_image() -> Result<()> {
    let prices = Settings { price_per_call_micros: 1000, price_per_image_micros: 10, ..aggregator() };
    let provider = Provider::start(prices).await?;

    for n in [1, 5] {
        urls(generations(&provider, &asks(&provider, "x", n))).await?;
    }

    assert_eq!(provider.bill(), Bill { calls: 2, images: 6, cost_micros: 2060 });
    provider.stop().await
}

#[tokio::test]
async fn without_idempotency_a_repeated_call_is_billed_again() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;

    for _ in 0..2 {
        urls(generations(&provider, &asks(&provider, "x", 2)).header("idempotency-key", "k")).await?;
    }

    let meter = provider.meter().snapshot();
    assert_eq!((meter.billed_calls, meter.images_billed), (2, 4));
    assert_eq!(meter.calls[1].idempotency_key.as_deref(), Some("k"));
    provider.stop().await
}

#[tokio::test]
async fn a_repeated_call_gets_the_first_answer_unbilled() -> Result<()> {
    let provider = Provider::start(honouring()).await?;
    let call = || urls(generations(&provider, &asks(&provider, "x", 2)).header(KEY, "k"));

    let (first, again) = (call().await?, call().await?);

    assert_eq!(first, again);
    let meter = provider.meter().snapshot();
    assert_eq!((meter.calls.len(), meter.billed_calls, meter.images_billed), (2, 1, 2));
    assert_eq!((meter.calls[0].replayed, meter.calls[1].replayed), (false, true));
    provider.stop().await
}

#[tokio::test]
async fn a_call_repeated_while_the_first_is_under_way_joins_it() -> Result<()> {
    let provider = Provider::start(honouring()).await?;
    provider.hold();
    let call = || generations(&provider, &asks(&provider, "x", 2)).header(KEY, "k").send();

    let lost = tokio::spawn(call());
    provider.meter().wait_until(|meter| meter.in_flight == 1).await?;
    lost.abort();
    provider.meter().wait_until(|meter| meter.calls[0].client_gone).await?;
    let again = tokio::spawn(call());
    provider.meter().wait_until(|meter| meter.calls.len() == 2 && meter.calls[1].replayed).await?;
    provider.release();

    assert_eq!(again.await??.status(), 200);
    let meter = provider.meter().snapshot();
    assert_eq!((meter.billed_calls, meter.max_in_flight), (1, 1));
    provider.stop().await
}

#[tokio::test]
async fn a_key_with_another_request_is_refused() -> Result<()> {
    let provider = Provider::start(honouring()).await?;
    urls(generations(&provider, &asks(&provider, "x", 2)).header(KEY, "k")).await?;

    let refused = refusal(generations(&provider, &asks(&provider, "x", 3)).header(KEY, "k")).await?;

    assert_eq!((refused.0, refused.2.as_deref()), (400, Some("idempotency_key_reused")));
    assert_eq!(provider.bill().calls, 1);
    provider.stop().await
}

#[tokio::test]
async fn a_refused_call_may_be_repeated_with_its_key() -> Result<()> {
    let provider = Provider::start(honouring()).await?;
    provider.fails(503, 1);
    provider.change(|settings| settings.max_in_flight = Some(0));
    let call = || generations(&provider, &asks(&provider, "x", 2)).header(KEY, "k").send();

    let throttled = call().await?.status();
    provider.change(|settings| settings.max_in_flight = None);
    let (failed, done) = (call().await?.status(), call().await?.status());

    assert_eq!((throttled.as_u16(), failed.as_u16(), done.as_u16()), (429, 503, 200));
    assert_eq!(provider.bill().calls, 1);
    provider.stop().await
}
