//! The tasks: random plans, users, prompts and photos; some started twice, some with other input, some cancelled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use client::Error;
use client::types::GenerateImagesInput;
use sandbox::Chance;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout_at};

use super::ground::{FORBIDDEN, Reach};

/// Tasks that are open at a time, at most. Where calls that hang use the limit for minutes, tasks would else come faster than they end, and
/// the soak would end with a backlog of hours.
const OPEN_AT_MOST: usize = 100;

/// Starts tasks until then.
pub(super) async fn run(reach: Arc<Reach>, mut chance: Chance, until: Instant) -> Result<()> {
    let open = Arc::new(Semaphore::new(OPEN_AT_MOST));
    let mut callers = JoinSet::new();
    for number in 1.. {
        sleep(Duration::from_millis(chance.between(200, 1_800))).await;
        if Instant::now() >= until {
            break;
        }
        let Ok(place) = timeout_at(until.into(), open.clone().acquire_owned()).await else { break };
        let input = input(number, &mut chance, &reach.photos);
        callers.spawn(one(reach.clone(), input, chance.fork(), place?));
    }
    while let Some(ended) = callers.join_next().await {
        ended?;
    }
    Ok(())
}

/// Keeps a task's place until it has ended.
async fn keep(reach: Arc<Reach>, task_id: String, place: OwnedSemaphorePermit) {
    while !reach.client.task(&task_id).is_closed().await.unwrap_or(false) {
        sleep(Duration::from_secs(1)).await;
    }
    drop(place);
}

fn input(number: u32, chance: &mut Chance, photos: &[String]) -> GenerateImagesInput {
    let plan = ["free", "free", "free", "free", "free", "free", "start", "start", "start", "pro"];
    let places = ["in a garden", "on a beach", "in a library", "on a mountain", FORBIDDEN];
    // A forbidden prompt and a dead photo now and then.
    let place = |chance: &mut Chance| {
        places[if chance.below(20) == 0 { 4 } else { chance.below(4) as usize }].to_owned()
    };
    let photo = if chance.below(25) == 0 { 3 } else { chance.below(3) as usize };
    let several = chance.below(4) == 0;
    GenerateImagesInput {
        task_id: format!("soak-{number}"),
        user_id: format!("user-{}", chance.below(8)),
        plan: plan[chance.below(10) as usize].to_owned(),
        prompt: (!several).then(|| place(chance)),
        prompts: if several { vec![place(chance), place(chance)] } else { Vec::new() },
        photo: photos[photo].clone(),
    }
}

/// One task's caller: starts it, however often that takes, and does to it what callers do.
async fn one(reach: Arc<Reach>, input: GenerateImagesInput, mut chance: Chance, place: OwnedSemaphorePermit) {
    reach.started(&input.task_id);
    if chance.below(4) == 0 {
        tokio::join!(start(&reach, &input), start(&reach, &input));
    } else {
        start(&reach, &input).await;
    }
    tokio::spawn(keep(reach.clone(), input.task_id.clone(), place));
    if chance.below(5) == 0 {
        let other = GenerateImagesInput {
            prompt: Some("something else".into()),
            prompts: Vec::new(),
            ..input.clone()
        };
        match reach.client.start(&other).await {
            Err(Error::InputDiffers { .. } | Error::Temporal(_)) => {}
            // A task that was refused may be started anew with other input: then it is another.
            Ok(_) | Err(Error::InvalidInput(_)) if input.photo == reach.photos[3] => {}
            started => {
                let what =
                    format!("`{}` was started with other input: {:?}", input.task_id, started.map(drop));
                reach.violated("I11", what);
            }
        }
    }
    if chance.below(8) == 0 {
        sleep(Duration::from_millis(chance.between(0, 4_000))).await;
        let task = reach.client.task(&input.task_id);
        if task.cancel("soak").await.is_ok() {
            reach.cancelled(&input.task_id);
        }
    }
}

async fn start(reach: &Reach, input: &GenerateImagesInput) {
    while let Err(error) = reach.client.start(input).await {
        if !matches!(error, Error::Temporal(_)) {
            reach.violated("I11", format!("`{}` can't be started: {error}", input.task_id));
            return;
        }
        sleep(Duration::from_millis(200)).await;
    }
}
