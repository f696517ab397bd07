//! Ids, object keys and fairness keys. A task's ids and object keys derive from the task id, so
//! that a second attempt writes the same bytes to the same place. Staged bytes are the exception,
//! and have a place for each execution of their call.

use std::fmt;
use std::str::FromStr;

/// Returns the workflow id of a task.
pub fn workflow_id(task_id: &str) -> String {
    format!("task-{task_id}")
}

/// Returns the prefix of a task's photos and images in the bucket.
pub fn task_prefix(task_id: &str) -> String {
    format!("tasks/{task_id}/")
}

/// Prefixes under which tasks write. A user's photo is never taken from there.
pub const OWN_PREFIXES: [&str; 2] = ["tasks/", "staging/"];

/// Returns true if the key has a prefix of [`OWN_PREFIXES`]. A user's photo may not have one,
/// because the object could be another task's.
pub(crate) fn is_own(key: &str) -> bool {
    OWN_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// Returns the key of the checked photo.
pub fn photo(task_id: &str) -> String {
    format!("tasks/{task_id}/photo")
}

/// Returns the key of the retouched photo. All images have that photo as their reference, unless
/// the provider rejects the retouching.
pub fn beautified(task_id: &str) -> String {
    format!("tasks/{task_id}/beautified")
}

/// Returns the prefix of a task's images.
pub fn images_prefix(task_id: &str) -> String {
    format!("tasks/{task_id}/images/")
}

/// Returns the key of image `index` (from 0) as call `call_number` (from 1) of its batch made it.
///
/// An image that is made again has a key of its own. So a transfer of the first call that was
/// paused, and replaced long ago, overwrites nothing.
pub fn image(task_id: &str, index: u32, call_number: u32) -> String {
    let again = if call_number == 1 { String::new() } else { format!(".{call_number}") };
    format!("{}{index:03}{again}", images_prefix(task_id))
}

/// Returns the prefix of a task's staged bytes. `insert` deletes the objects that are left under
/// it.
pub fn staging_prefix(task_id: &str) -> String {
    format!("staging/{task_id}/")
}

/// Returns the staging key of image `position` (from 0) of a call's answer, where the provider
/// answers with bytes.
///
/// `attempt` names one execution of the call. Another execution writes under another key.
pub fn staged(task_id: &str, call: CallName, attempt: &str, position: usize) -> String {
    format!("staging/{task_id}/{call}/{attempt}/{position}")
}

/// Returns the idempotency key of a call. The key is the same for every attempt at the same
/// request, and another one for every other call and every other request.
pub fn idempotency(task_id: &str, call: CallName, fingerprint: &str) -> String {
    format!("{task_id}/{call}/{}", fingerprint.get(..16).unwrap_or(fingerprint))
}

/// Returns the task id and the call name at the beginning of an idempotency key, such as
/// `order-1/3.2`.
pub fn task_and_call(idempotency_key: &str) -> &str {
    match idempotency_key.match_indices('/').nth(1) {
        Some((end, _)) => &idempotency_key[..end],
        None => idempotency_key,
    }
}

/// Name of a paid call within its task, such as `beautify` or `3`, and the second half of the
/// call's ids.
///
/// `beautify.2` and `3.2` name the second call of the same work. The second call is made for images
/// that the first one did not bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallName {
    /// A call that retouches the photo.
    Beautify {
        /// Number among the calls that retouch the photo, from 1.
        call_number: u32,
    },
    /// A call for a batch's images.
    Batch {
        /// Number of the batch in its task, from 1.
        batch: u32,
        /// Number among the calls for the batch, from 1.
        call_number: u32,
    },
}

impl CallName {
    /// Names a call that retouches the photo.
    pub fn beautify(call_number: u32) -> Self {
        Self::Beautify { call_number }
    }

    /// Names a call for a batch.
    pub fn batch(batch: u32, call_number: u32) -> Self {
        Self::Batch { batch, call_number }
    }

    /// Returns the call before this one of the same work, or `None` for the first call.
    pub fn previous(self) -> Option<Self> {
        let call_number = self.call_number().checked_sub(1).filter(|number| *number > 0)?;
        Some(match self {
            Self::Beautify { .. } => Self::beautify(call_number),
            Self::Batch { batch, .. } => Self::batch(batch, call_number),
        })
    }

    /// Returns the call's number among the calls of the same work, from 1.
    pub fn call_number(self) -> u32 {
        match self {
            Self::Beautify { call_number } | Self::Batch { call_number, .. } => call_number,
        }
    }

