//! `darkroom check` tests every connection, and says what is wrong and what to do.

use std::time::{Duration, Instant};

use activities::provider::Provider;
use activities::storage::Storage;
use worker::Config;

use crate::exit::Exit;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Part to test. Default: all parts.
    #[arg(value_enum, value_name = "WHAT")]
    what: Vec<What>,
    /// Print JSON lines {"what", "ok", "message", "elapsed_ms"}.
    #[arg(long)]
    json: bool,
}

/// Time after which the test of one part has failed.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Configuration,
    Temporal,
    Database,
    Storage,
    Provider,
}

impl What {
    fn as_str(self) -> &'static str {
        match self {
            What::Configuration => "configuration",
            What::Temporal => "temporal",
            What::Database => "database",
            What::Storage => "storage",
            What::Provider => "provider",
        }
    }
}

struct Finding {
    what: What,
    result: Result<String, String>,
    elapsed: Duration,
}

pub(crate) async fn run(config: Config, args: Args) -> anyhow::Result<Exit> {
    let all = [What::Configuration, What::Temporal, What::Database, What::Storage, What::Provider];
    let mut findings = Vec::new();
    for what in all.into_iter().filter(|what| args.what.is_empty() || args.what.contains(what)) {
        findings.push(find(what, &config).await);
    }
    for finding in &findings {
        let (ok, message) = match &finding.result {
            Ok(message) => (true, message),
            Err(message) => (false, message),
        };
        let elapsed_ms = finding.elapsed.as_millis() as u64;
        if args.json {
            println!(
                "{}",
                serde_json::json!({"what": finding.what.as_str(), "ok": ok, "message": message, "elapsed_ms": elapsed_ms})
            );
        } else {
            let mark = if ok { "ok    " } else { "FAILED" };
            println!("{mark} {:<14} {message} ({elapsed_ms} ms)", finding.what.as_str());
        }
    }
    let good = findings.iter().all(|finding| finding.result.is_ok());
    Ok(if good { Exit::Success } else { Exit::Failure })
}

async fn find(what: What, config: &Config) -> Finding {
    let began = Instant::now();
    let check = async {
        match what {
            What::Configuration => configuration(config),
            What::Temporal => temporal(config).await,
            What::Database => postgres(config).await,
            What::Storage => storage(config).await,
            What::Provider => provider(config).await,
        }
    };
    let result = tokio::time::timeout(PATIENCE, check)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s: is the address right?", PATIENCE.as_secs())));
    Finding { what, result, elapsed: began.elapsed() }
}

fn configuration(config: &Config) -> Result<String, String> {
    let lists = config.lists.iter().map(|(key, entries)| format!("{key} = {entries:?}"));
    let lists = lists.collect::<Vec<_>>().join("; ");
    config.validate().map(|()| format!("makes sense; {lists}")).map_err(|error| format!("{error}; {lists}"))
}

async fn temporal(config: &Config) -> Result<String, String> {
    let temporal = &config.temporal;
    let hint = "start a server (`temporal server start-dev`) or set temporal.address (TEMPORAL_ADDRESS)";
    let client = client::Client::connect(temporal).await.map_err(|error| format!("{error}; {hint}"))?;
    client
        .check()
        .await
        .map_err(|error| format!("{error}; create the namespace, or set TEMPORAL_NAMESPACE"))?;
    Ok(format!("{}, namespace {}", temporal.address, temporal.namespace))
}

async fn postgres(config: &Config) -> Result<String, String> {
    config.validate_database().map_err(|error| error.to_string())?;
    let database = database::connect(&config.database, 1).await;
    let database = database.map_err(|error| format!("{error}; is database.url (DATABASE_URL) right?"))?;
    let connections = config.pool_size();
    database::check_capacity(&database, connections).await.map_err(|error| error.to_string())?;
    let pending = migrations::pending(&database).await.map_err(|error| error.to_string())?;
    if !pending.is_empty() {
        return Err(format!("{} migrations are pending: run `darkroom migrate up`", pending.len()));
    }
    migrations::functions::check(&database).await?;
    let key = config.provider.provider_key();
    let limits = paid_calls::report::limits(&database).await.map_err(|error| error.to_string())?;
    let of_key = limits.iter().find(|limits| limits.provider_key == key);
    let (rate, images) = (of_key.and_then(|limits| limits.images_per_minute), config.images_a_call());
    if let Some(rate) = rate.filter(|rate| *rate < images) {
        return Err(format!(
            "provider key `{key}` may have {rate} images a minute, and a call asks for {images}, so no call can begin: use `darkroom limits \
             set {key} --images-per-minute {images}` at least, or a smaller generate.batch_size"
        ));
    }
    Ok(format!("schema up to date, room for {connections} connections"))
}

async fn storage(config: &Config) -> Result<String, String> {
    let hint = "set storage.endpoint_url (AWS_ENDPOINT_URL_S3), storage.bucket and the key";
    Storage::new(&config.storage).check().await.map_err(|error| format!("{error}; {hint}"))?;
    Ok(format!("bucket {}", config.storage.bucket))
}

async fn provider(config: &Config) -> Result<String, String> {
    let provider = Provider::new(&config.provider).map_err(|error| error.to_string())?;
    let hint = "set provider.base_url and provider.api_key";
    let found = provider.check().await.map_err(|error| format!("{error}; {hint}"))?;
    Ok(format!("{}, model {}: {found}", config.provider.base_url, config.provider.model))
}
