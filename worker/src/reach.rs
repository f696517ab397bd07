//! Can this worker reach Temporal? A worker that can't gets no work, and must not keep a share of the provider key from those that do.

use std::convert::Infallible;
use std::time::Duration;

use limiter::Limiter;
use temporalio_client::tonic::Request;
use temporalio_common::protos::temporal::api::workflowservice::v1::GetSystemInfoRequest;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How often Temporal is asked for a sign of life.
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// How long one sign may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// Without a sign for so long the worker is cut off; as long as a lease.
const CUT_OFF_AFTER: Duration = limiter::TTL;

/// Tells the limiter when Temporal can't be reached, and when it can again, for as long as it is polled.
pub(crate) async fn watch(client: &temporalio_client::Client, limiter: &Limiter) -> Infallible {
    let mut seen_at = Instant::now();
    let mut cut_off = false;
    let mut ticks = interval(ASKED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut service = client.connection().workflow_service();
        let sign = service.get_system_info(Request::new(GetSystemInfoRequest::default()));
        if matches!(timeout(ANSWERS_WITHIN, sign).await, Ok(Ok(_))) {
            seen_at = Instant::now();
        }
        let is_cut_off = seen_at.elapsed() > CUT_OFF_AFTER;
        if is_cut_off != cut_off {
            cut_off = is_cut_off;
            limiter.set_cut_off(cut_off);
            if cut_off {
                tracing::warn!(
                    "Temporal can't be reached: this worker gives its share of the provider key back"
                );
            } else {
                tracing::info!("Temporal can be reached again");
            }
        }
    }
}
