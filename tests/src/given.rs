//! What a test is given: a task in a line.

use std::sync::atomic::{AtomicUsize, Ordering};

use workflows::types::GenerateImagesInput;

/// The sample portrait's bytes.
pub fn portrait() -> &'static [u8] {
    include_bytes!("../../fixtures/portrait.jpg")
}

/// A task to start: a free one with one prompt and the sample portrait, unless told otherwise.
#[derive(Debug, Clone)]
pub struct GivenTask(pub GenerateImagesInput);

/// A task of an id of its own.
pub fn a_task() -> GivenTask {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    GivenTask(GenerateImagesInput {
        task_id: format!("task-{number}"),
        user_id: "ann".into(),
        plan: "free".into(),
        prompt: Some("in a garden".into()),
        prompts: Vec::new(),
        photo: crate::stack::PORTRAIT_KEY.into(),
    })
}

impl GivenTask {
    /// Another id.
    pub fn id(mut self, task_id: &str) -> Self {
        self.0.task_id = task_id.into();
        self
    }

    /// Another user.
    pub fn user(mut self, user_id: &str) -> Self {
        self.0.user_id = user_id.into();
        self
    }

    /// Another plan.
    pub fn plan(mut self, plan: &str) -> Self {
        self.0.plan = plan.into();
        self
    }

    /// Another prompt.
    pub fn prompt(mut self, prompt: &str) -> Self {
        self.0.prompt = Some(prompt.into());
        self
    }

    /// Several prompts.
    pub fn prompts<const N: usize>(mut self, prompts: [&str; N]) -> Self {
        self.0.prompt = None;
        self.0.prompts = prompts.map(String::from).to_vec();
        self
    }

    /// Another photo: a URL or an object key.
    pub fn photo(mut self, photo: &str) -> Self {
        self.0.photo = photo.into();
        self
    }
}
