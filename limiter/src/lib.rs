//! The limit of calls in flight, over all workers: a slot is a lease.
//!
//! A worker holds a share of its provider key's limit, granted in Postgres, renewed every second, over after three. Slots and calls come out
//! of that share without a statement each. The design: ARCHITECTURE.md, "Paid calls".

mod capacity;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use database::DatabaseConnection;
use database::leases::{self, Changes, Grant, Holder};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

pub use capacity::{Capacity, Permit};

/// How long a lease holds without being renewed.
pub const TTL: Duration = Duration::from_secs(3);
/// How often it is renewed, at least.
const RENEWED_EVERY: Duration = Duration::from_secs(1);
/// And at most.
const RENEWED_AT_MOST_EVERY: Duration = Duration::from_millis(10);
/// And while the key is being tried after an outage.
const RENEWED_EVERY_WHILE_PROBING: Duration = Duration::from_millis(250);
/// How soon a renewal that failed is tried again.
const FAILED_WAIT: Duration = Duration::from_millis(200);
/// How long a renewal may take: two fit into a lease.
const RENEWED_WITHIN: Duration = Duration::from_millis(1200);
/// How soon a listener that has failed listens again.
const LISTENS_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// One worker's share of its provider key.
#[derive(Debug)]
pub struct Limiter {
    database: DatabaseConnection,
    holder: Holder,
    capacity: Mutex<Capacity>,
    /// Something may be free now.
    freed: Notify,
    /// There is something to tell, or to ask for.
    news: Notify,
    /// A renewal was answered.
    renewed: Notify,
}

/// A slot of Temporal's SDK: put back when dropped.
#[derive(Debug)]
pub struct Slot(Arc<Limiter>);

/// Allows one call, until it is dropped.
#[derive(Debug)]
pub struct Pass {
    limiter: Arc<Limiter>,
    permit: Permit,
    ended: Option<Ended>,
}

/// How a call that was made has ended, on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The provider is done with it.
    Done,
    /// The provider may work on: what it uses is no longer this worker's.
    MayRunOn,
}

impl Limiter {
    /// Of a worker that begins. Talks to nobody before [`Limiter::run`].
    pub fn new(database: DatabaseConnection, holder: Holder) -> Arc<Self> {
        let capacity = Mutex::new(Capacity::new(holder.most, std::time::Instant::now()));
        let (freed, news, renewed) = (Notify::new(), Notify::new(), Notify::new());
        Arc::new(Self { database, holder, capacity, freed, news, renewed })
    }

    /// The provider key.
    pub fn provider_key(&self) -> &str {
        &self.holder.provider_key
    }

    /// Names this start of the process.
    pub fn worker(&self) -> &str {
        &self.holder.worker
    }

    /// Waits for a slot: until a call could be made in it.
    pub async fn slot(self: &Arc<Self>) -> Slot {
        let _waiting = Waiting::begin(self);
        self.when_free(|capacity, now| capacity.take_slot(now).then_some(())).await;
        Slot(self.clone())
    }

    /// A slot, if there is one now.
    pub fn try_slot(self: &Arc<Self>) -> Option<Slot> {
        self.capacity().take_slot(std::time::Instant::now()).then(|| Slot(self.clone()))
    }

    /// Waits until a call may begin.
    pub async fn pass(self: &Arc<Self>) -> Pass {
        let permit = self.when_free(Capacity::begin).await;
        Pass { limiter: self.clone(), permit, ended: None }
    }

    /// No call begins for so long: the limits say so.
    pub fn close(&self, wait: Duration) {
        self.capacity().close(std::time::Instant::now(), wait);
    }

    /// No call begins for so long: a minute has as many as it may, by the limits under which the permit
    /// was given.
    pub fn close_for_rate(&self, wait: Duration, permit: Permit) {
        self.capacity().close_for_rate(std::time::Instant::now(), wait, permit);
    }

    /// Temporal can't be reached, or can again: without it no work comes, and the worker's share is others'.
    pub fn set_cut_off(&self, cut_off: bool) {
        self.put_back(|capacity| capacity.set_cut_off(cut_off));
    }

    /// Renews now, and waits for the answer.
    pub async fn renew(&self) {
        let renewed = self.renewed.notified();
        self.news.notify_one();
        renewed.await;
    }

