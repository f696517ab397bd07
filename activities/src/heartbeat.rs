//! Heartbeats: sent while a step works, so that its worker's death is noticed and a cancel is heard.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use temporalio_client::{ActivityIdentifier, RpcOptions};
use temporalio_sdk::activities::ActivityContext;
use tokio::time::{Instant, timeout};

/// How often a step beats, first after as long: half the shortest heartbeat timeout. A step that takes less costs the server nothing.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long a step waits for the server to take note.
const NOTED_WITHIN: Duration = Duration::from_secs(2);

/// What a step has done so far, kept with Temporal: a next attempt goes on from there. The last heartbeat of a failed attempt
/// reaches the server with its failure; that of a killed worker may be a second old.
#[derive(Debug, Default)]
pub(crate) struct Done<T>(Mutex<T>);

impl<T: Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static> Done<T> {
    /// What the previous attempt left; nothing in the first, or where it can't be read.
    pub(crate) fn resume(ctx: &ActivityContext) -> Self {
        Self(Mutex::new(ctx.heartbeat_details().deserialize().ok().flatten().unwrap_or_default()))
    }

    pub(crate) fn get(&self) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Beats while `step` works, and once more when it has failed: what it has done is for the next attempt.
    pub(crate) async fn beat<R, E>(
        &self,
        ctx: &ActivityContext,
        step: impl Future<Output = Result<R, E>>,
    ) -> Result<R, E> {
        let mut step = std::pin::pin!(step);
        let mut interval = tokio::time::interval_at(Instant::now() + INTERVAL, INTERVAL);
        loop {
            tokio::select! {
                result = &mut step => {
                    if result.is_err() {
                        self.send(ctx).await;
                    }
                    return result;
                }
                _ = interval.tick() => self.send(ctx).await,
            }
        }
    }

    /// Changes what the step has done, and waits until the server has it: the SDK holds heartbeats back for up to 1.6 s, and
    /// a worker may not live as long. Where the server can't be reached, the step goes on all the same.
    pub(crate) async fn note(&self, ctx: &ActivityContext, change: impl FnOnce(&mut T)) {
        self.change(change);
        // Replaces an older one that the SDK holds back.
        self.send(ctx).await;
        let token = ActivityIdentifier::from_task_token(ctx.info().task_token.clone().into());
        let handle = ctx.client().get_async_activity_handle(token);
        let noted = timeout(NOTED_WITHIN, handle.heartbeat(Some(self.get()), RpcOptions::default())).await;
        if !matches!(noted, Ok(Ok(_))) {
            tracing::warn!(activity = ctx.info().activity_id, "the server can't be told how far the step is");
        }
    }

    async fn send(&self, ctx: &ActivityContext) {
        if let Err(error) = ctx.record_heartbeat(self.get()).await {
            tracing::error!(%error, activity = ctx.info().activity_id, "heartbeat can't be encoded");
        }
    }
}
