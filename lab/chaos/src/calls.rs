//! The provider's meter, read call by call: which call of which task it was.

use std::collections::BTreeMap;

use sandbox::{Call, Meter};
use workflows::keys::{self, CallName};

/// A call's task and name, as its idempotency key has them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) task_id: String,
    pub(crate) call: CallName,
}

impl Name {
    pub(crate) fn of(call: &Call) -> Option<Name> {
        let (task_id, name) = keys::task_and_call(call.idempotency_key.as_deref()?).split_once('/')?;
        Some(Name { task_id: task_id.to_owned(), call: name.parse().ok()? })
    }
}

/// All calls of each name, in the order of arrival.
pub(crate) fn by_name(meter: &Meter) -> BTreeMap<Name, Vec<&Call>> {
    let mut calls: BTreeMap<Name, Vec<&Call>> = BTreeMap::new();
    for call in &meter.calls {
        if let Some(name) = Name::of(call) {
            calls.entry(name).or_default().push(call);
        }
    }
    calls
}
