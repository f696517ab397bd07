//! The words that decide what a refusal means. They are settings, since providers differ and change
//! them without notice.

use serde::Deserialize;

/// Section `[provider.words]`: the defaults stand in the configuration's file of defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// Compared with an error's codes, types, reasons and statuses, HTTP's among them: as a whole, in
    /// upper or lower case.
    pub codes: Kinds,
    /// Looked for in an error's message, in upper or lower case. Asked where no code decides, or one
    /// of `unavailable`.
    pub messages: Kinds,
}

/// Words by the kind of failure that they mean, in their order of precedence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kinds {
    /// The account is refused: key, credit, spending limit, model.
    pub account_refused: Vec<String>,
    /// Moderation rejected the prompt, or what came of it.
    pub rejected: Vec<String>,
    /// Too many calls.
    pub throttled: Vec<String>,
    /// The provider has more to do than it can: `provider.overloaded` says whether that is a limit's
    /// word or an outage's.
    pub overloaded: Vec<String>,
    /// The provider failed; nothing was billed. Decides only where the status is neither a 429 nor a
    /// gateway's timeout.
    pub unavailable: Vec<String>,
}

/// What it means that a provider has more to do than it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overloaded {
    /// We call it too much: the limit is cut.
    Throttled,
    /// It fails, whoever calls.
    Unavailable,
}

/// The meaning of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rejected,
    AccountRefused,
    Throttled,
    Unavailable,
}

impl Words {
    /// These words and those of `changes`. A word there that begins with `-` is taken away instead.
    pub fn amended_by(mut self, changes: Words) -> Words {
        for (words, changes) in
            self.codes.lists_mut().into_iter().chain(self.messages.lists_mut()).zip(changes.into_lists())
        {
            for word in changes {
                match word.strip_prefix('-') {
                    Some(word) => words.retain(|other| !other.eq_ignore_ascii_case(word)),
                    None if words.contains(&word) => {}
                    None => words.push(word),
                }
            }
        }
        self
    }

    /// These words, where overload is taken for that.
    pub(super) fn with_overloaded_as(mut self, overloaded: Overloaded) -> Words {
        for kinds in [&mut self.codes, &mut self.messages] {
            let words = std::mem::take(&mut kinds.overloaded);
            match overloaded {
                Overloaded::Throttled => kinds.throttled.extend(words),
                Overloaded::Unavailable => kinds.unavailable.extend(words),
            }
        }
        self
    }

    /// Every list, with its key below `provider.words`.
    pub fn lists(&self) -> [(&'static str, &[String]); 10] {
        let Words { codes, messages } = self;
        [
            ("codes.rejected", &codes.rejected),
            ("codes.account_refused", &codes.account_refused),
            ("codes.throttled", &codes.throttled),
            ("codes.overloaded", &codes.overloaded),
            ("codes.unavailable", &codes.unavailable),
            ("messages.rejected", &messages.rejected),
            ("messages.account_refused", &messages.account_refused),
            ("messages.throttled", &messages.throttled),
            ("messages.overloaded", &messages.overloaded),
            ("messages.unavailable", &messages.unavailable),
        ]
    }

    /// The meaning of these codes, else of this message.
    pub(super) fn kind(&self, codes: &[String], message: &str) -> Option<Kind> {
        let coded = |word: &String| codes.iter().any(|code| code.eq_ignore_ascii_case(word));
        let message = message.to_lowercase();
        let said = |word: &String| message.contains(&word.to_lowercase());
        match self.codes.kind(coded) {
            // Gateways call every failure of what is behind them so; its message says more.
            by_code @ (None | Some(Kind::Unavailable)) => self.messages.kind(said).or(by_code),
            by_code => by_code,
        }
    }

    fn into_lists(self) -> impl Iterator<Item = Vec<String>> {
        let list = |kinds: Kinds| {
            [kinds.rejected, kinds.account_refused, kinds.throttled, kinds.overloaded, kinds.unavailable]
        };
        list(self.codes).into_iter().chain(list(self.messages))
    }
}

impl Kinds {
    fn kind(&self, is_said: impl Fn(&String) -> bool) -> Option<Kind> {
        let lists = [
            (&self.account_refused, Kind::AccountRefused),
            (&self.rejected, Kind::Rejected),
            (&self.throttled, Kind::Throttled),
            // `overloaded` is one of these by now.
            (&self.unavailable, Kind::Unavailable),
        ];
        lists.into_iter().find(|(words, _)| words.iter().any(&is_said)).map(|(_, kind)| kind)
    }

    fn lists_mut(&mut self) -> [&mut Vec<String>; 5] {
        [
            &mut self.rejected,
            &mut self.account_refused,
            &mut self.throttled,
            &mut self.overloaded,
            &mut self.unavailable,
        ]
    }
}
