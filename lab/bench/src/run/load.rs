//! The load itself: tasks started on time, whatever becomes of those before.

use std::time::Duration;

use anyhow::{Context, Result};
use client::{Client, Task};
use futures::channel::mpsc;
use futures::{StreamExt, TryStreamExt};
use sandbox::Stack;
use tokio::time::{Instant, sleep_until};
use workflows::types::GenerateImagesInput;

use super::PHOTO_KEY;
use crate::scenario::Arrival;
use crate::settings::Settings;

/// Starts under way at once, and ends awaited at once. The time of an end is read from the history, so few have to be awaited.
const AT_ONCE: usize = 16;
/// How fast the provider is while workers warm up.
const WARM_UP_SPEED: f64 = 100.0;

/// What became of a task.
pub(super) struct Ended {
    pub(super) task_id: String,
    /// Images with a row.
    pub(super) images: u64,
    pub(super) error: Option<String>,
}

pub(super) fn task_id(number: usize) -> String {
    format!("bench-{}", number + 1)
}

fn input(task_id: String, user: u32, plan: &str) -> GenerateImagesInput {
    GenerateImagesInput {
        task_id,
        user_id: format!("user-{}", user + 1),
        plan: plan.to_owned(),
        prompt: Some("in a garden, golden hour".into()),
        prompts: Vec::new(),
        photo: PHOTO_KEY.into(),
    }
}

/// Free tasks through all workers, with a fast provider: connections are open, the picture is drawn.
pub(super) async fn warm_up(client: &Client, stack: &Stack, settings: &Settings) -> Result<()> {
    stack.provider.set_speed(WARM_UP_SPEED.max(settings.speed));
    let tasks = (0..settings.workers * 2).map(|number| async move {
        let task = client.start(&input(format!("warm-up-{number}"), number, "free")).await?;
        task.result().await.map(drop)
    });
    futures::future::try_join_all(tasks).await.context("warming up")?;
    stack.provider.set_speed(settings.speed);
    Ok(())
}

/// Starts each task when it is due and waits for the end of all.
pub(super) async fn run(
    client: &Client,
    arrivals: &[Arrival],
    speed: f64,
    t0: Instant,
) -> Result<Vec<Ended>> {
    let (started, running) = mpsc::unbounded::<Task>();
    let starting = async move {
        let due = futures::stream::iter(arrivals.iter().enumerate()).then(|(number, arrival)| async move {
            sleep_until(t0 + Duration::from_secs_f64(arrival.at_ms as f64 / 1e3 / speed)).await;
            (number, arrival)
        });
        let starts = due.map(|(number, arrival)| async move {
            client.start(&input(task_id(number), arrival.user, &arrival.plan)).await
        });
        starts
            .buffer_unordered(AT_ONCE)
            .try_for_each(|task| {
                // An error means that nobody waits any more.
                let _ = started.unbounded_send(task);
                futures::future::ready(Ok(()))
            })
            .await
            .context("starting a task")
    };
    let ending = running.map(|task| async move {
        let (images, error) = match task.result().await {
            Ok(output) => (output.images.len() as u64, None),
            Err(error) => (0, Some(format!("task {}: {error}", task.task_id()))),
        };
        Ended { task_id: task.task_id().to_owned(), images, error }
    });
    let ending = ending.buffer_unordered(AT_ONCE).collect::<Vec<_>>();
    let (starts, ended) = futures::future::join(starting, ending).await;
    starts.map(|()| ended)
}
