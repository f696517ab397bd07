//! Keeps this worker's lease renewed. The worker holds a share of its provider key's limit, which
//! Postgres grants. The lease is renewed every second, and expires after 3 s. A slot comes out of
//! the share without a statement.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use database::DatabaseConnection;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::lease::{self, Changes, Grant, Holder};
use crate::share::{LeaseStamp, Share};

/// Time for which a lease holds without a renewal.
pub const TTL: Duration = Duration::from_secs(3);
/// Longest time between two renewals.
const RENEWED_EVERY: Duration = Duration::from_secs(1);
/// Shortest time between two renewals.
const RENEWED_AT_MOST_EVERY: Duration = Duration::from_millis(10);
/// Longest time between two renewals while the key is tried after an outage.
const RENEWED_EVERY_WHILE_PROBING: Duration = Duration::from_millis(250);
/// Shortest time between a renewal that failed and the next one.
const FAILED_WAIT: Duration = Duration::from_millis(200);
/// Longest time that a renewal may take. Two such renewals fit into a lease.
const RENEWED_WITHIN: Duration = Duration::from_millis(1200);
/// Time after which a listener that has failed listens again.
const LISTENS_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Share of one worker in its provider key.
#[derive(Debug)]
pub(crate) struct Limiter {
    database: DatabaseConnection,
    holder: Holder,
    share: Mutex<Share>,
    /// Wakes those who wait for a slot or a call.
    freed: Notify,
    /// Wakes the renewal, because there is something to tell or to ask for.
    news: Notify,
    /// Wakes those who wait for the answer to a renewal.
    renewed: Notify,
}

/// Slot of Temporal's SDK, which is put back when dropped.
#[derive(Debug)]
pub struct Slot(Arc<Limiter>);

/// Permission for one call, which ends when dropped.
#[derive(Debug)]
pub(crate) struct CallGuard {
    limiter: Arc<Limiter>,
    stamp: LeaseStamp,
    /// End of the call, if the call was made and its end is on record.
    ended: Option<Ended>,
}

#[derive(Debug, Clone, Copy)]
struct Ended {
    /// True if the provider may still be executing the call. The call's capacity then no longer
    /// belongs to this worker.
    still_executing: bool,
}

impl Limiter {
    /// Makes the limiter of a starting worker. No statement is sent before [`Limiter::run`].
    pub(crate) fn new(database: DatabaseConnection, holder: Holder) -> Arc<Self> {
        let share = Mutex::new(Share::new(holder.max_calls, std::time::Instant::now()));
        let (freed, news, renewed) = (Notify::new(), Notify::new(), Notify::new());
        Arc::new(Self { database, holder, share, freed, news, renewed })
    }

    /// Returns the name of the provider key.
    pub(crate) fn provider_key(&self) -> &str {
        &self.holder.provider_key
    }

    /// Returns the name of this start of the process.
    pub(crate) fn worker(&self) -> &str {
        &self.holder.worker
    }

    /// Waits until a call could be made in a further slot, and returns the slot.
    pub(crate) async fn slot(self: &Arc<Self>) -> Slot {
        let _waiting = Waiting::begin(self);
        self.when_free(|share, now| share.take_slot(now).then_some(())).await;
        Slot(self.clone())
    }

    /// Returns a slot if a call could be made in it now.
    pub(crate) fn try_slot(self: &Arc<Self>) -> Option<Slot> {
        self.share().take_slot(std::time::Instant::now()).then(|| Slot(self.clone()))
    }

    /// Waits until a call may begin under the lease.
    pub(crate) async fn call(self: &Arc<Self>) -> CallGuard {
        let stamp = self.when_free(Share::begin).await;
        CallGuard { limiter: self.clone(), stamp, ended: None }
    }

    /// Lets no call begin for this long, because the limits say so.
    pub(crate) fn close(&self, wait: Duration) {
        self.share().close(std::time::Instant::now(), wait);
    }

