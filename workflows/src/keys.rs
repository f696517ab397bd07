//! Ids and object keys. All derive from the task id, so that a second attempt writes the same bytes to the same place.

/// Workflow id of a task.
pub fn workflow_id(task_id: &str) -> String {
    format!("task-{task_id}")
}

/// Prefix of all that a task keeps in the bucket.
pub fn task_prefix(task_id: &str) -> String {
    format!("tasks/{task_id}/")
}

/// Under these lies what tasks write, and nothing else.
pub const OWN_PREFIXES: [&str; 2] = ["tasks/", "staging/"];

/// Whether a key is one that tasks write: nobody else's photo may be taken from there.
pub(crate) fn is_own(key: &str) -> bool {
    OWN_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// The checked photo.
pub fn photo(task_id: &str) -> String {
    format!("tasks/{task_id}/photo")
}

/// The retouched photo, the reference of all images.
pub fn beautified(task_id: &str) -> String {
    format!("tasks/{task_id}/beautified")
}

/// Prefix of a task's images.
pub fn images_prefix(task_id: &str) -> String {
    format!("tasks/{task_id}/images/")
}

/// Image `index` (from 0) as a batch's call `part` (from 1) made it: an image that is made again gets a place of its own, so that a
/// transfer of the first, paused and long replaced, writes over nothing.
pub fn image(task_id: &str, index: u32, part: u32) -> String {
    let again = if part == 1 { String::new() } else { format!(".{part}") };
    format!("{}{index:03}{again}", images_prefix(task_id))
}

/// Prefix of a task's staged bytes; `insert` removes what is left under it.
pub fn staging_prefix(task_id: &str) -> String {
    format!("staging/{task_id}/")
}

/// Image `position` (from 0) of the answer to one call, where the provider answers with bytes. `attempt` names the call as it was made once:
/// one that is made again writes elsewhere.
pub fn staged(task_id: &str, call: &str, attempt: &str, position: usize) -> String {
    format!("staging/{task_id}/{call}/{attempt}/{position}")
}

/// Idempotency key of a call: the same for every attempt at it, and for no other call and no other request.
pub fn idempotency(task_id: &str, call: &str, fingerprint: &str) -> String {
    format!("{task_id}/{call}/{}", fingerprint.get(..16).unwrap_or(fingerprint))
}

/// The task and the call of an idempotency key: `order-1/3.2`.
pub fn task_and_call(idempotency_key: &str) -> &str {
    match idempotency_key.match_indices('/').nth(1) {
        Some((end, _)) => &idempotency_key[..end],
        None => idempotency_key,
    }
}

/// Name of one provider call within its task, such as `3` or, for the second call of the same batch, `3.2`.
/// Also the part of an activity id after its step: `generate-3.2`.
pub fn call(batch: u32, part: u32) -> String {
    if part == 1 { batch.to_string() } else { format!("{batch}.{part}") }
}

/// Name of a call that retouches the photo: `beautify`, and `beautify.2` where the first left no image.
pub fn beautify_call(part: u32) -> String {
    if part == 1 { "beautify".into() } else { format!("beautify.{part}") }
}

/// Longest name of a plan, in bytes: its lane's key has to fit into Temporal's 64.
pub const MAX_PLAN_BYTES: usize = 59;

/// Fairness key of a plan's lane.
pub fn plan_lane(plan: &str) -> String {
    format!("plan:{plan}")
}

/// Fairness key of one user's own lane, from the SHA-256 of the user id in hex: a user id alone may fill Temporal's 64 bytes.
pub fn user_lane(sha256: &str) -> String {
    format!("user:{}", sha256.get(..32).unwrap_or(sha256))
}