    /// Returns the id of the activity that makes the call, such as `beautify` or `generate-3.2`.
    pub fn activity_id(self) -> String {
        match self {
            Self::Beautify { .. } => self.to_string(),
            Self::Batch { .. } => format!("generate-{self}"),
        }
    }

    /// Returns the id of the activity that transfers the call's images, such as `transfer-3.2`.
    pub fn transfer_id(self) -> String {
        format!("transfer-{self}")
    }

    /// Returns the call that the activity of this id makes, or `None` for the id of another step.
    pub fn of_activity(activity_id: &str) -> Option<Self> {
        activity_id.strip_prefix("generate-").unwrap_or(activity_id).parse().ok()
    }
}

impl fmt::Display for CallName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beautify { .. } => f.write_str("beautify")?,
            Self::Batch { batch, .. } => write!(f, "{batch}")?,
        }
        match self.call_number() {
            1 => Ok(()),
            call_number => write!(f, ".{call_number}"),
        }
    }
}

/// Error for a text that is no call's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoCallName;

impl FromStr for CallName {
    type Err = NoCallName;

    fn from_str(text: &str) -> Result<Self, NoCallName> {
        let number = |text: &str| text.parse().map_err(|_| NoCallName);
        let (work, call_number) = match text.split_once('.') {
            Some((work, call_number)) => (work, number(call_number)?),
            None => (text, 1),
        };
        match work {
            "beautify" => Ok(Self::beautify(call_number)),
            batch => Ok(Self::batch(number(batch)?, call_number)),
        }
    }
}

/// Longest name of a plan, in bytes. The key of the plan's lane has to fit into the 64 bytes that
/// Temporal allows.
pub const MAX_PLAN_BYTES: usize = 59;

/// Returns the fairness key of a plan's lane.
pub fn plan_lane(plan: &str) -> String {
    format!("plan:{plan}")
}

/// Returns the fairness key of one user's own lane, from the SHA-256 of the user id in hex. A user
/// id alone may have the 64 bytes that Temporal allows.
pub fn user_lane(sha256: &str) -> String {
    format!("user:{}", sha256.get(..32).unwrap_or(sha256))
}

/// Relation of an object to its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// The checked or the retouched photo, which belongs to the task's row.
    Reference,
    /// An image, which belongs to an image row once the task has ended.
    Image,
    /// Staged bytes, which belong to the task while the task runs.
    Staged,
}

/// Returns the task that wrote an object and the object's kind, or `None` for a key that no task
/// writes.
pub fn parse(key: &str) -> Option<(&str, ObjectKind)> {
    let mut places = key.split('/');
    let (prefix, task_id) = (places.next()?, places.next()?);
    let rest: Vec<&str> = places.collect();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let kind = match (prefix, rest.as_slice()) {
        ("tasks", ["photo" | "beautified"]) => ObjectKind::Reference,
        ("tasks", ["images", image]) if image.split('.').count() <= 2 && image.split('.').all(is_number) => {
            ObjectKind::Image
        }
        ("staging", [_, .., position]) if is_number(position) => ObjectKind::Staged,
        _ => return None,
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (!task_id.is_empty() && task_id.bytes().all(legal)).then_some((task_id, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_a_task_writes_is_parsed_and_no_other() {
        let staged = |call: CallName| (staged("a-1", call, "0123456789abcdef", 4), ObjectKind::Staged);
        for (key, call_number) in [
            (photo("a-1"), ObjectKind::Reference),
            (beautified("a-1"), ObjectKind::Reference),
            (image("a-1", 7, 1), ObjectKind::Image),
            (image("a-1", 1234, 3), ObjectKind::Image),
            staged(CallName::batch(3, 2)),
            staged(CallName::beautify(1)),
        ] {
            assert_eq!(parse(&key), Some(("a-1", call_number)), "{key}");
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

    #[test]
    fn a_call_is_read_back_from_its_name() {
        for name in ["beautify", "beautify.2", "3", "3.2"] {
            assert_eq!(name.parse::<CallName>().unwrap().to_string(), name);
        }
        for name in ["", "3.", ".2", "3.2.1", "transfer", "-1"] {
            assert_eq!(name.parse::<CallName>(), Err(NoCallName), "{name}");
        }
        assert_eq!(CallName::of_activity("generate-3.2"), Some(CallName::batch(3, 2)));
        assert_eq!(CallName::batch(3, 2).activity_id(), "generate-3.2");
        assert_eq!(CallName::beautify(1).activity_id(), "beautify");
        assert_eq!(CallName::beautify(2).transfer_id(), "transfer-beautify.2");
    }
}
