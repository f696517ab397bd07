//! Functions that decide about paid calls, one file each in `sql/functions`.

use database::functions::Function;

macro_rules! functions {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../sql/functions/", $name, ".sql")))),*]
    };
}

/// All functions, in the order of their names.
pub const FUNCTIONS: &[Function] = functions! {
    "admission_by_call"
    "admission_by_key"
    "batch_of"
    "begin_call"
    "begin_lease"
    "call_made_again"
    "calls_without_a_lease"
    "cut_limit"
    "darkroom_now"
    "darkroom_up_since"
    "deciding_call"
    "end_as_recorded"
    "end_call"
    "end_expired"
    "end_leases"
    "fair_share"
    "forget_results"
    "free_for_leases"
    "give_up_call"
    "good_calls"
    "grant_lease"
    "is_living"
    "locked_key"
    "longest_call"
    "ms_until"
    "note_end"
    "note_failing"
    "note_limits"
    "note_losses"
    "note_refused"
    "note_success"
    "orphan_span"
    "pressure"
    "probes_allowed"
    "raise_limit"
    "rate_wait_ms"
    "record_lease"
    "release_lease"
    "renewed"
    "set_limits"
    "settle_calls"
    "share_left"
    "share_of"
    "weighed_demand"
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_function_of_its_name() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/sql/functions");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap().replace(".sql", ""))
            .collect();
        files.sort();
        assert_eq!(files, FUNCTIONS.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
        for (name, sql) in FUNCTIONS {
            assert!(sql.contains(&format!("CREATE OR REPLACE FUNCTION {name}(")), "{name}");
            assert!(sql.lines().count() <= 75, "{name} is too long to be read in one sitting");
        }
    }
}
