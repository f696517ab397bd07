//! Faults on demand: what the stand-in provider does wrong, and when.
//!
//! ```no_run
//! # use sandbox::{ProviderFault, Rule, Provider, provider::Settings};
//! # async fn example() -> anyhow::Result<()> {
//! let provider = Provider::start(Settings::default()).await?;
//! provider.faults().add(Rule::new(ProviderFault::ShortAnswer { images: 3 }).prompt("garden").times(1));
//! # Ok(()) }
//! ```

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::chance::Chance;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderFault {
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
    /// The call is taken into work, and no answer ever comes; not billed.
    HangBeforeBilling,
    /// The call is done and billed; its answer trickles in over this time.
    SlowBody {
        /// Milliseconds of our time.
        ms: u64,
    },
    /// The call is done and billed; the connection ends in the middle of the answer.
    CutBody,
    /// The call is done and billed; its answer, sound JSON, calls itself a web page.
    WrongContentType,
    /// The call is done and billed; its images are web pages, whatever they call themselves.
    NotAnImage,
    /// A call is answered with this body instead of images: JSON, or a web page if it begins with `<`.
    Says {
        /// The HTTP status.
        status: u16,
        /// The whole body.
        body: String,
        /// The call is done and billed all the same, as a job of an asynchronous API is.
        billed: bool,
    },
    /// The call is done and billed; its answer's entries have another form.
    Entries(Entries),
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
    /// The connection of a download ends in the middle of the file.
    DownloadCut,
    /// A download trickles in over this time.
    DownloadSlow {
        /// Milliseconds of our time.
        ms: u64,
    },
    /// A download never comes.
    DownloadHang,
    /// A download is sound, and calls itself a web page.
    DownloadWrongType,
    /// A download is a web page that calls itself an image.
    DownloadNotAnImage,
    /// A download is a GIF that calls itself an image of another kind.
    DownloadGif,
    /// A download has all its pixels and lacks its end: a PNG's end chunk, a JPEG's end mark. A WebP's container states that there is more.
    DownloadWithoutEnd,
    /// A bit in the middle of the file is another. A PNG's checksum tells; what a JPEG or a WebP shows is another picture.
    FlippedBit,
    /// A download is cut: only its first bytes come, with a Content-Length that fits them.
    Truncated {
        /// How many bytes come.
        keep_bytes: usize,
    },
}

/// How the entries of an answer differ from the API's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entries {
    /// Each image is a data URL in `b64_json`, whichever way it was asked for.
    DataUrls,
    /// Each has a `b64_json` that is no base64 beside its `url`.
    BrokenBytes,
    /// `null` stands in the place of the first; it is billed.
    NullFirst,
    /// The first says that it was rejected; it is not billed.
    RejectedFirst,
}

/// Where a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Call,
    Download,
}

impl ProviderFault {
    fn stage(&self) -> Stage {
        match self {
            ProviderFault::Status { .. }
            | ProviderFault::ModerationBlocked
            | ProviderFault::InvalidKey
            | ProviderFault::InsufficientQuota
            | ProviderFault::Html { .. }
            | ProviderFault::ResetBeforeBilling
            | ProviderFault::ResetAfterBilling
            | ProviderFault::HangAfterBilling
            | ProviderFault::MalformedJson
            | ProviderFault::HangBeforeBilling
            | ProviderFault::SlowBody { .. }
            | ProviderFault::CutBody
            | ProviderFault::WrongContentType
            | ProviderFault::NotAnImage
            | ProviderFault::Says { .. }
            | ProviderFault::Entries(_)
            | ProviderFault::ShortAnswer { .. } => Stage::Call,
            ProviderFault::DownloadStatus { .. }
            | ProviderFault::DownloadCut
            | ProviderFault::DownloadSlow { .. }
            | ProviderFault::DownloadHang
            | ProviderFault::DownloadWrongType
            | ProviderFault::DownloadNotAnImage
            | ProviderFault::DownloadGif
            | ProviderFault::DownloadWithoutEnd
            | ProviderFault::FlippedBit
            | ProviderFault::Truncated { .. } => Stage::Download,
        }
    }

    /// An answer that is an error of the API, whatever its status says; not billed.
    pub fn says(status: u16, body: impl Into<String>) -> ProviderFault {
        ProviderFault::Says { status, body: body.into(), billed: false }
    }

    /// A job of an asynchronous API, which is done and billed.
    pub fn job() -> ProviderFault {
        let body =
            r#"{"code":200,"data":[{"status":"submitted","task_id":"task_01J9HA7JPQ9A0Z6JZ3V8M9W6PZ"}]}"#;
        ProviderFault::Says { status: 200, body: body.to_owned(), billed: true }
    }

