//! `darkroom reconcile` compares rows, objects, calls and workflows, now in this process or on a
//! schedule by a worker.

use std::time::Duration;

use activities::reconcile::Reconciler;
use activities::storage::Storage;
use client::Client;
use worker::Config;
use workflows::reconcile::{Finding, Found, MIN_AGE, ReconcileInput, ReconcileOutput, Repair};

use crate::exit::Exit;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  darkroom reconcile --dry-run        what there is, and what would be repaired
  darkroom reconcile --every 1d       a worker does it once a day; its report is the result of a workflow `reconcile-…`")]
pub(crate) struct Args {
    /// Change nothing, and report what would be repaired.
    #[arg(long)]
    dry_run: bool,
    /// Minimum age, as a number and s, m, h or d. Younger objects, ended workflows and calls are
    /// left alone. Default: 25h.
    #[arg(long, value_name = "AGE", value_parser = duration)]
    min_age: Option<Duration>,
    /// Read every object, too, and compare its hash with its row's.
    #[arg(long)]
    deep: bool,
    /// Have Temporal start it at this interval instead of now, 10s at least. Replaces an earlier
    /// schedule.
    #[arg(long, value_name = "INTERVAL", value_parser = interval)]
    every: Option<Duration>,
    /// End the schedule, and compare nothing now.
    #[arg(long, conflicts_with_all = ["every", "dry_run", "min_age", "deep"])]
    unschedule: bool,
    /// Print machine-readable output as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(config: Config, args: Args) -> anyhow::Result<Exit> {
    let client = Client::connect(&config.temporal).await?;
    if args.unschedule {
        let was_there = client.unschedule_reconcile().await?;
        eprintln!("{}", if was_there { "the schedule is ended" } else { "there was no schedule" });
        return Ok(Exit::Success);
    }
    let min_age_s = args.min_age.unwrap_or(MIN_AGE).as_secs();
    let input = ReconcileInput { dry_run: args.dry_run, min_age_s, deep: args.deep };
    if let Some(every) = args.every {
        client.schedule_reconcile(every, &input).await?;
        eprintln!(
            "every {} s a worker reconciles; see the schedule `reconcile` in Temporal",
            every.as_secs()
        );
        return Ok(Exit::Success);
    }
    config.validate_database()?;
    if config.storage.bucket.is_empty() {
        let what =
            "storage.bucket is empty; set it to the name of an existing bucket (or DARKROOM_STORAGE__BUCKET)";
        return Err(worker::config::Error::new(what).into());
    }
    let database = database::connect(&config.database, 1).await?;
    let reconciler = Reconciler::new(database, Storage::new(&config.storage), client);
    let output = Box::pin(reconciler.run(&input)).await?;
    if args.json {
        println!("{}", serde_json::to_string(&output)?);
    } else {
        print!("{}", text(&output));
    }
    Ok(Exit::Success)
}

/// Returns the report as text for people.
fn text(output: &ReconcileOutput) -> String {
    let looked_at = output.looked_at;
    let mut text = format!(
        "compared: {} running tasks, {} calls, {} images, {} objects\n",
        looked_at.running_tasks, looked_at.calls, looked_at.images, looked_at.objects
    );
    let (repaired, reported): (Vec<&Found>, Vec<&Found>) =
        output.found.iter().partition(|found| found.repair.is_some());
    let title = if output.dry_run { "to be repaired" } else { "repaired" };
    for (title, part) in [(title, repaired), ("for you to look at", reported)] {
        if part.is_empty() {
            text += &format!("{title}: nothing\n");
        }
        for found in part {
            let repair =
                found.repair.map(|repair| format!("; {}", repair_in_words(repair))).unwrap_or_default();
            text += &format!("{title}: {} {}{repair}\n", found.count, in_words(found.finding));
            found.examples.iter().for_each(|example| text += &format!("    {example}\n"));
            if found.count > found.examples.len() as u64 {
                text += "    …\n";
            }
        }
    }
    text
}

fn in_words(finding: Finding) -> &'static str {
    match finding {
        Finding::UnrecordedTask => "tasks whose row said `running` though their workflow had a result",
        Finding::LostTask => "tasks without a row though their workflow had a result",
        Finding::AbandonedTask => {
            "tasks whose row said `running` though their workflow ended long ago without a result"
        }
        Finding::EndedTask => {
            "tasks whose row says `running` though their workflow has ended; they may be started again"
        }
        Finding::AbandonedCall => "open calls whose end nobody will record",
        Finding::LeftoverResult => "results of calls whose task has ended",
        Finding::MissingObject => "image rows whose object is gone",
        Finding::DifferentObject => "image rows whose object is another",
        Finding::StrayObject => "objects that no row needs",
        Finding::UnknownObject => "objects of which Darkroom can't tell that they are its own",
    }
}

fn repair_in_words(repair: Repair) -> &'static str {
    match repair {
        Repair::RowRecorded => "row recorded from the result",
        Repair::RowClosed => "row closed",
        Repair::CallClosed => "closed as ambiguous, possible losses",
        Repair::ResultEmptied => "emptied",
        Repair::ObjectRemoved => "removed",
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        short if short < Duration::from_secs(10) => Err("use 10s or more".into()),
        interval => Ok(interval),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let unit_s = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        Some(_) | None => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).and_then(|number| number.parse::<u32>().ok());
    match number {
        Some(number) if unit_s > 0 => Ok(Duration::from_secs(u64::from(number) * unit_s)),
        Some(_) | None => Err("use a number and s, m, h or d, such as 25h".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_number_and_a_unit() {
        assert_eq!(duration("25h"), Ok(Duration::from_secs(90_000)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("4294967295d"), Ok(Duration::from_secs(4_294_967_295 * 86_400)));
        for wrong in ["", "h", "25", "1.5h", "-1h", "1 h", "25é"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(interval("9s").is_err());
    }
}
