//! What there is besides the database: workers, the provider, Temporal's queue, people; and what must hold of it all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use paid_calls::lease::{self, Grant, Holder, Renewal};
use paid_calls::ledger::{self, Admission, Intent};
use paid_calls::share::{LeaseStamp, Share};
use paid_calls::{Call, Failed, Outcome};
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use workflows::keys::CallName;
use workflows::types::GenerateOutput;

use crate::steps::{CallEnd, Case, Ending, LONGEST_CALL_MS, Step, WORKERS};

const KEY: &str = "key";
/// Slots of each.
const MOST: u32 = 4;
/// How long the provider may take, as the product is told.
const TIMEOUT: Duration = Duration::from_secs(90);
/// How long work may wait while nothing goes wrong any more: an orphan's 15 s, a lease's 3 s, the provider's wait of 5 s, and some.
const LONGEST_WAIT_MS: u64 = 30_000;
/// Calls of one name that may have been billed without a result; few, so that the count is reached.
const MAX_BILLED_FAILURES: u32 = 2;
/// Polls of a worker without work.
const IDLE_POLLS: u32 = 2;
/// As in the product.
const SENT_WITHIN_MS: u64 = 1_000;
/// What everything may take once nothing goes wrong any more.
const ROUNDS: usize = 600;

/// The tables as a replica has them, and where the sequences are.
pub(crate) const REPLICA: &str = "
    CREATE TABLE calls_replica (LIKE calls);
    CREATE TABLE leases_replica (LIKE leases);
    CREATE TABLE keys_replica (LIKE provider_keys);";
const REPLICATE: &str = "
    TRUNCATE calls_replica, leases_replica, keys_replica;
    INSERT INTO calls_replica SELECT * FROM calls;
    INSERT INTO leases_replica SELECT * FROM leases;
    INSERT INTO keys_replica SELECT * FROM provider_keys;";
/// Limits that people set are kept, for the model knows them: a failover would take them back too.
const FAIL_OVER: &str = "
    DELETE FROM calls; INSERT INTO calls OVERRIDING SYSTEM VALUE SELECT * FROM calls_replica;
    DELETE FROM leases; INSERT INTO leases OVERRIDING SYSTEM VALUE SELECT * FROM leases_replica;
    SELECT setval(pg_get_serial_sequence('calls', 'call_id'), (SELECT coalesce(max(call_id), 0) + 1 FROM calls), false),
           setval(pg_get_serial_sequence('leases', 'lease_id'), (SELECT coalesce(max(lease_id), 0) + 1 FROM leases), false);
    UPDATE provider_keys key SET throttled_until = was.throttled_until, failing = was.failing, failing_at = was.failing_at
      FROM keys_replica was;";

/// An attempt at a call, in a worker's slot.
struct Attempt {
    name: usize,
    /// Which of the requests under that name.
    request: u32,
    token: String,
    stage: Stage,
    /// Changes of the limit before it was allowed.
    after_changes: i64,
}

enum Stage {
    Slot,
    Asking {
        stamp: LeaseStamp,
        asked_ms: u64,
    },
    /// The database has decided; the worker has not heard yet.
    Decided {
        stamp: LeaseStamp,
        asked_ms: u64,
        admission: Admission,
    },
    /// At the provider.
    Sent {
        stamp: LeaseStamp,
        fate: CallEnd,
        ends_ms: u64,
    },
    Ending {
        stamp: LeaseStamp,
        outcome: Outcome,
    },
}

enum Renewing {
    Sent(Renewal, Instant),
    Executed(Grant, Instant),
}

struct Worker {
    share: Share,
    holder: Holder,
    renewing: Option<Renewing>,
    /// Its lease, and when the database last renewed it.
    lease: Option<(i64, u64)>,
    attempts: Vec<Attempt>,
    paused: bool,
    /// What its clock is ahead.
    ahead_ms: u64,
    /// It can't reach Temporal.
    cut_off: bool,
    /// It polls where there is never any work; so many polls wait for some.
    idle_polls: Option<u32>,
}

/// A call at the provider.
struct Running {
    ends_ms: u64,
}

