//! The loads: who submits which task when, in provider seconds.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What one plan asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// 2 images.
    Free,
    /// 30 images.
    Start,
    /// 70 images.
    Pro,
}

impl Plan {
    /// Images of a task.
    pub fn images(self) -> u32 {
        match self {
            Plan::Free => 2,
            Plan::Start => 30,
            Plan::Pro => 70,
        }
    }

    /// As the configuration calls it.
    pub fn name(self) -> &'static str {
        match self {
            Plan::Free => "free",
            Plan::Start => "start",
            Plan::Pro => "pro",
        }
    }
}

/// A task to be submitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// When, in provider seconds from the beginning.
    pub at_s: f64,
    /// Whose.
    pub user: u32,
    /// Of which plan.
    pub plan: Plan,
}

/// A load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Ten users submit a Pro task at once.
    S1,
    /// Five Pro tasks a minute for an hour, each by another user.
    S2,
    /// Twenty users submit a task every 30 s, ten times each: 30 % Free, 40 % Start, 30 % Pro.
    S3,
    /// One task alone.
    Single(Plan),
    /// So many Pro tasks at once, by as many users.
    Queue(u32),
}

impl Scenario {
    /// Its tasks, by time.
    pub fn arrivals(self) -> Vec<Arrival> {
        let at_once = |users: u32, plan| (0..users).map(|user| Arrival { at_s: 0.0, user, plan }).collect();
        match self {
            Scenario::S1 => at_once(10, Plan::Pro),
            Scenario::Queue(tasks) => at_once(tasks, Plan::Pro),
            Scenario::Single(plan) => at_once(1, plan),
            Scenario::S2 => {
                let task = |user| Arrival { at_s: 12.0 * f64::from(user), user, plan: Plan::Pro };
                (0..300).map(task).collect()
            }
            Scenario::S3 => {
                // Mixed in each round and over each user: 6 Free, 8 Start and 6 Pro of any twenty in a row.
                let plans = [
                    Plan::Free,
                    Plan::Start,
                    Plan::Pro,
                    Plan::Start,
                    Plan::Free,
                    Plan::Pro,
                    Plan::Start,
                    Plan::Free,
                    Plan::Start,
                    Plan::Pro,
                ];
                let task = |number: u32| {
                    let (round, user) = (number / 20, number % 20);
                    let plan = plans[((user * 7 + round * 3) % 10) as usize];
                    Arrival { at_s: 30.0 * f64::from(round) + 1.5 * f64::from(user), user, plan }
                };
                (0..200).map(task).collect()
            }
        }
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Scenario, String> {
        let known = "use s1, s2, s3, single-free, single-start, single-pro, or queue-N such as queue-100";
        Ok(match text {
            "s1" => Scenario::S1,
            "s2" => Scenario::S2,
            "s3" => Scenario::S3,
            "single-free" => Scenario::Single(Plan::Free),
            "single-start" => Scenario::Single(Plan::Start),
            "single-pro" => Scenario::Single(Plan::Pro),
            _ => {
                let tasks = text.strip_prefix("queue-").and_then(|number| number.parse().ok());
                let tasks = tasks.filter(|tasks| (1..=10_000).contains(tasks));
                Scenario::Queue(tasks.ok_or_else(|| format!("no load is called `{text}`: {known}"))?)
            }
        })
    }
}

impl Display for Scenario {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Scenario::S1 => f.write_str("s1"),
            Scenario::S2 => f.write_str("s2"),
            Scenario::S3 => f.write_str("s3"),
            Scenario::Single(plan) => write!(f, "single-{}", plan.name()),
            Scenario::Queue(tasks) => write!(f, "queue-{tasks}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_is_mixed_as_the_mission_says() {
        let arrivals = Scenario::S3.arrivals();
        let of = |plan| arrivals.iter().filter(|arrival| arrival.plan == plan).count();
        assert_eq!((of(Plan::Free), of(Plan::Start), of(Plan::Pro)), (60, 80, 60));
        assert!(arrivals.is_sorted_by_key(|arrival| (arrival.at_s * 1000.0) as u64));
        assert_eq!(arrivals.last().map(|arrival| arrival.at_s), Some(298.5));
    }

    #[test]
    fn names_go_both_ways() {
        for name in ["s1", "s2", "s3", "single-free", "single-start", "single-pro", "queue-100"] {
            assert_eq!(name.parse::<Scenario>().map(|scenario| scenario.to_string()), Ok(name.to_owned()));
        }
        for name in ["", "s4", "queue-0", "queue-x", "single"] {
            assert!(name.parse::<Scenario>().is_err(), "{name}");
        }
    }
}
