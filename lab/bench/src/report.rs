//! What is told of a measurement: as a table, as JSON, as a page.

mod compare;
mod html;
mod svg;
mod table;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::figures::{Figure, Observed, figures, medians};
use crate::settings::{Kept, Settings};

pub use compare::compare;
pub use html::{page, plot};
pub use table::table;

/// Changes when a program that reads reports would break.
const FORMAT: u32 = 1;
/// Above this, the machine was too busy with something else for the figures to be trusted.
const OTHERS_AT_MOST: f64 = 0.10;

/// A measurement, as in `--json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this form.
    pub format: u32,
    /// Under what conditions it was measured.
    pub conditions: Conditions,
    /// What to keep in mind when reading the figures.
    pub warnings: Vec<String>,
    /// The medians of the runs.
    pub figures: Vec<Figure>,
    /// Each run by itself.
    pub runs: Vec<Vec<Figure>>,
}

/// What has to be the same for two measurements to be compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// The load, in words.
    pub scenario: String,
    /// Decides the order of arrivals where the load is mixed.
    pub seed: u64,
    /// How much faster than real the provider's clock ran; all times are in its seconds.
    pub speed: f64,
    /// By how much of 8 s a call took more or less, 0 to 1. Bound and schedule take each call at 8 s.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub call_spread: f64,
    /// Worker processes.
    pub workers: u32,
    /// Provider calls at once, in each.
    pub slots: u32,
    /// Calls at once over all workers, and how that limit was kept: `leases` or `semaphore row`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<(u32, String)>,
    /// Images that moved at once, in each.
    pub transfer_slots: u32,
    /// Bytes of a picture.
    pub image_bytes: usize,
    /// `in process` or `versity`.
    pub store: String,
    /// Whether the provider honoured idempotency keys.
    pub keys_honoured: bool,
    /// When the worker was killed, and how long nobody was there. Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill: Option<(f64, f64)>,
    /// When the provider began to answer with nothing but 503, and for how long. Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<(f64, f64)>,
    /// Whether the first task found the worker as it had just started.
    pub cold: bool,
    /// How many runs.
    pub runs: u32,
    /// `release` or `debug`.
    pub build: String,
    /// How SQL statements were counted.
    pub statements: String,
    /// Processors of the machine.
    pub processors: usize,
    /// The command that makes the same measurement.
    pub command: String,
}

impl Report {
    /// The report of some runs under the same settings. `command` is what the user typed.
    pub fn new(settings: &Settings, runs: &[Observed], command: String) -> Self {
        let all: Vec<Vec<Figure>> = runs.iter().map(figures).collect();
        Self {
            format: FORMAT,
            warnings: warnings(settings, runs),
            conditions: Conditions {
                scenario: settings.scenario.to_string(),
                seed: settings.seed,
                speed: settings.speed,
                call_spread: settings.call_spread,
                workers: settings.workers,
                slots: settings.slots,
                limit: settings.limit.map(|(limit, kept)| {
                    let how = match kept {
                        Kept::ByLeases => "leases",
                        Kept::BySemaphoreRow => "semaphore row",
                    };
                    (limit, how.to_owned())
                }),
                transfer_slots: settings.transfer_slots,
                image_bytes: settings.image_bytes,
                store: match settings.store {
                    sandbox::StoreKind::InProcess => "in process".into(),
                    sandbox::StoreKind::Versity => "versity".into(),
                },
                keys_honoured: settings.keys_honoured,
                kill: settings.kill.map(|kill| (kill.at_s, kill.restart_after_s)),
                unavailable: settings.unavailable.map(|outage| (outage.at_s, outage.for_s)),
                cold: settings.cold,
                runs: runs.len() as u32,
                build: build().into(),
                statements: runs.first().map_or("", |run| run.statements_how).into(),
                processors: std::thread::available_parallelism().map_or(0, usize::from),
                command,
            },
            figures: medians(&all),
            runs: all,
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self).context("the report as JSON")? + "\n")
    }

    /// From JSON that an earlier `bench --json` has written.
    pub fn from_json(json: &str) -> Result<Self> {
        let report: Self =
            serde_json::from_str(json).context("it is no report of `darkroom-lab bench --json`")?;
        if report.format != FORMAT {
            bail!("it has format {}, this program reads {FORMAT}: measure again", report.format);
        }
        Ok(report)
    }
}

impl Conditions {
    /// In a few lines, for people.
    fn lines(&self) -> Vec<String> {
        let plural =
            |count: u32, thing: &str| format!("{count} {thing}{}", if count == 1 { "" } else { "s" });
        let mut lines = vec![
            self.scenario.clone(),
            format!(
                "{} of {} calls and {} transfers at once; pictures of {}; S3 {}; idempotency keys {}; {} build",
                plural(self.workers, "worker"),
                self.slots,
                self.transfer_slots,
                size(self.image_bytes),
                self.store,
                if self.keys_honoured { "honoured" } else { "ignored" },
                self.build
            ),
        ];
        if let Some((limit, how)) = &self.limit {
            lines.push(
                format!("{limit} calls at once over all workers, kept by a {how}")
                    .replace("a leases", "leases"),
            );
        }
        if !is_zero(&self.call_spread) {
            let percent = self.call_spread * 100.0;
            lines.push(format!("a call takes 8 s ± up to {percent} %; bound and schedule take each at 8 s"));
        }
        if let Some((at_s, after_s)) = self.kill {
            lines.push(format!("kill -9 of the worker after {at_s} s, another one {after_s} s later"));
        }
        if let Some((at_s, for_s)) = self.unavailable {
            lines.push(format!("nothing but 503 from the provider after {at_s} s, for {for_s} s"));
        }
        let medians = if self.runs > 1 { format!("; medians of {} runs", self.runs) } else { String::new() };
        lines.push(format!(
            "times in provider seconds: real ones × {}{medians}; CPU in real time",
            self.speed
        ));
        lines
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

fn size(bytes: usize) -> String {
    if bytes < 1_000_000 {
        format!("{} KB", bytes as f64 / 1e3)
    } else {
        format!("{} MB", bytes as f64 / 1e6)
    }
}

fn build() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}

fn warnings(settings: &Settings, runs: &[Observed]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (number, run) in (1..).zip(runs) {
        if run.costs.others_share > OTHERS_AT_MOST {
            warnings.push(format!(
                "run {number}: others used {:.0} % of the machine's CPU time; measure on a quiet one",
                run.costs.others_share * 100.0
            ));
        }
    }
    if cfg!(debug_assertions) {
        warnings.push("this is a debug build: its CPU and times say little; use ./bench".into());
    }
    if (settings.kill.is_some() || settings.unavailable.is_some()) && settings.speed != 1.0 {
        warnings
            .push("heartbeats, restarts and retries take real time: with a kill or an outage, only --speed 1 is to scale".into());
    }
    warnings
}

/// A number with as many digits as can be meant.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        small if small < 1.0 => format!("{value:.3}"),
        small if small < 100.0 => format!("{value:.2}"),
        middle if middle < 10_000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests;
