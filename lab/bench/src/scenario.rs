//! The loads, as data: who starts which task when. In provider time.

mod shuffle;

use std::fmt;

use sandbox::Chance;

use shuffle::shuffle;

/// A load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scenario {
    /// Ten users start a Pro task at once.
    S1,
    /// Five Pro tasks a minute for an hour, evenly: one every 12 s.
    S2,
    /// Twenty users start a task every 30 s, ten times: 30 % Free, 40 % Start, 30 % Pro; one task every 1.5 s, in each round in
    /// another order.
    S3(Users),
    /// The same twenty users once, all at once.
    S3AtOnce,
    /// One task of a plan alone.
    Single {
        /// Its plan.
        plan: String,
    },
    /// So many tasks of a plan at once by one user; two calls later ten others come with one each.
    Flood {
        /// How many the one user has.
        tasks: u32,
        /// The plan of all.
        plan: String,
    },
    /// More tasks of one plan than there is capacity for, each of a new user, for ten minutes; and a task of each other plan every minute.
    Crowd {
        /// The plan that comes in a crowd.
        plan: String,
        /// The time between two of its tasks.
        every_ms: u64,
        /// The others.
        others: Vec<String>,
    },
    /// So many Pro tasks at once, while the provider changes what it allows, without saying so.
    Adapt {
        /// How many.
        tasks: u32,
    },
    /// So many tasks of a plan at once.
    Queue {
        /// How many.
        tasks: u32,
        /// Their plan.
        plan: String,
    },
}

/// Who the users of [`Scenario::S3`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Users {
    /// The same twenty in each round, each with a plan of their own.
    #[default]
    Same,
    /// Each task is another user's: each waits in its plan's lane.
    New,
    /// All tasks are one user's: all but the first few wait in the user's own lane, whatever their plan.
    One,
}

/// One task's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// When, from the load's beginning.
    pub at_ms: u64,
    /// The plan.
    pub plan: String,
    /// The user, from 0.
    pub user: u32,
    /// Whom the report counts it with: its plan, as a rule.
    pub group: String,
}

impl Arrival {
    fn new(at_ms: u64, plan: &str, user: u32) -> Self {
        Self { at_ms, plan: plan.to_owned(), user, group: plan.to_owned() }
    }
}

const MINUTE_MS: u64 = 60_000;
const S3_ROUND_MS: u64 = 30_000;
const S3_ROUNDS: u32 = 10;
const FLOODED_MS: u64 = 16_000;
const CROWD_LASTS_MS: u64 = 10 * MINUTE_MS;
/// Of the twenty users of S3.
const MIX: [(&str, u32); 3] = [("free", 6), ("start", 8), ("pro", 6)];

impl Scenario {
    /// All starts, by time. The seed decides the order within S3's rounds, and nothing else.
    pub fn arrivals(&self, seed: u64) -> Vec<Arrival> {
        let at_once = |tasks: u32, plan: &str| (0..tasks).map(|user| Arrival::new(0, plan, user)).collect();
        match self {
            Scenario::S1 => at_once(10, "pro"),
            Scenario::S2 => {
                (0..300).map(|task| Arrival::new(u64::from(task) * MINUTE_MS / 5, "pro", task)).collect()
            }
            Scenario::S3(users) => mixed(S3_ROUNDS, S3_ROUND_MS / 20, *users, seed),
            Scenario::S3AtOnce => mixed(1, 0, Users::Same, seed),
            Scenario::Single { plan } => at_once(1, plan),
            Scenario::Flood { tasks, plan } => {
                let flood =
                    (0..*tasks).map(|_| Arrival { group: "flood".into(), ..Arrival::new(0, plan, 0) });
                let others = (1..=10)
                    .map(|user| Arrival { group: "others".into(), ..Arrival::new(FLOODED_MS, plan, user) });
                flood.chain(others).collect()
            }
            Scenario::Crowd { plan, every_ms, others } => crowd(plan, (*every_ms).max(1), others),
            Scenario::Adapt { tasks } => at_once(*tasks, "pro"),
            Scenario::Queue { tasks, plan } => at_once(*tasks, plan),
        }
    }
}

