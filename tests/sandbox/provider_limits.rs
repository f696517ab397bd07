//! Limits: so many at once, so many a second, and how long things take.

use anyhow::Result;
use sandbox::Provider;
use sandbox::provider::Settings;

use crate::client::*;

#[tokio::test]
async fn more_calls_at_once_than_allowed_are_throttled_and_free() -> Result<()> {
    let provider =
        Provider::start(Settings { max_in_flight: Some(2), retry_after_ms: 1500, ..aggregator() }).await?;
    provider.hold();
    let calls: Vec<_> =
        (0..2).map(|_| tokio::spawn(generations(&provider, &asks(&provider, "x", 5)).send())).collect();
    provider.meter().wait_until(|meter| meter.in_flight == 2).await?;

    let third = generations(&provider, &asks(&provider, "x", 5)).send().await?;

    assert_eq!(third.status(), 429);
    assert_eq!(third.headers()["retry-after"], "2");
    assert_eq!(third.headers()["retry-after-ms"], "1500");
    assert_eq!(body(third).await?["error"]["code"], "rate_limit_exceeded");
    provider.release();
    for call in calls {
        assert_eq!(call.await??.status(), 200);
    }
    let fourth = generations(&provider, &asks(&provider, "x", 5)).send().await?;
    assert_eq!(fourth.status(), 200);
    let meter = provider.meter().snapshot();
    assert_eq!(
        (meter.max_in_flight, meter.throttled, meter.billed_calls, meter.images_billed),
        (2, 1, 3, 15)
    );
    provider.stop().await
}

#[tokio::test]
async fn more_calls_a_second_than_allowed_are_throttled() -> Result<()> {
    // One in ten minutes: the requests fall into that time however slow the machine.
    let rate = Settings { max_per_second: Some(1.0 / 600.0), ..aggregator() };
    let provider = Provider::start(rate).await?;

    let mut statuses = Vec::new();
    for _ in 0..3 {
        let answer = generations(&provider, &asks(&provider, "x", 1)).send().await?;
        let wait =
            answer.headers().get("retry-after-ms").map(|value| value.to_str().unwrap_or_default().to_owned());
        statuses.push((
            answer.status().as_u16(),
            wait.is_some_and(|wait| wait.parse().is_ok_and(|ms: u64| (1..=600_000).contains(&ms))),
        ));
    }

    assert_eq!(statuses, [(200, false), (429, true), (429, true)]);
    assert_eq!(provider.meter().snapshot().throttled, 2);
    provider.stop().await
}

#[tokio::test]
async fn a_limit_can_be_changed_while_it_runs() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    provider.change(|settings| settings.max_in_flight = Some(0));

    let refused = generations(&provider, &asks(&provider, "x", 1)).send().await?;

    assert_eq!(refused.status(), 429);
    provider.stop().await
}

#[tokio::test]
async fn calls_and_downloads_take_the_providers_time_at_its_speed() -> Result<()> {
    let provider =
        Provider::start(Settings { speed: 1.0, batch_ms: 9_000_000, download_ms: 3_000_000, ..aggregator() })
            .await?;
    provider.set_speed(100_000.0);

    let urls = urls(generations(&provider, &asks(&provider, "x", 1))).await?;
    http().get(&urls[0]).send().await?;

    let meter = provider.meter().snapshot();
    let call_ms = meter.calls[0].ended_ms.unwrap_or_default() - meter.calls[0].started_ms;
    let download = &meter.download_log[0];
    let download_ms = download.ended_ms.unwrap_or_default() - download.started_ms;
    // Real time would be hours. The clock's grain is a millisecond.
    assert!((89..600_000).contains(&call_ms), "{call_ms}");
    assert!((29..600_000).contains(&download_ms), "{download_ms}");
    provider.stop().await
}

#[tokio::test]
async fn held_calls_are_released_one_by_one() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    provider.hold();
    for _ in 0..3 {
        tokio::spawn(generations(&provider, &asks(&provider, "x", 1)).send());
    }
    provider.meter().wait_until(|meter| meter.in_flight == 3).await?;

    provider.release_one();
    let meter = provider.meter().wait_until(|meter| meter.billed_calls > 0).await?;
    assert_eq!((meter.billed_calls, meter.in_flight), (1, 2));
    provider.release();

    provider.meter().wait_until(|meter| meter.billed_calls == 3).await?;
    provider.stop().await
}

#[tokio::test]
async fn downloads_are_metered_while_they_last() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let urls = urls(generations(&provider, &asks(&provider, "x", 3))).await?;
    provider.hold_downloads();

    let downloads: Vec<_> = urls.iter().map(|url| tokio::spawn(http().get(url).send())).collect();
    provider.meter().wait_until(|meter| meter.downloads_in_flight == 3).await?;
    downloads[0].abort();
    provider.meter().wait_until(|meter| meter.downloads_in_flight == 2).await?;
    provider.release_downloads();
    let meter = provider.meter().wait_until(|meter| meter.downloads_in_flight == 0).await?;

    assert_eq!((meter.downloads, meter.max_downloads_in_flight), (3, 3));
    let mut statuses: Vec<_> = meter.download_log.iter().map(|download| download.status).collect();
    statuses.sort();
    assert_eq!(statuses, [None, Some(200), Some(200)]);
    provider.stop().await
}

#[tokio::test]
async fn only_the_next_downloads_are_held() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let urls = urls(generations(&provider, &asks(&provider, "x", 2))).await?;
    provider.hold_next_downloads(1);

    let stale = tokio::spawn(http().get(&urls[0]).send());
    provider.meter().wait_until(|meter| meter.downloads == 1).await?;
    let mut passed = Vec::new();
    for url in [&urls[0], &urls[1]] {
        passed.push(http().get(url).send().await?.bytes().await?);
    }
    let meter = provider.meter().snapshot();
    assert_eq!((meter.downloads, meter.downloads_in_flight, stale.is_finished()), (3, 1, false));
    provider.release_downloads();

    assert_eq!(stale.await??.bytes().await?, passed[0]);
    assert_eq!(http().get(&urls[1]).send().await?.bytes().await?, passed[1]);
    provider.stop().await
}

#[tokio::test]
async fn a_release_ends_the_holding_of_downloads_yet_to_come() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let urls = urls(generations(&provider, &asks(&provider, "x", 1))).await?;
    provider.hold_next_downloads(5);
    provider.release_downloads();

    assert_eq!(http().get(&urls[0]).send().await?.status(), 200);
    provider.stop().await
}
