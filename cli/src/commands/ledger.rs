//! `darkroom ledger` shows what was paid for whom, and the calls of which nobody knows whether they
//! were billed.

use paid_calls::report::{self, By, Filter};
use worker::Config;

use super::output::{self, Format, View};
use crate::exit::Exit;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only calls of this task.
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Only calls for this user.
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Only calls of this plan.
    #[arg(long, value_name = "NAME")]
    plan: Option<String>,
    /// Only calls with this provider key.
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// Group by which calls are summed up.
    #[arg(long, value_enum, default_value = "day")]
    by: ByArg,
    /// List each call that has not ended instead.
    #[arg(long, conflicts_with = "ambiguous")]
    open: bool,
    /// List each call that was, or may have been, paid for nothing instead.
    #[arg(long)]
    ambiguous: bool,
    /// Print comma-separated values instead of a table.
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum ByArg {
    Task,
    User,
    Plan,
    Key,
    Day,
}

const SUMS: [&str; 11] = [
    "group",
    "calls",
    "done",
    "rejected",
    "failed",
    "open",
    "ambiguous",
    "losses",
    "images_billed",
    "cost_usd",
    "images_in_doubt",
];
const CALLS: [&str; 13] = [
    "call_id",
    "provider_key",
    "task_id",
    "name",
    "state",
    "images_asked",
    "images_billed",
    "possible_cost_usd",
    "begun_at",
    "runs_until",
    "written_off_at",
    "worker",
    "message",
];

pub(crate) async fn run(config: Config, args: Args) -> anyhow::Result<Exit> {
    config.validate_database()?;
    let database = database::connect(&config.database, 1).await?;
    let filter = Filter { task_id: args.task, user_id: args.user, plan: args.plan, provider_key: args.key };
    let by = match args.by {
        ByArg::Task => By::Task,
        ByArg::User => By::User,
        ByArg::Plan => By::Plan,
        ByArg::Key => By::Key,
        ByArg::Day => By::Day,
    };
    let each = args.open || args.ambiguous;
    let look = async || {
        if !each {
            return anyhow::Ok(output::objects(&report::ledger(&database, &filter, by).await?));
        }
        let mut calls = output::objects(&report::calls(&database, &filter, args.open).await?);
        for call in &mut calls {
            let images = call["images_billed"].as_u64().or(call["images_asked"].as_u64()).unwrap_or_default();
            call["possible_cost_usd"] = config.provider.price_usd(images as u32).into();
        }
        Ok(calls)
    };
    let columns: &[&str] = if each { &CALLS } else { &SUMS };
    if args.csv {
        print!("{}", output::csv(columns, &look().await?));
        return Ok(Exit::Success);
    }
    output::show(&args.format, async || Ok(View::table(columns, &look().await?))).await
}