/// A plan's tasks without an end, and those of the others among them; nobody comes twice.
fn crowd(plan: &str, every_ms: u64, others: &[String]) -> Vec<Arrival> {
    let crowd = (0..CROWD_LASTS_MS).step_by(every_ms as usize).map(|at_ms| (at_ms, plan));
    let guests = (MINUTE_MS / 2..CROWD_LASTS_MS).step_by(MINUTE_MS as usize);
    let guests = guests.flat_map(|at_ms| others.iter().map(move |other| (at_ms, other.as_str())));
    let mut arrivals: Vec<(u64, &str)> = crowd.chain(guests).collect();
    arrivals.sort_by_key(|(at_ms, _)| *at_ms);
    (0..).zip(arrivals).map(|(user, (at_ms, plan))| Arrival::new(at_ms, plan, user)).collect()
}

/// Rounds of the twenty users, each shuffled; a task every `gap_ms`.
fn mixed(rounds: u32, gap_ms: u64, users: Users, seed: u64) -> Vec<Arrival> {
    let plans: Vec<&str> = MIX.iter().flat_map(|(plan, count)| (0..*count).map(|_| *plan)).collect();
    let mut chance = Chance::new(seed);
    let mut arrivals = Vec::new();
    for _ in 0..rounds {
        let mut round: Vec<(u32, &str)> = (0..).zip(plans.iter().copied()).collect();
        shuffle(&mut chance, &mut round);
        for (user, plan) in round {
            let number = arrivals.len() as u32;
            let user = match users {
                Users::Same => user,
                Users::New => number,
                Users::One => 0,
            };
            arrivals.push(Arrival::new(u64::from(number) * gap_ms, plan, user));
        }
    }
    arrivals
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scenario::S1 => write!(f, "s1: 10 Pro tasks at once"),
            Scenario::S2 => write!(f, "s2: 5 Pro tasks a minute for an hour"),
            Scenario::S3(users) => {
                let users = match users {
                    Users::Same => "20 users, the same in each round",
                    Users::New => "20 users, new ones in each round",
                    Users::One => "as one user",
                };
                write!(f, "s3: 10 rounds of 6 Free, 8 Start and 6 Pro tasks, one every 1.5 s; {users}")
            }
            Scenario::S3AtOnce => write!(f, "s3-at-once: 6 Free, 8 Start and 6 Pro tasks at once"),
            Scenario::Single { plan } => write!(f, "single: one {plan} task alone"),
            Scenario::Flood { tasks, plan } => {
                write!(
                    f,
                    "flood: {tasks} {plan} tasks of one user at once, and one each of ten others 16 s later"
                )
            }
            Scenario::Crowd { plan, every_ms, others } => {
                let (every_s, others) = (*every_ms as f64 / 1e3, others.join(" and "));
                write!(
                    f,
                    "crowd: a {plan} task every {every_s:.2} s for ten minutes, and one of {others} every minute"
                )
            }
            Scenario::Adapt { tasks } => {
                write!(f, "adapt: {tasks} Pro tasks at once, while the provider changes what it allows")
            }
            Scenario::Queue { tasks, plan } => write!(f, "queue: {tasks} {plan} tasks at once"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Limits, PlanLane, Task, makespan_ms, schedule};
    use crate::statistics::percentile;

    fn limits() -> Limits {
        Limits { calls: 12, transfers: 20, batch_size: 5, call_ms: 8_000, download_ms: 2_000 }
    }

    fn tasks(arrivals: &[Arrival]) -> Vec<Task> {
        let task = |arrival: &Arrival| {
            let (images, lane) = match arrival.plan.as_str() {
                "free" => (2, PlanLane::new(1, 40.0, 3)),
                "start" => (30, PlanLane::new(2, 10.0, 1)),
                _ => (70, PlanLane::new(3, 5.0, 1)),
            };
            Task { at_ms: arrival.at_ms, images, lane, user: arrival.user }
        };
        arrivals.iter().map(task).collect()
    }

    fn count(arrivals: &[Arrival], plan: &str) -> usize {
        arrivals.iter().filter(|arrival| arrival.plan == plan).count()
    }

    #[test]
    fn s2_ends_3614_s_after_it_began_at_the_earliest_and_3618_s_when_scheduled() {
        let arrivals = Scenario::S2.arrivals(0);
        assert_eq!((arrivals.len(), arrivals.last().unwrap().at_ms), (300, 3_588_000));
        assert_eq!(makespan_ms(&tasks(&arrivals), &limits(), None), 3_614_000);
        assert_eq!(schedule(&tasks(&arrivals), &limits(), None).makespan_ms(), 3_618_000);
    }

    /// The 95th percentile of the latencies of a plan, or of all, in the schedule.
    fn p95_s(users: Users, plan: &str) -> f64 {
        let arrivals = Scenario::S3(users).arrivals(0);
        let ran = schedule(&tasks(&arrivals), &limits(), None);
        let of_plan =
            arrivals.iter().zip(&ran.tasks).filter(|(arrival, _)| plan == "all" || arrival.plan == plan);
        let latencies: Vec<f64> =
            of_plan.map(|(arrival, task)| (task.finished_ms - arrival.at_ms) as f64 / 1000.0).collect();
        percentile(&latencies, 0.95).unwrap()
    }

    #[test]
    fn s3_is_1063_s_of_work_and_1066_s_at_the_earliest() {
        let arrivals = Scenario::S3(Users::Same).arrivals(0);
        let plans = [count(&arrivals, "free"), count(&arrivals, "start"), count(&arrivals, "pro")];
        assert_eq!((plans, arrivals[199].at_ms), ([60, 80, 60], 298_500));
        // 60 × 2 + 80 × 7 + 60 × 15 calls with all lines busy, and one call and one download more.
        let calls: u32 = 60 * 2 + 80 * 7 + 60 * 15;
        assert_eq!((f64::from(calls) * 8.0 / 12.0 + 8.0 + 2.0).floor(), 1063.0);
        // The bound knows besides how many lines are free while the first tasks are retouched.
        let tasks = tasks(&arrivals);
        assert_eq!(makespan_ms(&tasks, &limits(), None), 1_066_000);
        assert_eq!(schedule(&tasks, &limits(), None).makespan_ms(), 1_066_000);
    }

    #[test]
    fn free_tasks_are_done_first_in_s3_and_nobody_waits_longer_than_the_last_in_the_order_of_arrival() {
        for users in [Users::Same, Users::New] {
            let [free, start, pro, all] = ["free", "start", "pro", "all"].map(|plan| p95_s(users, plan));
            assert!(free <= 25.0 && free < start && start < pro, "{users:?}: {free} {start} {pro}");
            assert!(all <= 760.0, "{users:?}: {all}");
        }
    }

    #[test]
    fn in_a_crowd_of_any_plan_the_others_are_done_within_ten_minutes() {
        let all = ["free", "start", "pro"];
        for (plan, every_ms) in [("free", 1_111), ("start", 3_889), ("pro", 8_333)] {
            let others: Vec<String> =
                all.iter().filter(|other| **other != plan).map(|&name| name.into()).collect();
            let arrivals = Scenario::Crowd { plan: plan.into(), every_ms, others }.arrivals(0);
            let ran = schedule(&tasks(&arrivals), &limits(), None);
            let guests = arrivals.iter().zip(&ran.tasks).filter(|(arrival, _)| arrival.plan != plan);
            let longest = guests.map(|(arrival, task)| task.finished_ms - arrival.at_ms).max();
            assert!(longest.unwrap() <= 600_000, "{plan}: {longest:?}");
        }
    }

    #[test]
    fn the_twenty_users_of_s3_at_once_are_less_than_two_minutes() {
        let tasks = tasks(&Scenario::S3AtOnce.arrivals(1));
        assert_eq!(tasks.len(), 20);
        assert_eq!(makespan_ms(&tasks, &limits(), None), 114_000);
    }

    #[test]
    fn the_seed_alone_decides_the_order() {
        let s3 = |seed| Scenario::S3(Users::Same).arrivals(seed);
        assert_eq!(s3(1), s3(1));
        assert_ne!(s3(1), s3(2));
        let mut users: Vec<u32> = s3(1)[..20].iter().map(|arrival| arrival.user).collect();
        users.sort_unstable();
        assert_eq!(users, (0..20).collect::<Vec<_>>());
    }
}
