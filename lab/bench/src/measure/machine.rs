//! The machine as a whole: was it busy with something else?

use std::fs;

use anyhow::{Context, Result};

use super::process::TICKS_PER_S;

/// CPU time of all processors since the machine started.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cpus {
    /// Working, for whomever.
    pub(crate) busy_s: f64,
    /// Working or not.
    pub(crate) all_s: f64,
}

impl Cpus {
    pub(crate) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        Self::parse(&text).context("/proc/stat can't be read")
    }

    /// `cpu user nice system idle iowait irq softirq steal guest guest_nice`; guests are within user.
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<f64> =
            line.split_whitespace().take(8).map(|field| field.parse().ok()).collect::<Option<_>>()?;
        let all: f64 = ticks.iter().sum();
        let idle = ticks.get(3)? + ticks.get(4)?;
        Some(Self { busy_s: (all - idle) / TICKS_PER_S, all_s: all / TICKS_PER_S })
    }

    /// The share of the machine's time since `before` that somebody else than the given work of ours used.
    pub(crate) fn used_by_others(self, before: Self, ours_s: f64) -> f64 {
        let all_s = self.all_s - before.all_s;
        if all_s <= 0.0 { 0.0 } else { ((self.busy_s - before.busy_s - ours_s) / all_s).clamp(0.0, 1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_idle_nor_ours_is_others() {
        let before = Cpus::parse("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 1\n").unwrap();
        let after = Cpus::parse("cpu  200 0 150 850 0 0 0 0 0 0\n").unwrap();
        assert_eq!(before, Cpus { busy_s: 2.0, all_s: 10.0 });
        // 2 s later 1.5 s were worked, 1 s of it by us.
        assert!((after.used_by_others(before, 1.0) - 0.25).abs() < 1e-9);
    }
}
