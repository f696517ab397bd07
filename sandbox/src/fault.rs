//! Faults on demand: what the stand-in provider does wrong, and when.
//!
//! ```no_run
//! # use sandbox::{Fault, Rule, Provider, provider::Settings};
//! # async fn example() -> anyhow::Result<()> {
//! let provider = Provider::start(Settings::default()).await?;
//! provider.faults().add(Rule::new(Fault::ShortAnswer { images: 3 }).prompt("garden").times(1));
//! # Ok(()) }
//! ```

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A call is refused with this status, in the API's own error JSON; not billed. 429 is `rate_limit_exceeded`, 5xx `server_error`.
    Status {
        /// The HTTP status.
        status: u16,
        /// `retry-after`, if any: whole seconds, so that it fits.
        retry_after_s: Option<u64>,
    },
    /// A call is refused because of its prompt: 400 `moderation_blocked`; not billed.
    ModerationBlocked,
    /// The key is refused: 401 `invalid_api_key`; not billed.
    InvalidKey,
    /// The account is out of money: 429 of type `insufficient_quota`; not billed.
    InsufficientQuota,
    /// A gateway before the API answers with an HTML page; not billed.
    Html {
        /// The HTTP status, 502 as a rule.
        status: u16,
    },
    /// The connection is reset before the call is accepted; not billed.
    ResetBeforeBilling,
    /// The call is done and billed; then the connection is reset instead of an answer.
    ResetAfterBilling,
    /// The call is done and billed, but no answer ever comes.
    HangAfterBilling,
    /// The call is done and billed; the answer, a 200, is cut JSON.
    MalformedJson,
    /// The call is done, with another number of images than asked for; these are billed.
    ShortAnswer {
        /// How many images: fewer, none, or more.
        images: u32,
    },
    /// A download is refused with this status.
    DownloadStatus {
        /// The HTTP status.
        status: u16,
    },
    /// A download is cut: only its first bytes come, with a Content-Length that fits them.
    Truncated {
        /// How many bytes come.
        keep_bytes: usize,
    },
}

/// Where a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Call,
    Download,
}

impl Fault {
    fn stage(&self) -> Stage {
        match self {
            Fault::Status { .. }
            | Fault::ModerationBlocked
            | Fault::InvalidKey
            | Fault::InsufficientQuota
            | Fault::Html { .. }
            | Fault::ResetBeforeBilling
            | Fault::ResetAfterBilling
            | Fault::HangAfterBilling
            | Fault::MalformedJson
            | Fault::ShortAnswer { .. } => Stage::Call,
            Fault::DownloadStatus { .. } | Fault::Truncated { .. } => Stage::Download,
        }
    }
}

/// A fault and when it strikes: always, unless narrowed.
#[derive(Debug, Clone)]
pub struct Rule {
    fault: Fault,
    prompt: Option<String>,
    image: Option<u32>,
    nth: Option<u64>,
    times: Option<u64>,
    /// How many calls or downloads it matched, and how often it struck.
    seen: u64,
    struck: u64,
}

impl Rule {
    /// Strikes at each call (or download), for ever.
    pub fn new(fault: Fault) -> Rule {
        Rule { fault, prompt: None, image: None, nth: None, times: None, seen: 0, struck: 0 }
    }

    /// Only where the prompt contains this. A download has the prompt its image was made from.
    pub fn prompt(mut self, part: impl Into<String>) -> Rule {
        self.prompt = Some(part.into());
        self
    }

    /// Only downloads of images at this place, from 0, in their call's answer.
    pub fn image(mut self, index: u32) -> Rule {
        self.image = Some(index);
        self
    }

    /// Only from the `n`th call (or download) on, from 1, among those that match.
    pub fn from_nth(mut self, n: u64) -> Rule {
        self.nth = Some(n);
        self
    }

    /// Only so many times.
    pub fn times(mut self, times: u64) -> Rule {
        self.times = Some(times);
        self
    }

    /// Does it strike here? Counts.
    fn strikes(&mut self, stage: Stage, prompt: &str, image: Option<u32>) -> bool {
        let matches = self.fault.stage() == stage
            && self.prompt.as_ref().is_none_or(|part| prompt.contains(part))
            && (self.image.is_none() || self.image == image);
        if !matches {
            return false;
        }
        self.seen += 1;
        let strikes =
            self.nth.is_none_or(|n| self.seen >= n) && self.times.is_none_or(|times| self.struck < times);
        self.struck += u64::from(strikes);
        strikes
    }
}

/// The rules in force. They are asked in the order they were added; the first that strikes is what happens.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Vec<Rule>>);

impl Faults {
    /// One more rule, after those before.
    pub fn add(&self, rule: Rule) {
        self.rules().push(rule);
    }

    /// Nothing goes wrong any more.
    pub fn clear(&self) {
        self.rules().clear();
    }

    /// What goes wrong with a call, if anything.
    pub(crate) fn for_call(&self, prompt: &str) -> Option<Fault> {
        self.first(Stage::Call, prompt, None)
    }

    /// What goes wrong with a download, if anything.
    pub(crate) fn for_download(&self, prompt: &str, image: u32) -> Option<Fault> {
        self.first(Stage::Download, prompt, Some(image))
    }

    fn first(&self, stage: Stage, prompt: &str, image: Option<u32>) -> Option<Fault> {
        let mut rules = self.rules();
        rules.iter_mut().find_map(|rule| rule.strikes(stage, prompt, image).then(|| rule.fault.clone()))
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: Fault = Fault::Status { status: 503, retry_after_s: None };

    #[test]
    fn the_first_rule_that_strikes_wins_until_it_is_used_up() {
        let faults = Faults::default();
        faults.add(Rule::new(Fault::ModerationBlocked).prompt("bad").times(1));
        faults.add(Rule::new(BUSY));

        let struck: Vec<_> = ["bad", "bad", "good"].map(|prompt| faults.for_call(prompt)).into();

        assert_eq!(struck, [Some(Fault::ModerationBlocked), Some(BUSY), Some(BUSY)]);
    }

    #[test]
    fn a_rule_counts_only_what_it_matches() {
        let faults = Faults::default();
        faults.add(Rule::new(BUSY).prompt("garden").from_nth(2).times(2));

        let struck: Vec<_> = ["garden", "sea", "a garden", "sea", "garden", "garden"]
            .map(|prompt| faults.for_call(prompt).is_some())
            .into();

        assert_eq!(struck, [false, false, true, false, true, false]);
    }

    #[test]
    fn faults_of_downloads_leave_calls_alone() {
        let faults = Faults::default();
        faults.add(Rule::new(Fault::Truncated { keep_bytes: 10 }).image(1));

        assert_eq!(faults.for_call("x"), None);
        assert_eq!(faults.for_download("x", 0), None);
        assert_eq!(faults.for_download("x", 1), Some(Fault::Truncated { keep_bytes: 10 }));
    }
}
