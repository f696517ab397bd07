//! How long this machine needs, which nobody knows beforehand.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long anything awaited may take before the test is given up. A test that passes never waits for so long: sixty tasks take a quick
/// machine over a minute, and a slow one beside other work five times as long.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// What `./test` lets run side by side on the machine that the tests were written on.
const THREADS: usize = 8;
/// A piece of work, and the milliseconds it takes on that machine, if nothing else runs there.
const PIECE: u64 = 40_000_000;
const PIECE_MS: f64 = 340.0;

/// A time that a quick and quiet machine keeps, for this one as busy as it is now: as many times longer as a piece of work takes here.
pub fn on_this_machine(quick: Duration) -> Duration {
    let began = Instant::now();
    let sum = (0..PIECE).fold(1_u64, |sum, number| black_box(sum.wrapping_mul(31) ^ number));
    black_box(sum);
    quick.mul_f64((began.elapsed().as_secs_f64() * 1e3 / PIECE_MS).max(1.0))
}

/// How many stacks a test may run side by side, if it is `most` on a quick machine: `RUST_TEST_THREADS` tells what this one carries.
pub fn side_by_side(most: usize) -> usize {
    let threads = std::env::var("RUST_TEST_THREADS").ok().and_then(|threads| threads.parse().ok());
    (most * threads.unwrap_or(THREADS)).div_ceil(THREADS).clamp(1, most)
}