pub(crate) struct World<'a> {
    db: &'a DatabaseConnection,
    epoch: Instant,
    now_ms: u64,
    workers: Vec<Worker>,
    started: u32,
    tokens: u32,
    queue: VecDeque<usize>,
    done: Vec<bool>,
    /// By token.
    provider: BTreeMap<String, Running>,
    billed: BTreeMap<usize, Vec<String>>,
    /// Billed calls whose result is on record.
    with_result: BTreeSet<String>,
    /// Calls whose end was recorded.
    ended: BTreeSet<String>,
    /// Calls whose rows a failover took: which, and of which name.
    vanished: BTreeMap<String, usize>,
    /// What each name asks for now.
    request: Vec<u32>,
    /// How often each name was allowed.
    allowances: Vec<u32>,
    /// Until then calls that were forgotten by a failover may run, and waits that were forgotten may last.
    forgotten_until_ms: u64,
    /// When calls were sent.
    sends_ms: Vec<u64>,
    /// How often people set the limit.
    limits_set: i64,
    rate: Option<u32>,
    rate_since_ms: u64,
    /// Calls that were allowed and not sent yet: when.
    allowed: BTreeMap<String, u64>,
    late: Vec<(usize, Holder, Renewal)>,
    throttled_until_ms: u64,
    /// Until when each call is not to be made.
    later_ms: Vec<u64>,
    paused: bool,
}

impl<'a> World<'a> {
    pub(crate) async fn new(db: &'a DatabaseConnection, names: usize) -> Self {
        let fresh = format!(
            "TRUNCATE calls, leases, limit_changes, provider_keys, tasks, calls_replica, leases_replica, keys_replica RESTART IDENTITY CASCADE;
             UPDATE model_clock SET now_at = '2000-01-01';
             INSERT INTO tasks (task_id, user_id, plan, input, images_planned) VALUES ('task', 'user', 'pro', '{{}}', 5);
             SELECT set_limits('{KEY}', '{{\"ceiling\": 3}}')"
        );
        db.execute_unprepared(&fresh).await.unwrap();
        let mut world = Self {
            db,
            epoch: Instant::now(),
            now_ms: 0,
            workers: Vec::new(),
            started: 0,
            tokens: 0,
            queue: (0..names).collect(),
            done: vec![false; names],
            provider: BTreeMap::new(),
            billed: BTreeMap::new(),
            with_result: BTreeSet::new(),
            ended: BTreeSet::new(),
            vanished: BTreeMap::new(),
            request: vec![0; names],
            allowances: vec![0; names],
            forgotten_until_ms: 0,
            sends_ms: Vec::new(),
            limits_set: 0,
            rate: None,
            rate_since_ms: 0,
            allowed: BTreeMap::new(),
            late: Vec::new(),
            throttled_until_ms: 0,
            later_ms: vec![0; names],
            paused: false,
        };
        for _ in 0..WORKERS {
            let worker = world.worker();
            world.workers.push(worker);
        }
        world.sql(REPLICATE).await;
        world
    }

    pub(crate) async fn run(&mut self, case: &Case) -> Result<(), String> {
        for step in &case.steps {
            self.step(step).await?;
        }
        self.drain(&case.end).await?;
        self.is_the_bill().await
    }

