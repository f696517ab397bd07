//! Waits between the tries of a statement whose answer has to be known.

use std::time::Duration;

use tokio::time::sleep;

/// Waits 50 ms, then twice as long each time, up to 2 s.
#[derive(Debug, Default)]
pub(crate) struct Backoff(u32);

impl Backoff {
    pub(crate) fn is_fresh(&self) -> bool {
        self.0 == 0
    }

    pub(crate) async fn wait(&mut self) {
        let wait = Duration::from_millis(50 << self.0.min(6)).min(Duration::from_secs(2));
        self.0 += 1;
        sleep(wait).await;
    }
}
