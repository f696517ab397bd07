//! Names of the task queues. Each queue has slots of its own in the workers that poll it.

/// Queue of workflow tasks and of the activities `prepare`, `insert` and `reconcile`.
pub const TASKS: &str = "darkroom";

/// Queue of the activity `transfer`.
pub const TRANSFER: &str = "transfer";

/// Returns the queue of one route's paid calls. Temporal hands out a call when a slot is free, and
/// picks the call by its lane at that moment.
pub fn generate(route: &str) -> String {
    format!("generate.{route}")
}