    fn worker(&mut self) -> Worker {
        self.started += 1;
        let holder = Holder {
            provider_key: KEY.into(),
            worker: format!("w{}", self.started),
            host: "host".into(),
            pid: self.started,
            max_calls: MOST,
        };
        let share = Share::new(MOST, self.epoch);
        Worker {
            share,
            holder,
            renewing: None,
            lease: None,
            attempts: Vec::new(),
            paused: false,
            ahead_ms: 0,
            cut_off: false,
            idle_polls: None,
        }
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match *step {
            Step::Advance(ms) => self.advance(ms).await,
            Step::Round(fate) => return self.round(fate).await,
            Step::Poll(worker) => self.poll(worker),
            Step::Next(worker, call, fate) => return self.next(worker, call, fate).await,
            Step::Renew(worker) => return self.renew(worker).await,
            Step::LoseRenewal(worker) => {
                if let Some(Renewing::Sent(renewal, _)) = self.workers[worker].renewing.take() {
                    self.late.push((worker, self.workers[worker].holder.clone(), renewal));
                }
            }
            Step::LateRenewal(which) => {
                if !self.late.is_empty() {
                    let (_, holder, renewal) = self.late.remove(which % self.late.len());
                    lease::grant(self.db, &holder, &renewal, paid_calls::TTL)
                        .await
                        .map_err(|e| e.to_string())?;
                }
            }
            Step::Pause(worker) => self.workers[worker].paused = true,
            Step::Wake(worker) => self.workers[worker].paused = false,
            Step::Die(worker) => {
                let fresh = self.worker();
                let dead = std::mem::replace(&mut self.workers[worker], fresh);
                for attempt in dead.attempts {
                    if let Stage::Decided { admission: Admission::Go, .. } = attempt.stage {
                        self.allowed.remove(&attempt.token);
                    }
                    self.queue.push_back(attempt.name);
                }
            }
            Step::Jump(worker, ms) => self.workers[worker].ahead_ms += ms,
            Step::Retry(which) => {
                let attempts: Vec<usize> = self
                    .workers
                    .iter()
                    .flat_map(|worker| &worker.attempts)
                    .map(|attempt| attempt.name)
                    .collect();
                if !attempts.is_empty() && self.queue.len() < self.done.len() * 2 {
                    self.queue.push_back(attempts[which % attempts.len()]);
                }
            }
            Step::SetLimit(limit) => {
                self.set(&serde_json::json!({ "ceiling": limit })).await;
                self.limits_set += 1;
            }
            Step::SetRate(rate) => {
                self.set(&serde_json::json!({ "calls_per_minute": rate })).await;
                self.rate = rate;
                self.rate_since_ms = self.now_ms;
            }
            Step::PauseKey(paused) => {
                self.set(&serde_json::json!({ "paused": paused })).await;
                self.paused = paused;
            }
            Step::Reach(worker, can) => self.reach(worker, can),
            Step::AskOtherwise(name) => {
                let name = name % self.done.len();
                self.request[name] = 1 - self.request[name];
                self.done[name] = false;
                self.queue.push_back(name);
            }
            Step::Replicate => self.sql(REPLICATE).await,
            Step::FailOver => self.fail_over().await,
        }
        Ok(())
    }

    /// Everything since the last `Replicate` is gone, and the sequences are where they were then.
    async fn fail_over(&mut self) {
        let before = self.tokens_on_record().await;
        self.sql(FAIL_OVER).await;
        let after = self.tokens_on_record().await;
        self.vanished.extend(before.into_iter().filter(|(token, _)| !after.contains_key(token)));
        self.ended.retain(|token| !self.vanished.contains_key(token));
        self.forgotten_until_ms = self.now_ms + LONGEST_CALL_MS + 61_000;
        let statement =
            Statement::from_string(self.db.get_database_backend(), "SELECT worker, lease_id FROM leases");
        let rows = self.db.query_all_raw(statement).await.unwrap();
        let known: Vec<(String, i64)> = rows
            .iter()
            .map(|row| (row.try_get("", "worker").unwrap(), row.try_get("", "lease_id").unwrap()))
            .collect();
        for worker in &mut self.workers {
            worker.lease =
                worker.lease.filter(|(id, _)| known.contains(&(worker.holder.worker.clone(), *id)));
        }
    }

    async fn tokens_on_record(&self) -> BTreeMap<String, usize> {
        let statement =
            Statement::from_string(self.db.get_database_backend(), "SELECT token, name FROM calls");
        let rows = self.db.query_all_raw(statement).await.unwrap();
        let row = |row: &sea_orm::QueryResult| {
            let name: String = row.try_get("", "name").unwrap();
            (row.try_get("", "token").unwrap(), name.parse().unwrap())
        };
        rows.iter().map(row).collect()
    }

