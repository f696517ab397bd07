//! A gate at which work waits while a test looks.

use tokio::sync::watch;

/// How many may still pass; open at first.
#[derive(Debug)]
pub(super) struct Gate(watch::Sender<u64>);

const OPEN: u64 = u64::MAX;

impl Default for Gate {
    fn default() -> Gate {
        Gate(watch::Sender::new(OPEN))
    }
}

impl Gate {
    pub(super) fn close(&self) {
        self.0.send_replace(0);
    }

    pub(super) fn open(&self) {
        self.0.send_replace(OPEN);
    }

    /// Lets one pass a closed gate.
    pub(super) fn let_one_pass(&self) {
        self.0.send_modify(|left| *left = left.saturating_add(1));
    }

    /// Returns when the gate lets one pass.
    pub(super) async fn pass(&self) {
        let mut passed = false;
        while !passed {
            // An error means that the gate has gone, and with it the provider.
            let _ = self.0.subscribe().wait_for(|left| *left > 0).await;
            self.0.send_if_modified(|left| {
                passed = *left > 0;
                if passed && *left != OPEN {
                    *left -= 1;
                }
                passed
            });
        }
    }
}
