//! `darkroom limits` shows the limits of provider keys, and changes them while workers run.

use paid_calls::limits::Change;
use paid_calls::report;
use worker::Config;

use super::output::{self, Format, View};
use crate::exit::Exit;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    format: Format,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Change the limits that are given, and no others. Workers obey within a second.
    Set {
        /// Provider key. Default: that of the configuration.
        key: Option<String>,
        /// Most calls in flight over all workers, as a number or `none`.
        #[arg(long, value_parser = limit)]
        ceiling: Option<Limit>,
        /// Lowest limit that adaptation sets.
        #[arg(long)]
        floor: Option<u32>,
        /// Most calls that may begin in any minute, as a number or `none`.
        #[arg(long, value_parser = limit)]
        calls_per_minute: Option<Limit>,
        /// Most images that may be asked for in any minute, as a number or `none`.
        #[arg(long, value_parser = limit)]
        images_per_minute: Option<Limit>,
        /// Seconds for which an orphan uses capacity, from its begin. An orphan is a call whose
        /// worker died or whose connection broke. `learnt` means twice as long as the longest of
        /// the last 100 calls took, 15 s at least. Use 0 if the provider stops a call when its
        /// client hangs up.
        #[arg(long, value_parser = orphan_s)]
        orphan_s: Option<Limit>,
    },
    /// Begin no new calls. Running calls finish.
    Pause {
        /// Provider key. Default: that of the configuration.
        key: Option<String>,
    },
    /// Begin calls of the key again.
    Resume {
        /// Provider key. Default: that of the configuration.
        key: Option<String>,
    },
}

/// A limit that can also be `none`, or a time that can also be `learnt`.
#[derive(Debug, Clone, Copy)]
struct Limit(Option<u32>);

fn limit(text: &str) -> Result<Limit, String> {
    number(text, "none", 1_000_000).ok_or_else(|| "use a number from 0 to 1000000, or none".into())
}

fn orphan_s(text: &str) -> Result<Limit, String> {
    number(text, "learnt", 3_600).ok_or_else(|| "use seconds from 0 to 3600, or learnt".into())
}

fn number(text: &str, none: &str, most: u32) -> Option<Limit> {
    if text == none {
        return Some(Limit(None));
    }
    text.parse().ok().filter(|number| *number <= most).map(|number| Limit(Some(number)))
}

pub(super) const COLUMNS: [&str; 14] = [
    "provider_key",
    "in_flight",
    "calls_at_once",
    "floor",
    "ceiling",
    "granted",
    "workers",
    "calls_last_minute",
    "calls_per_minute",
    "images_last_minute",
    "images_per_minute",
    "paused",
    "throttled_ms",
    "failing",
];

pub(crate) async fn run(config: Config, args: Args) -> anyhow::Result<Exit> {
    config.validate_database()?;
    let database = database::connect(&config.database, 1).await?;
    let (key, change) = match args.action {
        None => (None, Change::default()),
        Some(Action::Pause { key }) => (Some(key), Change::paused(true)),
        Some(Action::Resume { key }) => (Some(key), Change::paused(false)),
        Some(Action::Set { key, ceiling, floor, calls_per_minute, images_per_minute, orphan_s }) => {
            let change = Change {
                ceiling: ceiling.map(|limit| limit.0),
                floor,
                calls_per_minute: calls_per_minute.map(|limit| limit.0),
                images_per_minute: images_per_minute.map(|limit| limit.0),
                orphan_ms: orphan_s.map(|limit| limit.0.map(|seconds| seconds * 1_000)),
                paused: None,
            };
            if change == Change::default() {
                eprintln!(
                    "error: nothing to set: give --ceiling, --floor, --calls-per-minute, --images-per-minute or --orphan-s"
                );
                return Ok(Exit::BadInput);
            }
            (Some(key), change)
        }
    };
    if let Some(key) = key {
        let batch = config.images_a_call();
        if change.images_per_minute.flatten().is_some_and(|rate| rate < batch) {
            eprintln!(
                "error: --images-per-minute is less than a call asks for, {batch} images, so no call could begin: use at least {batch}, \
                 none, or `darkroom limits pause`"
            );
            return Ok(Exit::BadInput);
        }
        let configured = config.provider.provider_key();
        let key = key.as_deref().unwrap_or(configured);
        let known = report::limits(&database).await?;
        if key != configured && known.iter().all(|known| known.provider_key != key) {
            let names: Vec<&str> = known.iter().map(|known| known.provider_key.as_str()).collect();
            eprintln!("error: there is no provider key `{key}`; there are: {}", names.join(", "));
            return Ok(Exit::BadInput);
        }
        paid_calls::limits::set(&database, key, &change).await?;
    }
    output::show(&args.format, async || Ok(View::table(&COLUMNS, &report::limits(&database).await?))).await
}