    /// The lease that a worker has just been granted is no other worker's.
    fn each_has_its_own_lease(&self, index: usize) -> Result<(), String> {
        let lease = |worker: &Worker| worker.lease.map(|(lease_id, _)| lease_id);
        let own = lease(&self.workers[index]);
        let same = (0..WORKERS).find(|other| *other != index && lease(&self.workers[*other]) == own);
        same.map_or(Ok(()), |other| Err(format!("I5: workers {index} and {other} hold one lease")))
    }

    async fn set(&self, change: &serde_json::Value) {
        self.sql(&format!("SELECT set_limits('{KEY}', '{change}')")).await;
    }

    async fn sql(&self, statement: &str) {
        self.db.execute_unprepared(statement).await.unwrap();
    }

    async fn advance(&mut self, ms: u64) {
        self.now_ms += ms;
        self.sql(&format!(
            "UPDATE model_clock SET now_at = '2000-01-01'::timestamptz + {} * interval '1 ms'",
            self.now_ms
        ))
        .await;
        let now_ms = self.now_ms;
        self.provider.retain(|_, call| call.ends_ms > now_ms);
        self.allowed.retain(|_, since_ms| now_ms - *since_ms <= SENT_WITHIN_MS);
    }

    /// A worker's clock.
    fn clock(&self, worker: usize) -> Instant {
        self.epoch + Duration::from_millis(self.now_ms + self.workers[worker].ahead_ms)
    }

    fn poll(&mut self, index: usize) {
        let now = self.clock(index);
        let has_work = self.has_work(index);
        let worker = &mut self.workers[index];
        if worker.paused || worker.cut_off || !has_work {
            return;
        }
        worker.share.wait();
        if worker.share.take_slot(now) {
            worker.share.waited();
            if let Some(polls) = &mut worker.idle_polls {
                *polls += 1;
                return;
            }
            worker.share.worked(now);
            if let Some(name) = self.queue.pop_front() {
                self.tokens += 1;
                let token = format!("{}/{}", worker.holder.worker, self.tokens);
                let request = self.request[name];
                worker.attempts.push(Attempt { name, request, token, stage: Stage::Slot, after_changes: 0 });
            }
        } else {
            // It goes on waiting; here, until the next poll.
            worker.share.waited();
        }
    }

    /// Does one of its pollers wait for a slot?
    fn has_work(&self, index: usize) -> bool {
        self.workers[index].idle_polls.map_or(!self.queue.is_empty(), |polls| polls < IDLE_POLLS)
    }

    fn reach(&mut self, index: usize, can: bool) {
        let worker = &mut self.workers[index];
        worker.cut_off = !can;
        worker.share.set_cut_off(!can);
    }

    async fn renew(&mut self, index: usize) -> Result<(), String> {
        let now = self.clock(index);
        let has_work = self.has_work(index);
        let worker = &mut self.workers[index];
        match worker.renewing.take() {
            None if worker.paused => {}
            None => {
                if has_work {
                    worker.share.wait();
                }
                worker.renewing = Some(Renewing::Sent(worker.share.renew(now), now));
                if has_work {
                    worker.share.waited();
                }
            }
            Some(Renewing::Sent(renewal, sent_at)) => {
                let grant = lease::grant(self.db, &worker.holder, &renewal, paid_calls::TTL).await.unwrap();
                worker.lease = Some((grant.lease_id, self.now_ms));
                worker.renewing = Some(Renewing::Executed(grant, sent_at));
                self.each_has_its_own_lease(index)?;
            }
            Some(executed @ Renewing::Executed(..)) if worker.paused => worker.renewing = Some(executed),
            Some(Renewing::Executed(grant, sent_at)) => {
                worker.share.granted(grant, sent_at, now, paid_calls::TTL);
            }
        }
        Ok(())
    }

