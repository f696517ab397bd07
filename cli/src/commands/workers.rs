//! `darkroom workers` shows which workers make paid calls, and how many each may make.

use worker::Config;

use super::output::{self, Format, View};
use crate::exit::Exit;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    format: Format,
}

pub(super) const COLUMNS: [&str; 9] =
    ["worker", "host", "pid", "provider_key", "in_flight", "granted", "demand", "seen_ms_ago", "state"];

pub(crate) async fn run(config: Config, args: Args) -> anyhow::Result<Exit> {
    config.validate_database()?;
    let database = database::connect(&config.database, 1).await?;
    output::show(&args.format, async || {
        Ok(View::table(&COLUMNS, &paid_calls::report::workers(&database).await?))
    })
    .await
}
