//! The loads of mission.md, what the limits alone allow ([`model`]), and what was measured beside it ([`run`]).

pub mod figures;
pub mod load;
pub mod machine;
pub mod model;
pub mod report;
pub mod run;