    /// One of each, for whoever wants them all; those of numbers with several. Left out are those that
    /// end a task for good: a job, a web page with 200.
    pub fn examples() -> Vec<ProviderFault> {
        let status = |status, retry_after_s| ProviderFault::Status { status, retry_after_s };
        vec![
            status(429, None),
            status(429, Some(1)),
            status(500, None),
            status(502, None),
            status(503, None),
            status(503, Some(1)),
            ProviderFault::ModerationBlocked,
            ProviderFault::InvalidKey,
            ProviderFault::InsufficientQuota,
            ProviderFault::Html { status: 502 },
            ProviderFault::ResetBeforeBilling,
            ProviderFault::ResetAfterBilling,
            ProviderFault::HangBeforeBilling,
            ProviderFault::HangAfterBilling,
            ProviderFault::MalformedJson,
            ProviderFault::SlowBody { ms: 300 },
            ProviderFault::CutBody,
            ProviderFault::WrongContentType,
            ProviderFault::NotAnImage,
            ProviderFault::says(
                200,
                r#"{"error":{"code":429,"message":"Rate limit exceeded. Try again in 467ms."}}"#,
            ),
            ProviderFault::says(200, r#"{"error":{"code":502,"message":"Provider returned error"}}"#),
            ProviderFault::says(
                400,
                r#"{"error":{"code":"content_filter","message":"The prompt was filtered."}}"#,
            ),
            ProviderFault::Entries(Entries::DataUrls),
            ProviderFault::Entries(Entries::BrokenBytes),
            ProviderFault::Entries(Entries::NullFirst),
            ProviderFault::Entries(Entries::RejectedFirst),
            ProviderFault::ShortAnswer { images: 0 },
            ProviderFault::ShortAnswer { images: 1 },
            ProviderFault::ShortAnswer { images: 7 },
            ProviderFault::DownloadStatus { status: 404 },
            ProviderFault::DownloadStatus { status: 500 },
            ProviderFault::DownloadCut,
            ProviderFault::DownloadSlow { ms: 300 },
            ProviderFault::DownloadHang,
            ProviderFault::DownloadWrongType,
            ProviderFault::DownloadNotAnImage,
            ProviderFault::DownloadGif,
            ProviderFault::DownloadWithoutEnd,
            ProviderFault::FlippedBit,
            ProviderFault::Truncated { keep_bytes: 100 },
        ]
    }
}

/// A fault and when it strikes: always, unless narrowed.
#[derive(Debug, Clone)]
pub struct Rule {
    fault: ProviderFault,
    prompt: Option<String>,
    image: Option<u32>,
    nth: Option<u64>,
    times: Option<u64>,
    chance: Option<f64>,
    until: Option<Instant>,
    /// How many calls or downloads it matched, and how often it struck.
    seen: u64,
    struck: u64,
}

impl Rule {
    /// Strikes at each call (or download), for ever.
    pub fn new(fault: ProviderFault) -> Rule {
        Rule {
            fault,
            prompt: None,
            image: None,
            nth: None,
            times: None,
            chance: None,
            until: None,
            seen: 0,
            struck: 0,
        }
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

    /// Only with this probability; see [`Faults::seed`].
    pub fn chance(mut self, probability: f64) -> Rule {
        self.chance = Some(probability);
        self
    }

    /// Only so long from now.
    pub fn during(mut self, time: Duration) -> Rule {
        self.until = Some(Instant::now() + time);
        self
    }

    /// Does it strike here? Counts.
    fn strikes(&mut self, stage: Stage, prompt: &str, image: Option<u32>, chance: &mut Chance) -> bool {
        let matches = self.fault.stage() == stage
            && self.until.is_none_or(|until| Instant::now() < until)
            && self.prompt.as_ref().is_none_or(|part| prompt.contains(part))
            && (self.image.is_none() || self.image == image);
        if !matches {
            return false;
        }
        self.seen += 1;
        let strikes = self.nth.is_none_or(|n| self.seen >= n)
            && self.times.is_none_or(|times| self.struck < times)
            && self.chance.is_none_or(|probability| chance.happens(probability));
        self.struck += u64::from(strikes);
        strikes
    }
}

/// The rules in force. They are asked in the order they were added; the first that strikes is what happens.
#[derive(Debug)]
pub struct Faults(Mutex<Rules>);

#[derive(Debug)]
struct Rules {
    rules: Vec<Rule>,
    chance: Chance,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults(Mutex::new(Rules { rules: Vec::new(), chance: Chance::new(0) }))
    }
}

impl Faults {
    /// One more rule, after those before.
    pub fn add(&self, rule: Rule) {
        self.lock().rules.push(rule);
    }

    /// One more rule, before all others.
    pub fn add_first(&self, rule: Rule) {
        self.lock().rules.insert(0, rule);
    }

    /// What decides where a rule strikes by chance.
    pub fn seed(&self, seed: u64) {
        self.lock().chance = Chance::new(seed);
    }

    /// Nothing goes wrong any more.
    pub fn clear(&self) {
        self.lock().rules.clear();
    }

    /// What goes wrong with a call, if anything.
    pub(crate) fn for_call(&self, prompt: &str) -> Option<ProviderFault> {
        self.first(Stage::Call, prompt, None)
    }

    /// What goes wrong with a download, if anything.
    pub(crate) fn for_download(&self, prompt: &str, image: u32) -> Option<ProviderFault> {
        self.first(Stage::Download, prompt, Some(image))
    }

    fn first(&self, stage: Stage, prompt: &str, image: Option<u32>) -> Option<ProviderFault> {
        let Rules { rules, chance } = &mut *self.lock();
        rules
            .iter_mut()
            .find_map(|rule| rule.strikes(stage, prompt, image, chance).then(|| rule.fault.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Rules> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: ProviderFault = ProviderFault::Status { status: 503, retry_after_s: None };

    #[test]
    fn the_first_rule_that_strikes_wins_until_it_is_used_up() {
        let faults = Faults::default();
        faults.add(Rule::new(ProviderFault::ModerationBlocked).prompt("bad").times(1));
        faults.add(Rule::new(BUSY));

        let struck: Vec<_> = ["bad", "bad", "good"].map(|prompt| faults.for_call(prompt)).into();

        assert_eq!(struck, [Some(ProviderFault::ModerationBlocked), Some(BUSY), Some(BUSY)]);
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
        faults.add(Rule::new(ProviderFault::Truncated { keep_bytes: 10 }).image(1));

        assert_eq!(faults.for_call("x"), None);
        assert_eq!(faults.for_download("x", 0), None);
        assert_eq!(faults.for_download("x", 1), Some(ProviderFault::Truncated { keep_bytes: 10 }));
    }
}