    async fn next(&mut self, index: usize, which: usize, fate: CallEnd) -> Result<(), String> {
        let now = self.clock(index);
        let count = self.workers[index].attempts.len();
        if count == 0 {
            return Ok(());
        }
        let at = which % count;
        let paused = self.workers[index].paused;
        let Attempt { name, request, token, stage, mut after_changes } =
            self.workers[index].attempts.remove(at);
        let (label, fingerprint, worker) =
            (name.to_string(), request.to_string(), self.workers[index].holder.worker.clone());
        let intent = Intent {
            provider_key: KEY,
            worker: &worker,
            token: &token,
            idempotency_key: None,
            call: Call {
                task_id: "task",
                user_id: "user",
                plan: "pro",
                name: CallName::batch(name as u32, 1),
                images: 1,
                fingerprint: &fingerprint,
                honours_idempotency: false,
                timeout: TIMEOUT,
                max_billed_failures: MAX_BILLED_FAILURES,
            },
        };
        let asked_for = GenerateOutput::Generated {
            images: vec![],
            request_id: Some(format!("{label}, request {request}")),
        };
        let mut over = false;
        let stage = match stage {
            Stage::Asking { stamp, asked_ms } => {
                let admission = ledger::begin(self.db, stamp.lease_id, stamp.version, &intent).await.unwrap();
                if admission == Admission::Go {
                    self.allowed.insert(token.clone(), self.now_ms);
                    self.allowances[name] += 1;
                    after_changes = self.limit().await.1;
                    self.may_begin(name, request).await?;
                }
                Stage::Decided { stamp, asked_ms, admission }
            }
            stage if paused => stage,
            Stage::Slot => match self.workers[index].share.begin(now) {
                Some(stamp) => Stage::Asking { stamp, asked_ms: self.now_ms },
                None => Stage::Slot,
            },
            Stage::Decided { stamp, asked_ms, admission } => {
                let share = &mut self.workers[index].share;
                match admission {
                    Admission::Go if self.now_ms - asked_ms > SENT_WITHIN_MS => {
                        self.allowed.remove(&token);
                        Stage::Ending { stamp, outcome: Outcome::Unsent }
                    }
                    Admission::Go => {
                        self.allowed.remove(&token);
                        let ends_ms = self.arrives(name, &token, fate)?;
                        Stage::Sent { stamp, fate, ends_ms }
                    }
                    Admission::Done(output) if output != asked_for => {
                        return Err(format!("I19: call {name} of request {request} was given {output:?}"));
                    }
                    Admission::Exhausted(_) if self.allowances[name] < MAX_BILLED_FAILURES => {
                        return Err(format!("I8: call {name} is given up too early"));
                    }
                    Admission::Done(_) | Admission::Exhausted(_) => {
                        share.end(stamp);
                        self.done[name] |= request == self.request[name];
                        over = true;
                        Stage::Slot
                    }
                    Admission::KeyBlocked(wait, _) => {
                        share.end(stamp);
                        share.close(now, wait);
                        Stage::Slot
                    }
                    Admission::RateLimited(wait, _) => {
                        share.end(stamp);
                        share.close_for_rate(now, wait, stamp);
                        Stage::Slot
                    }
                    Admission::Renew | Admission::InFlight(_) | Admission::CallBlocked(..) => {
                        share.end(stamp);
                        Stage::Slot
                    }
                    Admission::TaskEnded(why) => return Err(why),
                }
            }
            Stage::Sent { stamp, fate, ends_ms } => {
                let is_over = self.now_ms >= ends_ms;
                let outcome = match fate {
                    CallEnd::Refused(wait_ms) => {
                        let retry_after = Some(Duration::from_millis(wait_ms));
                        Some(Outcome::Failed(Failed::Throttled { retry_after, message: String::new() }))
                    }
                    CallEnd::Unavailable(wait_ms) => {
                        let retry_after = wait_ms.map(Duration::from_millis);
                        Some(Outcome::Failed(Failed::Unavailable { retry_after, message: String::new() }))
                    }
                    CallEnd::Unknown(_) => Some(Outcome::Failed(Failed::TimedOut)),
                    CallEnd::Cut(_) if is_over => {
                        Some(Outcome::Failed(Failed::Cut { message: String::new() }))
                    }
                    CallEnd::Answered(_) if is_over => {
                        let GenerateOutput::Generated { images, request_id } = asked_for else {
                            unreachable!()
                        };
                        Some(Outcome::Generated {
                            images,
                            request_id,
                            billed: Some((1, 1.0)),
                            left_out: None,
                        })
                    }
                    CallEnd::Cut(_) | CallEnd::Answered(_) => None,
                };
                match outcome {
                    Some(outcome) => Stage::Ending { stamp, outcome },
                    None => Stage::Sent { stamp, fate, ends_ms },
                }
            }
            Stage::Ending { stamp, outcome } => {
                let effects = outcome.effects();
                let (limit, changes) = self.limit().await;
                ledger::end(self.db, stamp.lease_id, &intent, &effects, Duration::from_secs(1))
                    .await
                    .unwrap();
                let is_cut = self.limit().await.0 < limit;
                if is_cut && after_changes != changes && self.now_ms >= self.forgotten_until_ms {
                    return Err(format!(
                        "the limit is cut for call {name}, which began before its last change"
                    ));
                }
                self.ended.insert(token.clone());
                let share = &mut self.workers[index].share;
                if effects.still_executing {
                    share.give_up(stamp);
                } else {
                    share.end(stamp);
                }
                if let (Outcome::Failed(Failed::Throttled { .. }), Some(wait)) = (&outcome, effects.wait) {
                    self.throttled_until_ms =
                        self.throttled_until_ms.max(self.now_ms + wait.as_millis() as u64);
                }
                if matches!(outcome, Outcome::Generated { .. }) {
                    self.with_result.insert(token.clone());
                    self.done[name] |= request == self.request[name];
                    if request != self.request[name] {
                        self.queue.push_back(name);
                    }
                } else if let (Outcome::Failed(Failed::Unavailable { .. }), Some(wait)) =
                    (&outcome, effects.wait)
                {
                    // Tried again at once: whether it may be is for the database to say.
                    self.later_ms[name] = self.now_ms + wait.as_millis() as u64;
                    self.queue.push_front(name);
                } else {
                    self.queue.push_back(name);
                }
                over = true;
                Stage::Slot
            }
        };
        if over {
            let share = &mut self.workers[index].share;
            share.release_slot_early();
            share.put_slot();
        } else {
            self.workers[index].attempts.insert(at, Attempt { name, request, token, stage, after_changes });
        }
        Ok(())
    }

