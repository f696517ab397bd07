//! Configured plans, and the check whether a task fits its plan. The module is pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use workflows::plan::batches;
use workflows::types::{GenerateImagesInput, PlanSpec};

/// Plan, from the section `[plans.<name>]` of the configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Number of images of a task of this plan.
    pub images: u32,
    /// Weight of the plan's lane. Lanes that have work get calls in proportion to their weights.
    pub weight: f32,
    /// Number of running tasks of one user that stand in the plan's lane. Further tasks wait in a
    /// lane of the user's own, whose weight is 1.
    #[serde(default = "one")]
    pub tasks_in_lane: u32,
}

fn one() -> u32 {
    1
}

/// Largest sum of the bytes of the prompts that a task's calls carry.
const MAX_SCHEDULED_PROMPT_BYTES: usize = 2_000_000;

/// Returns the numbers of the task's plan, with batches of at most `batch_size` images. The error
/// says what the caller must mend.
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
    // All batches are scheduled together, each with its prompt. Temporal takes 4 MB at a time.
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
