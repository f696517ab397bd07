//! What is read off the outside: the machine, the provider's meter, Temporal's histories, Postgres' counters.

pub(crate) mod calls;
pub(crate) mod history;
pub(crate) mod machine;
pub(crate) mod process;
pub(crate) mod statements;
