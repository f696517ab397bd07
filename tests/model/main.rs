//! The lease and the ledger against a model: random interleavings of what workers, the provider, Temporal and people do, on the real
//! statements in a real Postgres and the worker's own `Capacity`. A failure is shrunk, and printed as the steps that lead to it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod faults;
mod scenarios;
mod steps;
mod world;

use faults::Shows;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use steps::{Case, MOODS, Mood};
use tests::Stack;
use world::World;

/// The statements, on a clock of the model's own.
const CLOCK: &str = "
    CREATE TABLE model_clock (now_at timestamptz NOT NULL, up_since timestamptz NOT NULL);
    INSERT INTO model_clock VALUES ('2000-01-01', '1999-01-01');
    CREATE OR REPLACE FUNCTION darkroom_now() RETURNS timestamptz LANGUAGE sql AS 'SELECT now_at FROM model_clock';
    CREATE OR REPLACE FUNCTION darkroom_up_since() RETURNS timestamptz LANGUAGE sql AS 'SELECT up_since FROM model_clock';";

struct Model {
    runtime: tokio::runtime::Runtime,
    database: DatabaseConnection,
    #[expect(dead_code, reason = "holds the servers")]
    stack: Stack,
}

impl Model {
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (stack, database) = runtime.block_on(async {
            let stack = Stack::with().without_worker().start().await;
            let database = database::connect(&stack.config.database, 1).await.unwrap();
            database.execute_unprepared(CLOCK).await.unwrap();
            database.execute_unprepared(world::REPLICA).await.unwrap();
            (stack, database)
        });
        Self { runtime, database, stack }
    }

    fn run(&self, case: &Case) -> Result<(), String> {
        self.runtime.block_on(async { World::new(&self.database, case.names).await.run(case).await })
    }

    /// Runs so many random cases; what went wrong first, with the case that leads to it.
    fn check(
        &self,
        moods: &'static [Mood],
        seed: u64,
        cases: u32,
        shrinks: u32,
    ) -> Result<(), (String, Case)> {
        let config = Config {
            cases,
            rng_seed: RngSeed::Fixed(seed),
            max_shrink_iters: shrinks,
            max_shrink_time: 60_000,
            failure_persistence: None,
            ..Config::default()
        };
        let run = |case: Case| self.run(&case).map_err(TestCaseError::fail);
        match TestRunner::new(config).run(&steps::case(moods), run) {
            Ok(()) => Ok(()),
            Err(TestError::Fail(why, case)) => Err((why.to_string(), case)),
            Err(TestError::Abort(why)) => panic!("{why}"),
        }
    }
}

#[test]
fn whatever_happens_in_whatever_order_the_limits_hold_and_the_ledger_is_the_bill() {
    let seed = std::env::var("SEED").ok().map_or_else(rand_seed, |seed| seed.parse().unwrap());
    let cases = std::env::var("CASES").map_or(40, |cases| cases.parse().unwrap());
    eprintln!("SEED={seed} CASES={cases}");

    let checked = Model::start().check(&MOODS, seed, cases, 2_000);

    if let Err((why, case)) = checked {
        let steps: Vec<String> = case.steps.iter().map(|step| format!("{step:?}")).collect();
        let (names, end) = (case.names, case.end);
        panic!("{why}\nof {names} calls, {end:?}, after these steps (seed {seed}):\n{}", steps.join("\n"));
    }
}

#[test]
fn each_planted_fault_is_found() {
    let model = Model::start();
    let mut missed = Vec::new();
    let only = std::env::var("FAULT").unwrap_or_default();
    for fault in faults::PLANTED_BUGS.iter().filter(|fault| fault.what.contains(&only)) {
        let began = std::time::Instant::now();
        let planted = model.runtime.block_on(fault.plant(&model.database));
        let found = fault.found(&model);
        model.runtime.block_on(async { model.database.execute_unprepared(&planted.undo).await.unwrap() });
        match found {
            Some((seed, why)) => {
                let why = why.split_once(';').map_or(why.as_str(), |(why, _)| why);
                eprintln!("{}: found with seed {seed} after {:?}: {why}", fault.what, began.elapsed());
            }
            None => missed.push(fault.what),
        }
        if let Shows::Steps(steps) = &fault.shows_in {
            assert_eq!(model.run(&Case::of(steps())), Ok(()), "without the fault: {}", fault.what);
        }
    }
    assert_eq!(missed, Vec::<&str>::new());
}

/// Another each time: what one run misses, a later one may find.
fn rand_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_nanos() as u64
}