    /// The database has just allowed a call.
    async fn may_begin(&self, name: usize, request: u32) -> Result<(), String> {
        let lives = |worker: &Worker, stamp: LeaseStamp| {
            worker.lease.is_some_and(|(lease_id, since_ms)| {
                lease_id == stamp.lease_id && self.now_ms - since_ms < paid_calls::TTL.as_millis() as u64
            })
        };
        let runs = self.workers.iter().any(|worker| {
            worker.attempts.iter().any(|attempt| {
                attempt.name == name
                    && attempt.request == request
                    && !self.vanished.contains_key(&attempt.token)
                    && matches!(attempt.stage, Stage::Sent { stamp, .. } if lives(worker, stamp))
            })
        });
        if runs {
            return Err(format!("I4: call {name} is made again while a living worker makes it"));
        }
        if self.paused {
            return Err("a call began while the key was paused".into());
        }
        if self.now_ms < self.forgotten_until_ms {
            return Ok(());
        }
        if self.now_ms < self.throttled_until_ms {
            return Err("I7: a call began before the provider's Retry-After was over".into());
        }
        if self.now_ms < self.later_ms[name] {
            return Err(format!("I7: call {name} began before its own Retry-After was over"));
        }
        let (limit, _) = self.limit().await;
        let in_flight = self.provider.len() + self.allowed.len();
        match limit {
            Some(limit) if in_flight > limit as usize => {
                Err(format!("I5: {in_flight} calls in flight, {limit} allowed{}", self.account().await))
            }
            _ => Ok(()),
        }
    }

