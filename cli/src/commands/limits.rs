//! `darkroom limits`: what provider keys allow, shown and changed while workers run.

use database::report;
use serde_json::{Map, Value};
use worker::Config;

use super::look::{self, Format, View};
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
    /// Change limits: only what is given. Workers obey within a second.
    Set {
        /// The provider key; default: that of the configuration.
        key: Option<String>,
        /// Calls in flight at most, over all workers: a number, or `none`.
        #[arg(long, value_parser = limit)]
        ceiling: Option<Value>,
        /// The limit is never cut below this.
        #[arg(long)]
        floor: Option<u32>,
        /// Calls begun in any minute at most: a number, or `none`.
        #[arg(long, value_parser = limit)]
        calls_per_minute: Option<Value>,
        /// Images asked for in any minute at most: a number, or `none`.
        #[arg(long, value_parser = limit)]
        images_per_minute: Option<Value>,
        /// How long a call whose worker died, or whose connection broke, uses capacity from its begin: seconds, or `learnt` for twice the
        /// longest of the last 100 calls. 0 where the provider stops when its client hangs up.
        #[arg(long, value_parser = orphan_ms)]
        orphan_s: Option<Value>,
    },
    /// Begin no call any more; those that run finish.
    Pause {
        /// The provider key; default: that of the configuration.
        key: Option<String>,
    },
    /// Begin calls again.
    Resume {
        /// The provider key; default: that of the configuration.
        key: Option<String>,
    },
}

fn limit(text: &str) -> Result<Value, String> {
    match text {
        "none" => Ok(Value::Null),
        number => match number.parse::<u32>() {
            Ok(number) if number <= 1_000_000 => Ok(number.into()),
            Ok(_) | Err(_) => Err("use a number from 0 to 1000000, or none".into()),
        },
    }
}

fn orphan_ms(text: &str) -> Result<Value, String> {
    match text {
        "learnt" => Ok(Value::Null),
        number => match number.parse::<u32>() {
            Ok(seconds) if seconds <= 3_600 => Ok((seconds * 1_000).into()),
            Ok(_) | Err(_) => Err("use seconds from 0 to 3600, or learnt".into()),
        },
    }
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
    let mut change = Map::new();
    let key = match args.action {
        None => None,
        Some(Action::Pause { key }) => {
            change.insert("paused".into(), true.into());
            Some(key)
        }
        Some(Action::Resume { key }) => {
            change.insert("paused".into(), false.into());
            Some(key)
        }
        Some(Action::Set { key, ceiling, floor, calls_per_minute, images_per_minute, orphan_s }) => {
            let given = [
                ("ceiling", ceiling),
                ("floor", floor.map(Value::from)),
                ("calls_per_minute", calls_per_minute),
                ("images_per_minute", images_per_minute),
                ("orphan_ms", orphan_s),
            ];
            change.extend(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
            if change.is_empty() {
                eprintln!(
                    "error: nothing to set: give --ceiling, --floor, --calls-per-minute, --images-per-minute or --orphan-s"
                );
                return Ok(Exit::BadInput);
            }
            Some(key)
        }
    };
    if let Some(key) = key {
        let batch = config.images_a_call();
        if change.get("images_per_minute").and_then(Value::as_u64).is_some_and(|rate| rate < batch.into()) {
            eprintln!(
                "error: --images-per-minute is less than a call asks for, {batch} images, so no call could begin: use at least {batch}, \
                 none, or `darkroom limits pause`"
            );
            return Ok(Exit::BadInput);
        }
        let configured = config.provider.provider_key();
        let key = key.as_deref().unwrap_or(configured);
        let known = report::limits(&database).await?;
        if key != configured && known.iter().all(|known| known["provider_key"] != key) {
            let names: Vec<&str> = known.iter().filter_map(|known| known["provider_key"].as_str()).collect();
            eprintln!("error: there is no provider key `{key}`; there are: {}", names.join(", "));
            return Ok(Exit::BadInput);
        }
        database::limits::set(&database, key, &Value::Object(change)).await?;
    }
    look::show(&args.format, async || Ok(View::table(&COLUMNS, report::limits(&database).await?))).await
}
