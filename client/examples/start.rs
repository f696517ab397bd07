//! Starts a task, prints its progress as it changes, then its output: `cargo run -p client --example start -- '{…}'`.
#![expect(clippy::print_stdout, reason = "what it is for")]

use std::{env, error::Error, pin::pin, time::Duration};

use futures::StreamExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut settings = client::Settings::local();
    settings.address = env::var("TEMPORAL_ADDRESS").unwrap_or(settings.address);
    settings.namespace = env::var("TEMPORAL_NAMESPACE").unwrap_or(settings.namespace);
    let input = serde_json::from_str(&env::args().nth(1).ok_or("give a task's input, as JSON")?)?;

    let task = client::Client::connect(&settings).await?.start(&input).await?;
    let mut looks = pin!(task.watch(Duration::from_millis(500)));
    while let Some(look) = looks.next().await {
        println!("{:?}", look?);
    }
    println!("{:?}", task.result().await?);
    Ok(())
}