    /// Calls at once that the key allows, and how often that was changed.
    async fn limit(&self) -> (Option<i32>, i64) {
        let sql = "SELECT calls_at_once, (SELECT count(*) FROM limit_changes WHERE why <> 'set') AS changes FROM provider_keys";
        let row = self.db.query_one_raw(Statement::from_string(self.db.get_database_backend(), sql)).await;
        let row = row.unwrap().unwrap();
        let changes: i64 = row.try_get("", "changes").unwrap();
        (row.try_get("", "calls_at_once").unwrap(), changes + self.limits_set)
    }

    /// Who has what of the limit.
    async fn account(&self) -> String {
        let sql = "SELECT json_build_object('at', darkroom_now(),
            'leases', (SELECT json_agg(json_build_array(lease_id, worker, 'granted', granted, 'calls', calls, 'demand', demand, 'idle_slots', idle_slots,
                'starving since', starving_since, expires_at)) FROM leases WHERE ended_at IS NULL),
            'calls', (SELECT json_agg(json_build_array(call_id, name, lease_id, state, begun_at, runs_until)) FROM calls
                       WHERE runs_until > darkroom_now()))::text AS text";
        let row = self.db.query_one_raw(Statement::from_string(self.db.get_database_backend(), sql)).await;
        let text: String = row.unwrap().unwrap().try_get("", "text").unwrap();
        let workers: Vec<String> = self
            .workers
            .iter()
            .map(|worker| {
                let names: Vec<usize> = worker.attempts.iter().map(|attempt| attempt.name).collect();
                format!("{}: attempts {names:?}, {:?}", worker.holder.worker, worker.share)
            })
            .collect();
        let at_the_provider: Vec<&String> = self.provider.keys().collect();
        format!(
            "; at the provider {at_the_provider:?}, allowed {:?}, queue {:?}; {}; {text}",
            self.allowed,
            self.queue,
            workers.join("; ")
        )
    }

    /// A call arrives at the provider; when it ends there.
    fn arrives(&mut self, name: usize, token: &str, fate: CallEnd) -> Result<u64, String> {
        self.sends_ms.push(self.now_ms);
        if let Some(rate) = self.rate {
            // Where a rate was set while calls ran, it holds from then on.
            let since = self.now_ms.saturating_sub(59_999).max(self.rate_since_ms + SENT_WITHIN_MS);
            let sent = self.sends_ms.iter().filter(|sent| **sent >= since).count();
            if sent > rate as usize && self.now_ms >= self.forgotten_until_ms {
                return Err(format!("I6: {sent} calls sent within a minute, {rate} allowed"));
            }
        }
        let (CallEnd::Answered(ms) | CallEnd::Unknown(ms) | CallEnd::Cut(ms)) = fate else {
            return Ok(self.now_ms);
        };
        let ends_ms = self.now_ms + ms;
        let billed = self.billed.entry(name).or_default();
        let in_vain = billed
            .iter()
            .filter(|call| !self.with_result.contains(*call) && !self.vanished.contains_key(*call));
        if in_vain.count() >= MAX_BILLED_FAILURES as usize {
            return Err(format!(
                "I18: call {name} is made though {MAX_BILLED_FAILURES} may have been billed in vain"
            ));
        }
        billed.push(token.to_owned());
        self.provider.insert(token.to_owned(), Running { ends_ms });
        Ok(ends_ms)
    }

    async fn round(&mut self, fate: CallEnd) -> Result<(), String> {
        for worker in 0..WORKERS {
            if self.workers[worker].paused {
                continue;
            }
            for _ in 0..3 {
                self.renew(worker).await?;
            }
            self.poll(worker);
            for call in (0..self.workers[worker].attempts.len()).rev() {
                self.next(worker, call, fate).await?;
            }
        }
        Ok(())
    }

    /// Nothing goes wrong any more: everything gets done.
    async fn drain(&mut self, end: &Ending) -> Result<(), String> {
        for step in [Step::SetLimit(Some(end.limit)), Step::SetRate(None), Step::PauseKey(false)] {
            self.step(&step).await?;
        }
        for index in 0..WORKERS {
            let is_idle = index >= WORKERS - end.idle;
            self.workers[index].paused = false;
            self.reach(index, !(is_idle && end.cut_off));
            self.workers[index].idle_polls = (is_idle && !end.cut_off).then_some(0);
            if self.workers[index].cut_off {
                // Temporal hears no heartbeats of its attempts.
                self.queue.extend(self.workers[index].attempts.iter().map(|attempt| attempt.name));
            }
        }
        let mut begun_ms = self.now_ms;
        for _ in 0..ROUNDS {
            if self.done.iter().all(|done| *done) {
                return Ok(());
            }
            let allowed: u32 = self.allowances.iter().sum();
            self.round(CallEnd::Answered(500)).await?;
            self.advance(300).await;
            if self.allowances.iter().sum::<u32>() > allowed || !self.provider.is_empty() {
                begun_ms = self.now_ms;
            }
            let waited_ms = self.now_ms - begun_ms;
            if self.forgotten_until_ms == 0
                && waited_ms > LONGEST_WAIT_MS
                && waited_ms > self.orphan_ms().await + 15_000
            {
                let account = self.account().await;
                let invariant = if end.idle > 0 { "I21" } else { "I8" };
                return Err(format!(
                    "{invariant}: no call begins for {LONGEST_WAIT_MS} ms though work waits{account}"
                ));
            }
        }
        let open = self.done.iter().filter(|done| !**done).count();
        let account = self.account().await;
        Err(format!("I8: {open} calls are not made though nothing goes wrong any more{account}"))
    }

    /// How long an orphan may count: twice what calls took, those included whose worker was away when they
    /// ended. Before the first call has ended nobody knows.
    async fn orphan_ms(&self) -> u64 {
        let sql = "SELECT (2000 * max(extract(epoch FROM ended_at - begun_at)))::bigint AS ms FROM calls WHERE state = 'done'";
        let row = self.db.query_one_raw(Statement::from_string(self.db.get_database_backend(), sql)).await;
        let ms: Option<i64> = row.unwrap().unwrap().try_get("", "ms").unwrap();
        ms.map_or(TIMEOUT.as_millis() as u64, |ms| ms.max(0) as u64)
    }

    /// Each billed call has its row, which says so or that nobody knows; and nothing else is called done.
    async fn is_the_bill(&self) -> Result<(), String> {
        let statement =
            "SELECT token, name, state, written_off_at IS NOT NULL AS lost FROM calls ORDER BY call_id";
        let rows = self
            .db
            .query_all_raw(Statement::from_string(self.db.get_database_backend(), statement))
            .await
            .unwrap();
        let mut states: BTreeMap<String, String> = BTreeMap::new();
        let mut lost: BTreeMap<usize, usize> = BTreeMap::new();
        for row in rows {
            let (token, name): (String, String) =
                (row.try_get("", "token").unwrap(), row.try_get("", "name").unwrap());
            let (state, is_lost): (String, bool) =
                (row.try_get("", "state").unwrap(), row.try_get("", "lost").unwrap());
            // Of an execution that began again after it had not sent, the last row counts.
            states.insert(token, state);
            *lost.entry(name.parse().unwrap()).or_default() += usize::from(is_lost);
        }
        for (name, calls) in &self.billed {
            let recorded = lost.get(name).copied().unwrap_or_default();
            let forgotten = self.vanished.values().filter(|vanished| *vanished == name).count();
            if calls.len() > 1 + recorded + forgotten {
                return Err(format!(
                    "I4: call {name} was paid {} times, {recorded} losses are recorded",
                    calls.len()
                ));
            }
            for call in calls {
                // Neither the database nor its worker was there to tell.
                if self.vanished.contains_key(call) && !self.ended.contains(call) {
                    continue;
                }
                if !states
                    .get(call)
                    .is_some_and(|state| ["done", "ambiguous", "open"].contains(&state.as_str()))
                {
                    return Err(format!("I4: call {call} was billed, its row says {:?}", states.get(call)));
                }
            }
        }
        let billed = |call: &String| self.billed.values().flatten().any(|billed| billed == call);
        match states.iter().find(|(call, state)| *state == "done" && !billed(call)) {
            Some((call, _)) => Err(format!("I4: call {call} is done in the ledger, and was not billed")),
            None => Ok(()),
        }
    }
}
