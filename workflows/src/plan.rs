//! Spreads a plan's images over prompts and batches, as pure code.

use crate::types::PlanSpec;

/// The images of one prompt that one call asks for together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Number of the batch in its task, from 1.
    pub number: u32,
    /// Index of the batch's prompt in the task, from 0.
    pub prompt_index: u32,
    /// Index of the batch's first image in the task. The others follow.
    pub first_index: u32,
    /// Number of images in the batch.
    pub images: u32,
}

impl Batch {
    /// Returns the indices of the batch's images in the task.
    pub fn indices(&self) -> std::ops::Range<u32> {
        self.first_index..self.first_index + self.images
    }
}

/// Spreads the plan's images over `prompts` prompts, evenly and in order, and cuts each prompt's
/// share into batches.
///
/// Every image is in exactly one batch, and batches are numbered in the order of their images. A
/// batch has one prompt and at most `batch_size` images. The shares of two prompts differ by one
/// image at most, and earlier prompts have the larger shares. Prompts beyond the number of images
/// get no image. `prepare` refuses such a task.
pub fn batches(plan: &PlanSpec, prompts: u32) -> Vec<Batch> {
    let prompts = prompts.clamp(1, plan.images.max(1));
    let batch_size = plan.batch_size.max(1);
    let mut batches = Vec::new();
    let mut next = 0;
    for prompt_index in 0..prompts {
        let share = plan.images / prompts + u32::from(prompt_index < plan.images % prompts);
        let end = next + share;
        while next < end {
            let images = batch_size.min(end - next);
            let number = batches.len() as u32 + 1;
            batches.push(Batch { number, prompt_index, first_index: next, images });
            next += images;
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(images: u32, batch_size: u32) -> PlanSpec {
        PlanSpec { name: "test".into(), images, batch_size }
    }

    #[test]
    fn a_pro_task_is_fourteen_batches_of_five() {
        let batches = batches(&plan(70, 5), 1);
        assert_eq!(batches.len(), 14);
        assert_eq!(batches[13], Batch { number: 14, prompt_index: 0, first_index: 65, images: 5 });
    }

    #[test]
    fn prompts_never_share_a_batch() {
        let sizes: Vec<_> = batches(&plan(7, 5), 2).iter().map(|b| (b.prompt_index, b.images)).collect();
        assert_eq!(sizes, [(0, 4), (1, 3)]);
    }

    proptest! {
        #[test]
        fn every_image_is_in_exactly_one_batch(images in 1u32..400, batch_size in 1u32..12, prompts in 1u32..50) {
            prop_assume!(prompts <= images);
            let batches = batches(&plan(images, batch_size), prompts);
            let indices: Vec<u32> = batches.iter().flat_map(Batch::indices).collect();
            prop_assert_eq!(indices, (0..images).collect::<Vec<_>>());
            for (position, batch) in batches.iter().enumerate() {
                prop_assert_eq!(batch.number as usize, position + 1);
                prop_assert!((1..=batch_size).contains(&batch.images));
            }
        }

        #[test]
        fn shares_differ_by_one_image_at_most(images in 1u32..400, batch_size in 1u32..12, prompts in 1u32..50) {
            prop_assume!(prompts <= images);
            let batches = batches(&plan(images, batch_size), prompts);
            let share = |p| batches.iter().filter(|b| b.prompt_index == p).map(|b| b.images).sum::<u32>();
            let shares: Vec<u32> = (0..prompts).map(share).collect();
            prop_assert!(shares.windows(2).all(|pair| pair[0] == pair[1] || pair[0] == pair[1] + 1));
            prop_assert!(shares[0] - shares[prompts as usize - 1] <= 1);
            let minimum: u32 = shares.iter().map(|share| share.div_ceil(batch_size)).sum();
            prop_assert_eq!(batches.len() as u32, minimum);
        }
    }
}
