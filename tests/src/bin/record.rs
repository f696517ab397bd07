//! Records the replay corpus anew, from the live sandbox: `./test record`, after a deliberate change of the workflow.
#![allow(clippy::unwrap_used, reason = "a recording that can't go on is to stop, loudly")]

use std::path::Path;

use prost::Message;
use temporalio_common::protos::temporal::api::history::v1::History;
use tests::PATHS;

#[tokio::main]
async fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("replay/histories");
    let only: Vec<String> = std::env::args().skip(1).collect();
    for path in PATHS.iter().filter(|path| only.is_empty() || only.iter().any(|name| name == path.name)) {
        let events = path.record().await;
        eprintln!("{:<20} {:>4} events  {}", path.name, events.len(), path.covers);
        let file = folder.join(format!("{}.bin", path.name));
        std::fs::write(file, History { events }.encode_to_vec()).unwrap();
    }
}