    /// Lets no call begin for this long, because the calls or images of the last minute have
    /// reached the rate. Does nothing if the limits were changed since the stamp was given.
    pub(crate) fn close_for_rate(&self, wait: Duration, stamp: LeaseStamp) {
        self.share().close_for_rate(std::time::Instant::now(), wait, stamp);
    }

    /// Notes that Temporal can't be reached, or can be reached again. Without Temporal no work
    /// comes, so the worker's share goes to others.
    pub(crate) fn set_cut_off(&self, cut_off: bool) {
        self.put_back(|share| share.set_cut_off(cut_off));
    }

    /// Renews the lease now, and waits for the answer.
    pub(crate) async fn renew(&self) {
        let renewed = self.renewed.notified();
        self.news.notify_one();
        renewed.await;
    }

    /// Keeps the lease renewed for as long as the future is polled.
    pub(crate) async fn run(&self) -> Infallible {
        let mut listener = std::pin::pin!(self.listen());
        let mut fails = false;
        let mut every = RENEWED_EVERY;
        loop {
            let began = Instant::now();
            let renewal = {
                let mut share = self.share();
                share.renew(began.into_std())
            };
            let granted = lease::grant(&self.database, &self.holder, &renewal, TTL);
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
                // The next renewal has all news that came meanwhile.
                if !fails && !self.share().has_news(std::time::Instant::now()) {
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

    /// Gives the lease back, once no call is in flight any more.
    pub(crate) async fn release(&self) {
        let lease_id = self.share().lease_id();
        if let Some(lease_id) = lease_id
            && let Err(error) = lease::release(&self.database, lease_id, self.worker()).await
        {
            tracing::warn!(%error, lease_id, "the lease could not be given back: it runs out by itself");
        }
    }

    fn granted(&self, grant: Grant, sent_at: Instant) {
        self.share().granted(grant, sent_at.into_std(), std::time::Instant::now(), TTL);
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

    /// Renews the lease whenever others say that something has changed.
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
    async fn when_free<T>(&self, mut take: impl FnMut(&mut Share, std::time::Instant) -> Option<T>) -> T {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            let (opens_at, has_news) = {
                let mut share = self.share();
                let now = std::time::Instant::now();
                if let Some(taken) = take(&mut share, now) {
                    return taken;
                }
                (share.opens_at(now), share.has_news(now))
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

    /// Puts something back, and wakes those who wait for it.
    fn put_back(&self, put: impl FnOnce(&mut Share)) {
        let has_news = {
            let mut share = self.share();
            put(&mut share);
            share.has_news(std::time::Instant::now())
        };
        if has_news {
            self.news.notify_one();
        }
        self.freed.notify_waiters();
    }

    fn share(&self) -> MutexGuard<'_, Share> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Notes that the slot's poll has brought work.
    pub fn worked(&self) {
        self.0.share().worked(std::time::Instant::now());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.put_back(Share::put_slot);
    }
}

impl CallGuard {
    /// Returns the lease under which the call is made.
    pub(crate) fn stamp(&self) -> LeaseStamp {
        self.stamp
    }

    /// Ends a call that was made and whose end is on record. The activity has nothing more to do
    /// with the provider, so its slot is free, too.
    pub(crate) fn end(mut self, still_executing: bool) {
        self.ended = Some(Ended { still_executing });
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let (stamp, ended) = (self.stamp, self.ended);
        self.limiter.put_back(|share| {
            match ended {
                Some(Ended { still_executing: true }) => share.give_up(stamp),
                None | Some(Ended { still_executing: false }) => share.end(stamp),
            }
            if ended.is_some() {
                share.release_slot_early();
            }
        });
    }
}

/// A poller that waits for a slot.
struct Waiting<'a>(&'a Limiter);

impl<'a> Waiting<'a> {
    fn begin(limiter: &'a Limiter) -> Self {
        limiter.share().wait();
        Self(limiter)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.share().waited();
    }
}
