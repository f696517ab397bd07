//! A gate at which work waits while a test looks.

use tokio::sync::watch;

/// Open at first.
#[derive(Debug)]
pub(super) struct Gate(watch::Sender<State>);

#[derive(Debug)]
struct State {
    /// How many may still pass.
    left: u64,
    /// How many of those to come are held, whether there is room or not.
    holds: usize,
    /// How often it was opened: that alone frees those held.
    opened: u64,
}

const OPEN: u64 = u64::MAX;

impl Default for Gate {
    fn default() -> Gate {
        Gate(watch::Sender::new(State { left: OPEN, holds: 0, opened: 0 }))
    }
}

impl Gate {
    pub(super) fn close(&self) {
        self.0.send_modify(|state| state.left = 0);
    }

    pub(super) fn open(&self) {
        self.0.send_modify(|state| *state = State { left: OPEN, holds: 0, opened: state.opened + 1 });
    }

    /// Lets one pass a closed gate.
    pub(super) fn let_one_pass(&self) {
        self.0.send_modify(|state| state.left = state.left.saturating_add(1));
    }

    /// Those who come next, so many, are held till it opens; whoever comes after them is not.
    pub(super) fn hold_next(&self, count: usize) {
        self.0.send_modify(|state| state.holds = count);
    }

    /// Returns when the gate lets one pass.
    pub(super) async fn pass(&self) {
        let mut held = None;
        self.0.send_if_modified(|state| {
            held = (state.holds > 0).then_some(state.opened);
            state.holds = state.holds.saturating_sub(1);
            false
        });
        if let Some(opened) = held {
            // An error means that the gate has gone, and with it the provider.
            let _ = self.0.subscribe().wait_for(|state| state.opened > opened).await;
            return;
        }
        let mut passed = false;
        while !passed {
            let _ = self.0.subscribe().wait_for(|state| state.left > 0).await;
            self.0.send_if_modified(|state| {
                passed = state.left > 0;
                if passed && state.left != OPEN {
                    state.left -= 1;
                }
                passed
            });
        }
    }
}