    /// Holds the lease, for as long as it is polled.
    pub async fn run(&self) -> Infallible {
        let mut listener = std::pin::pin!(self.listen());
        let mut fails = false;
        let mut every = RENEWED_EVERY;
        loop {
            let began = Instant::now();
            let renewal = {
                let mut capacity = self.capacity();
                capacity.renew(began.into_std())
            };
            let granted = leases::grant(&self.database, &self.holder, &renewal, TTL);
            let answer = tokio::select! {
                answer = timeout(RENEWED_WITHIN, granted) => answer,
                never = &mut listener => match never {},
            };
            match answer {
                Ok(Ok(grant)) => {
                    if fails {
                        tracing::info!(provider_key = self.provider_key(), "the lease is renewed again");
                    }
                    fails = false;
                    every = if grant.probing { RENEWED_EVERY_WHILE_PROBING } else { RENEWED_EVERY };
                    self.granted(grant, began);
                }
                Ok(Err(error)) => self.failed(&error.to_string(), &mut fails),
                Err(_) => self.failed("no answer", &mut fails),
            }
            let news = async {
                // What was told or asked for meanwhile is in the next renewal.
                if !fails && !self.capacity().has_news(std::time::Instant::now()) {
                    self.news.notified().await;
                }
                sleep_until(began + if fails { FAILED_WAIT } else { RENEWED_AT_MOST_EVERY }).await;
            };
            tokio::select! {
                () = news => {}
                () = sleep_until(began + every) => {}
                never = &mut listener => match never {},
            }
        }
    }

    /// Gives the lease back: nothing runs any more.
    pub async fn release(&self) {
        let lease_id = self.capacity().lease_id();
        if let Some(lease_id) = lease_id
            && let Err(error) = leases::release(&self.database, lease_id, self.worker()).await
        {
            tracing::warn!(%error, lease_id, "the lease could not be given back: it runs out by itself");
        }
    }

    fn granted(&self, grant: Grant, sent_at: Instant) {
        self.capacity().granted(grant, sent_at.into_std(), std::time::Instant::now(), TTL);
        self.renewed.notify_waiters();
        self.freed.notify_waiters();
    }

    fn failed(&self, error: &str, fails: &mut bool) {
        if !*fails {
            tracing::warn!(
                error,
                provider_key = self.provider_key(),
                "the lease can't be renewed: no new call begins once it is over"
            );
        }
        *fails = true;
    }

    /// Renews when others say that something has changed.
    async fn listen(&self) -> Infallible {
        loop {
            let ended = async {
                let mut changes = Changes::listen(&self.database).await?;
                loop {
                    if changes.next().await? == self.holder.provider_key {
                        self.news.notify_one();
                    }
                }
            };
            let ended: Result<Infallible, database::Error> = ended.await;
            let Err(error) = ended;
            tracing::debug!(%error, "not told of changed limits: they are seen at the next renewal");
            sleep(LISTENS_AGAIN_AFTER).await;
        }
    }

    /// Waits until `take` gives something.
    async fn when_free<T>(&self, mut take: impl FnMut(&mut Capacity, std::time::Instant) -> Option<T>) -> T {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            let (opens_at, has_news) = {
                let mut capacity = self.capacity();
                let now = std::time::Instant::now();
                if let Some(taken) = take(&mut capacity, now) {
                    return taken;
                }
                (capacity.opens_at(now), capacity.has_news(now))
            };
            if has_news {
                self.news.notify_one();
            }
            match opens_at {
                None => freed.await,
                Some(at) => tokio::select! {
                    () = freed => {}
                    () = sleep_until(at.into()) => {}
                },
            }
        }
    }

    /// Something was put back.
    fn put_back(&self, put: impl FnOnce(&mut Capacity)) {
        let has_news = {
            let mut capacity = self.capacity();
            put(&mut capacity);
            capacity.has_news(std::time::Instant::now())
        };
        if has_news {
            self.news.notify_one();
        }
        self.freed.notify_waiters();
    }

    fn capacity(&self) -> MutexGuard<'_, Capacity> {
        self.capacity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Its poll has brought work.
    pub fn worked(&self) {
        self.0.capacity().worked(std::time::Instant::now());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.put_back(Capacity::put_slot);
    }
}

impl Pass {
    /// The lease under which the call is made.
    pub fn permit(&self) -> Permit {
        self.permit
    }

    /// The call was made, and its end is on record. Its activity has nothing more to do with the provider: its slot is free, too.
    pub fn end(mut self, ended: Ended) {
        self.ended = Some(ended);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let (permit, ended) = (self.permit, self.ended);
        self.limiter.put_back(|capacity| {
            match ended {
                None | Some(Ended::Done) => capacity.end(permit),
                Some(Ended::MayRunOn) => capacity.give_up(permit),
            }
            if ended.is_some() {
                capacity.leave_slot();
            }
        });
    }
}

/// A poller that waits for a slot.
struct Waiting<'a>(&'a Limiter);

impl<'a> Waiting<'a> {
    fn begin(limiter: &'a Limiter) -> Self {
        limiter.capacity().wait();
        Self(limiter)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.capacity().waited();
    }
}
