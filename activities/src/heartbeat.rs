//! Heartbeats of a step, which show Temporal that the worker lives, and bring a cancel to the step.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use temporalio_client::{ActivityIdentifier, RpcOptions};
use temporalio_sdk::activities::ActivityContext;
use tokio::time::{Instant, timeout};

/// Time between a step's heartbeats, and before the first one. The interval is half the shortest
/// heartbeat timeout.
const INTERVAL: Duration = Duration::from_secs(1);

/// Time that a step waits for the server to record its progress.
const NOTED_WITHIN: Duration = Duration::from_secs(2);

/// Progress of a step, kept with Temporal, from which the next attempt goes on. The last heartbeat
/// of a failed attempt reaches the server with its failure. The last heartbeat of a killed worker
/// may be some seconds old.
#[derive(Debug, Default)]
pub(crate) struct Checkpoint<T>(Mutex<T>);

impl<T: Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static> Checkpoint<T> {
    /// Returns the progress of the previous attempt. The default stands for a first attempt, and
    /// for details that can't be read.
    pub(crate) fn resume(ctx: &ActivityContext) -> Self {
        Self(Mutex::new(ctx.heartbeat_details().deserialize().ok().flatten().unwrap_or_default()))
    }

    pub(crate) fn get(&self) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends heartbeats while `step` works. Sends another one when `step` has failed, so that the
    /// next attempt knows the progress.
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

    /// Changes the progress, and waits until the server has it. The SDK holds heartbeats back for
    /// up to 1 s, and a worker may die sooner. If the server can't be reached, the step goes on all
    /// the same.
    pub(crate) async fn note(&self, ctx: &ActivityContext, change: impl FnOnce(&mut T)) {
        self.change(change);
        // The SDK may hold an older heartbeat back, which this one replaces.
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
