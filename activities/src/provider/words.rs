//! Decides by an error's words what kind of failure it means. The words are settings, because
//! providers differ and change them without notice.

use serde::Deserialize;

/// Section `[provider.words]` of the configuration. The file of defaults has the default words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// Words that are compared as a whole, ignoring case, with the codes, types, reasons and
    /// statuses of an error. The status that decides (`verdict.rs`) is one of them.
    pub codes: Kinds,
    /// Words that are looked for in an error's message, ignoring case. A message decides if no code
    /// does, and outweighs a code of the kind `unavailable`.
    pub messages: Kinds,
}

/// Words by the kind of failure that they mean, in their order of precedence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kinds {
    /// Words for a refused account: key, credit, spending limit or model.
    pub account_refused: Vec<String>,
    /// Words for moderation that rejected the prompt or its images.
    pub rejected: Vec<String>,
    /// Words for too many calls.
    pub throttled: Vec<String>,
    /// Words for a provider with too much to do. `provider.overloaded` decides whether such a
    /// failure counts as throttled or as unavailable.
    pub overloaded: Vec<String>,
    /// Words for a provider that failed and billed nothing. A 429 and a gateway's timeout outweigh
    /// these words.
    pub unavailable: Vec<String>,
}

/// Kind of failure that a provider with too much to do counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overloaded {
    /// We make too many calls, so the limit is cut.
    Throttled,
    /// The provider fails for every caller, so the limit stays.
    Unavailable,
}

/// Kind of failure that a word means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rejected,
    AccountRefused,
    Throttled,
    Unavailable,
}

impl Words {
    /// Adds the words of `changes`. A word that begins with `-` is removed instead.
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

    /// Moves the words for overload to the kind that overload means at this provider.
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

    /// Returns every list with its key below `provider.words`.
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

    /// Returns the meaning of these codes, else of this message.
    pub(super) fn kind(&self, codes: &[String], message: &str) -> Option<Kind> {
        let coded = |word: &String| codes.iter().any(|code| code.eq_ignore_ascii_case(word));
        let message = message.to_lowercase();
        let said = |word: &String| message.contains(&word.to_lowercase());
        match self.codes.kind(coded) {
            // Gateways give every failure behind them such a code, and the message says more.
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
            // `with_overloaded_as` has moved the words of `overloaded` to one of these lists.
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
