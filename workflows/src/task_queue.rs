//! Task queues. Each has slots of its own in the workers that poll it.

/// Workflow tasks, and the activities that only talk to the database: `prepare`, `insert`, `reconcile`.
pub const TASKS: &str = "darkroom";

/// Transfers.
pub const TRANSFER: &str = "transfer";

/// Paid calls of one route. The server hands a call out when a slot is free, and picks it by its lane then.
pub fn generate(route: &str) -> String {
    format!("generate.{route}")
}
