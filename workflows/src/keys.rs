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

/// An object's part in its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The checked or the retouched photo: the object belongs to the task's row.
    Reference,
    /// An image: the object belongs to an image row, once the task has ended.
    Image,
    /// Staged bytes: the object belongs to the task while the task runs.
    Staged,
}

/// The task that wrote an object, and the object's part in it; `None` for a key that no task writes.
pub fn parse(key: &str) -> Option<(&str, Part)> {
    let mut places = key.split('/');
    let (prefix, task_id) = (places.next()?, places.next()?);
    let rest: Vec<&str> = places.collect();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let part = match (prefix, rest.as_slice()) {
        ("tasks", ["photo" | "beautified"]) => Part::Reference,
        ("tasks", ["images", image]) if image.split('.').count() <= 2 && image.split('.').all(is_number) => {
            Part::Image
        }
        ("staging", [_, .., position]) if is_number(position) => Part::Staged,
        _ => return None,
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (!task_id.is_empty() && task_id.bytes().all(legal)).then_some((task_id, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_a_task_writes_is_parsed_and_no_other() {
        let staged = |call: &str| (staged("a-1", call, "0123456789abcdef", 4), Part::Staged);
        for (key, part) in [
            (photo("a-1"), Part::Reference),
            (beautified("a-1"), Part::Reference),
            (image("a-1", 7, 1), Part::Image),
            (image("a-1", 1234, 3), Part::Image),
            staged(&call(3, 2)),
            staged(&beautify_call(1)),
        ] {
            assert_eq!(parse(&key), Some(("a-1", part)), "{key}");
        }
        for key in [
            "",
            "tasks/",
            "tasks/a",
            "tasks/a/",
            "tasks/a/notes.txt",
            "tasks/a/images/",
            "tasks/a/images/cat",
            "tasks/a/images/1.2.3",
            "tasks//photo",
            "tasks/a b/photo",
            "tasks/a/photo/x",
            "staging/.check-17",
            "staging/a/0",
            "uploads/a/photo",
        ] {
            assert_eq!(parse(key), None, "{key}");
        }
    }
}
