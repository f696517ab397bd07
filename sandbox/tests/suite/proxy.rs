//! The network between two parts.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sandbox::{Provider, Proxy};

use crate::client::*;

/// The provider's list of models, through a proxy.
async fn ask(proxy: &Proxy, provider: &Provider) -> reqwest::Result<u16> {
    let url = format!("http://{}/v1/models", proxy.address());
    let request =
        http().get(url).bearer_auth(provider.settings().api_key).timeout(Duration::from_millis(500));
    Ok(request.send().await?.status().as_u16())
}

#[tokio::test]
async fn what_is_cut_or_stalled_goes_on_when_it_is_mended() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let proxy = Proxy::start(provider.url().strip_prefix("http://").context("a URL")?).await?;
    assert_eq!(ask(&proxy, &provider).await?, 200);

    proxy.cut();
    assert!(ask(&proxy, &provider).await.is_err_and(|error| !error.is_timeout()));
    proxy.stall();
    assert!(ask(&proxy, &provider).await.is_err_and(|error| error.is_timeout()));
    proxy.mend();

    assert_eq!(ask(&proxy, &provider).await?, 200);
    provider.stop().await
}

#[tokio::test]
async fn a_cut_ends_what_is_under_way() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let proxy = Proxy::start(provider.url().strip_prefix("http://").context("a URL")?).await?;
    provider.hold();
    let through = format!("http://{}/v1/images/generations", proxy.address());
    let body = asks(&provider, "x", 1);
    let call = http().post(through).bearer_auth(provider.settings().api_key).json(&body).send();
    let call = tokio::spawn(call);
    provider.meter().wait_until(|meter| meter.in_flight == 1).await?;
    assert_eq!(proxy.connections(), 1);

    proxy.cut();

    assert!(call.await?.is_err());
    provider.meter().wait_until(|meter| meter.calls[0].client_gone).await?;
    provider.release();
    provider.stop().await
}

#[tokio::test]
async fn what_is_slow_takes_longer_both_ways() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let proxy = Proxy::start(provider.url().strip_prefix("http://").context("a URL")?).await?;
    proxy.slow(Duration::from_millis(50));
    let began = Instant::now();

    assert_eq!(ask(&proxy, &provider).await?, 200);

    assert!(began.elapsed() >= Duration::from_millis(100));
    provider.stop().await
}
