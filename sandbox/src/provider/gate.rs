//! A gate at which work waits while a test looks.

use tokio::sync::watch;

/// Open at first.
#[derive(Debug)]
pub(super) struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Gate {
        Gate(watch::Sender::new(true))
    }
}

impl Gate {
    pub(super) fn close(&self) {
        self.0.send_replace(false);
    }

    pub(super) fn open(&self) {
        self.0.send_replace(true);
    }

    /// Returns when the gate is open.
    pub(super) async fn pass(&self) {
        // An error means that the gate has gone, and with it the provider.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}
