//! What the demo ends with: counted from outside.

use std::path::PathBuf;

use activities::storage::Storage;
use sandbox::Stack;
use workflows::keys;
use workflows::types::TaskState;

use super::run::{Ended, config};
use super::{Args, contact_sheet};
use crate::commands::story;
use crate::exit::Exit;

/// Counts rows, objects and the bill, and draws the contact sheet.
pub(super) async fn print(
    args: &Args,
    ended: &Ended,
    environment: &[(String, String)],
    stack: &Stack,
) -> anyhow::Result<Exit> {
    let config = config(environment)?;
    let database = database::connect(&config.database, 1).await?;
    let storage = Storage::new(&config.storage);
    let (mut rows, mut objects, mut exit) = (0, 0, Exit::Success);
    let mut images = Vec::new();
    for (task_id, result) in &ended.results {
        match result {
            Ok(output) => {
                if output.state != TaskState::Completed {
                    story::print_output(output);
                    exit = story::exit(output.state);
                }
            }
            Err(error) => {
                eprintln!("{error}");
                exit = Exit::TaskFailed;
            }
        }
        let recorded = database::tasks::find(&database, task_id).await?;
        let recorded = recorded.map(|task| task.output.images).unwrap_or_default();
        rows += recorded.len();
        objects += storage.list(&format!("{}images/", keys::task_prefix(task_id))).await?.len();
        images.extend(recorded);
    }
    let bill = stack.provider.bill();
    let (elapsed, bound) = (ended.elapsed.as_secs_f64(), ended.bound.as_secs_f64());
    println!("rows in Postgres     {rows}");
    println!("objects in S3        {objects}");
    println!(
        "provider's bill      {} calls, {} images (one retouched photo a task among them), ${:.2}",
        bill.calls,
        bill.images,
        bill.cost_micros as f64 / 1e6
    );
    println!("most calls at once   {} of {}", stack.provider.meter().snapshot().max_in_flight, args.slots);
    println!("time                 {elapsed:.1} s; at least {bound:.1} s by the provider's limits alone");
    if !images.is_empty() {
        let file = args.output.join(format!("contact-sheet-{}.jpg", args.plan));
        contact_sheet::write(&storage, &images, &file).await?;
        let shown = std::fs::canonicalize(&file).unwrap_or(file);
        println!("contact sheet        {}", shown.display());
    }
    Ok(exit)
}

/// Where everything is, and what to try.
pub(super) fn print_next_steps(
    environment: &[(String, String)],
    stack: &Stack,
    worker_log: Option<PathBuf>,
) -> anyhow::Result<()> {
    let file = stack.folder().join("environment");
    let lines = environment.iter().map(|(name, value)| format!("export {name}='{value}'\n"));
    std::fs::write(&file, lines.collect::<String>())?;
    let binary = std::env::current_exe()?;
    let (binary, file) = (binary.display(), file.display());
    println!("\nThe stack stays up until Ctrl-C.\n");
    if let Some(url) = stack.temporal.ui_url() {
        println!("Temporal's web UI    {url}/namespaces/default/workflows/task-demo-1");
    }
    println!("Temporal             {} (HTTP API {})", stack.temporal.address(), stack.temporal.http_url());
    println!("Postgres             psql {}", stack.postgres.url("postgres"));
    println!(
        "S3                   {}, bucket {}, key {} / {}",
        stack.store.endpoint(),
        stack.store.bucket(),
        stack.store.access_key(),
        stack.store.secret_key()
    );
    println!("provider's meter     {}/_meter", stack.provider.url());
    if let Some(log) = worker_log {
        println!("worker's log         {}", log.display());
    }
    println!("\nIn another terminal:\n");
    println!("  source {file}");
    println!("  {binary} show demo-1");
    println!(
        "  {binary} start --task my-1 --user me --plan start --prompt 'on a beach' --photo uploads/portrait --wait"
    );
    println!("  {binary} start --task my-2 --user me --plan pro --prompt 'in Rome' --photo uploads/portrait");
    println!("  {binary} cancel my-2 --wait");
    println!(
        "  temporal workflow query --address {} -w task-demo-1 --type progress",
        stack.temporal.address()
    );
    Ok(())
}
