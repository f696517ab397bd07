//! Planning the batches of a task.
#![allow(missing_docs, reason = "criterion's macros document nothing")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use workflows::plan::batches;
use workflows::types::PlanSpec;

fn plan(criterion: &mut Criterion) {
    let pro = PlanSpec { name: "pro".into(), images: 70, batch_size: 5 };
    criterion.bench_function("plan a Pro task", |bench| bench.iter(|| batches(black_box(&pro), 1)));
    criterion.bench_function("plan 70 prompts", |bench| bench.iter(|| batches(black_box(&pro), 70)));
}

criterion_group!(benches, plan);
criterion_main!(benches);
