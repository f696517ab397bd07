//! Pure: the configured plans, and whether a task fits its plan.

use std::collections::BTreeMap;

use serde::Deserialize;
use workflows::plan::batches;
use workflows::types::{GenerateImagesInput, PlanSpec};

/// A plan; section `[plans.<name>]` of the configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Images a task of this plan gets.
    pub images: u32,
    /// Weight of its lane: the calls that it gets, beside those of other lanes, while all of them have work.
    pub weight: f32,
    /// Running tasks of one user that stand in it; further ones wait in a lane of the user's own, whose weight is 1.
    #[serde(default = "one")]
    pub tasks_in_lane: u32,
}

fn one() -> u32 {
    1
}

/// Bytes of prompts that a task's calls may carry in all.
const MAX_SCHEDULED_PROMPT_BYTES: usize = 2_000_000;

/// The numbers of the task's plan, with batches of at most `batch_size` images. The error is the caller's to mend.
pub fn resolve(
    plans: &BTreeMap<String, Plan>,
    batch_size: u32,
    request: &GenerateImagesInput,
) -> Result<PlanSpec, String> {
    let Some(plan) = plans.get(&request.plan) else {
        let known: Vec<&str> = plans.keys().map(String::as_str).collect();
        return Err(format!(
            "plan `{}` is not configured: use one of {}",
            request.plan.chars().take(40).collect::<String>(),
            known.join(", ")
        ));
    };
    let prompts = request.all_prompts();
    if prompts.len() > plan.images as usize {
        return Err(format!(
            "{} prompts for the {} images of plan `{}`: give at most one prompt an image",
            prompts.len(),
            plan.images,
            request.plan
        ));
    }
    let spec = PlanSpec { name: request.plan.clone(), images: plan.images, batch_size };
    // All batches are scheduled together, each with its prompt: Temporal takes 4 MB at a time.
    let batches = batches(&spec, prompts.len() as u32);
    let bytes: usize = batches.iter().map(|batch| prompts[batch.prompt_index as usize].len()).sum();
    if bytes > MAX_SCHEDULED_PROMPT_BYTES {
        return Err(format!(
            "the prompts are too long for plan `{}`: {bytes} bytes over its {} provider calls, \
             {MAX_SCHEDULED_PROMPT_BYTES} at most",
            request.plan,
            batches.len()
        ));
    }
    Ok(spec)
}
