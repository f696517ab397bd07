//! Pure: the least time that tasks can take, from the limits alone.

/// Provider seconds of a call and of a download.
const CALL_S: f64 = 8.0;
const DOWNLOAD_S: f64 = 2.0;

/// The least provider seconds that `tasks` tasks of `batches` batches take with `calls` calls at once.
///
/// A task alone is its retouching, its batches in rounds of `calls`, and the transfer of the last ones, for all others overlap
/// generation. Several tasks need their calls' time in all, however they overlap.
pub(super) fn seconds(tasks: u32, batches: u32, calls: u32) -> f64 {
    let rounds = |calls_to_make: u32| f64::from(calls_to_make.div_ceil(calls.max(1)));
    let alone = 1.0 + rounds(batches);
    let together = rounds(tasks * (1 + batches));
    alone.max(together) * CALL_S + DOWNLOAD_S
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn it_is_the_model_of_the_mission() {
        assert_eq!(seconds(1, 14, 3), 50.0);
        assert_eq!(seconds(1, 14, 5), 34.0);
        assert_eq!(seconds(1, 14, 12), 26.0);
        assert_eq!(seconds(10, 14, 12), 106.0);
        assert_eq!(seconds(10, 14, 48), 34.0);
    }
}
