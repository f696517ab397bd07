//! What the demo ends with: counted from outside.

use std::path::PathBuf;

use activities::storage::Storage;
use sandbox::Stack;
use workflows::keys;
use workflows::types::{StoredImage, TaskState};

use super::run::{Ended, config};
use super::{Args, contact_sheet};
use cli::exit::Exit;
use cli::render;

/// What the tasks left behind.
pub(super) struct Counted {
    pub(super) rows: usize,
    pub(super) objects: usize,
    /// Images by the database, in order of tasks.
    pub(super) images: Vec<StoredImage>,
    /// As the worst task ended; a failure where rows, objects and results disagree.
    pub(super) exit: Exit,
}

/// Counts rows and objects, and says what is not as it should be.
pub(super) async fn count(ended: &Ended, environment: &[(String, String)]) -> anyhow::Result<Counted> {
    let config = config(environment)?;
    let database = database::connect(&config.database, 1).await?;
    let storage = Storage::new(&config.storage);
    let mut counted = Counted { rows: 0, objects: 0, images: Vec::new(), exit: Exit::Success };
    let mut disagree = false;
    for (task_id, result) in &ended.results {
        let delivered = match result {
            Ok(output) => {
                if output.state != TaskState::Completed {
                    render::print_output(output);
                    counted.exit = render::exit(output.state);
                }
                Some(output.images.len())
            }
            Err(error) => {
                eprintln!("{error}");
                counted.exit = Exit::TaskFailed;
                None
            }
        };
        let recorded = database::tasks::find(&database, task_id).await?;
        let recorded = recorded.map(|task| task.output.images).unwrap_or_default();
        let (rows, objects) = (recorded.len(), storage.list(&keys::images_prefix(task_id)).await?.len());
        if rows != objects || delivered.is_some_and(|images| images != rows) {
            let images = delivered.map_or("none".into(), |images| images.to_string());
            eprintln!(
                "{task_id} is inconsistent: {images} images by its result, {rows} rows, {objects} objects"
            );
            disagree = true;
        }
        counted.rows += rows;
        counted.objects += objects;
        counted.images.extend(recorded);
    }
    if disagree {
        counted.exit = Exit::Failure;
    }
    Ok(counted)
}

/// Prints what was counted, the bill and the time.
pub(super) fn print(args: &Args, ended: &Ended, counted: &Counted, stack: &Stack) {
    let bill = stack.provider.bill();
    let (elapsed, bound) = (ended.elapsed.as_secs_f64(), ended.bound.as_secs_f64());
    println!("rows in Postgres     {}", counted.rows);
    println!("objects in S3        {}", counted.objects);
    println!(
        "provider's bill      {} calls, {} images (one retouched photo a task among them), ${:.2}",
        bill.calls,
        bill.images,
        bill.cost_micros as f64 / 1e6
    );
    println!("most calls at once   {} of {}", stack.provider.meter().snapshot().max_in_flight, args.slots);
    println!("time                 {elapsed:.1} s; at least {bound:.1} s by the provider's limits alone");
}

/// Draws the contact sheet, where there are images.
pub(super) async fn contact_sheet(
    args: &Args,
    counted: &Counted,
    environment: &[(String, String)],
) -> anyhow::Result<()> {
    if counted.images.is_empty() {
        return Ok(());
    }
    let storage = Storage::new(&config(environment)?.storage);
    let file = args.output.join(format!("contact-sheet-{}.jpg", args.plan));
    contact_sheet::write(&storage, &counted.images, &file).await?;
    let shown = std::fs::canonicalize(&file).unwrap_or(file);
    println!("contact sheet        {}", shown.display());
    Ok(())
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
    let binary = crate::darkroom()?;
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
