//! What is done to the stack.

use std::time::Duration;

use anyhow::{Result, bail};
use sandbox::{Chance, Fault, ObjectStore, Rule};
use tokio::time::sleep;

use super::ground::{Ground, LIMIT, Reach, now_ms};
use crate::Link;

/// Something that goes wrong, and is put right again before the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deed {
    /// kill -9 of a worker, and another started.
    KillWorker,
    /// SIGTERM for a worker, and another started.
    StopWorker,
    /// A worker is paused for seconds.
    PauseWorker,
    /// kill -9 of Temporal's server, and a restart.
    KillTemporal,
    /// kill -9 of Postgres, and a restart.
    KillPostgres,
    /// kill -9 of the S3 server, and a restart.
    KillStore,
    /// The provider is gone for seconds.
    ProviderGone,
    /// Connections of this link are reset, and no new ones taken, for seconds.
    Cut(Link),
    /// Nothing gets through this link for seconds, and nobody is told.
    Stall(Link),
    /// Everything on this link takes longer for seconds: each chunk, or each byte.
    Slow(Link),
    /// The provider answers with nothing but this status for seconds.
    Storm(u16),
    /// Every URL given out so far is dead.
    ExpireUrls,
    /// The limit of calls at once is set to this.
    Limit(u32),
    /// The provider key is paused for seconds.
    PauseKey,
}

impl Deed {
    pub(super) fn random(chance: &mut Chance) -> Deed {
        let link = Link::ALL[chance.below(4) as usize];
        match chance.below(17) {
            0..=2 => Deed::KillWorker,
            3 => Deed::StopWorker,
            4 => Deed::PauseWorker,
            5 => Deed::KillTemporal,
            6 => Deed::KillPostgres,
            7 => Deed::KillStore,
            8 => Deed::ProviderGone,
            9 => Deed::Cut(link),
            10 => Deed::Stall(link),
            11 => Deed::Slow(link),
            12 => Deed::Storm(if chance.below(2) == 0 { 429 } else { 503 }),
            13 => Deed::ExpireUrls,
            14 | 15 => Deed::Limit([0, 3, 6, LIMIT, LIMIT][chance.below(5) as usize]),
            _ => Deed::PauseKey,
        }
    }

    /// Does it, and puts it right.
    pub(super) async fn do_it(self, ground: &mut Ground, reach: &Reach, chance: &mut Chance) -> Result<()> {
        let began = now_ms();
        let which = chance.below(ground.workers.len() as u64) as usize;
        let a_while = Duration::from_millis(chance.between(500, 8_000));
        match self {
            Deed::KillWorker => {
                ground.workers[which].kill().await?;
                ground.workers[which] = ground.worker().await?;
            }
            Deed::StopWorker => {
                ground.workers[which].stop().await?;
                ground.workers[which] = ground.worker().await?;
            }
            Deed::PauseWorker => {
                ground.workers[which].signal("STOP").await?;
                sleep(a_while).await;
                ground.workers[which].signal("CONT").await?;
            }
            Deed::KillTemporal => {
                ground.stack.temporal.process().kill().await?;
                sleep(a_while / 4).await;
                ground.stack.temporal.restart().await?;
            }
            Deed::KillPostgres => {
                ground.stack.postgres.process().kill().await?;
                sleep(a_while / 4).await;
                ground.stack.postgres.restart().await?;
            }
            Deed::KillStore => {
                let ObjectStore::Versity(versity) = &mut ground.stack.store else { bail!("another store") };
                versity.process().kill().await?;
                sleep(a_while).await;
                versity.restart().await?;
            }
            Deed::ProviderGone => {
                ground.stack.provider.go_down().await;
                sleep(a_while).await;
                ground.stack.provider.come_back().await?;
            }
            Deed::Cut(link) => {
                ground.links.proxy(link).cut().await;
                sleep(a_while).await;
                ground.links.proxy(link).mend();
            }
            Deed::Stall(link) => {
                ground.links.proxy(link).stall();
                sleep(a_while).await;
                ground.links.proxy(link).mend();
            }
            Deed::Slow(link) => {
                let proxy = ground.links.proxy(link);
                match chance.below(2) {
                    0 => proxy.set_delay(Duration::from_millis(chance.between(20, 200))),
                    _ => proxy.set_rate(Some(chance.between(20_000, 500_000))),
                }
                sleep(a_while).await;
                ground.links.mend();
            }
            Deed::Storm(status) => {
                let retry_after_s = (chance.below(2) == 0).then_some(1);
                let storm = Rule::new(Fault::Status { status, retry_after_s }).during(a_while);
                ground.stack.provider.faults().add_first(storm);
                sleep(a_while).await;
            }
            Deed::ExpireUrls => ground.stack.provider.expire_urls(),
            Deed::Limit(ceiling) => {
                ground.limit(&serde_json::json!({ "ceiling": ceiling })).await?;
                if ceiling == 0 {
                    sleep(a_while).await;
                    ground.limit(&serde_json::json!({ "ceiling": LIMIT })).await?;
                }
            }
            Deed::PauseKey => {
                ground.limit(&serde_json::json!({ "paused": true })).await?;
                sleep(a_while).await;
                ground.limit(&serde_json::json!({ "paused": false })).await?;
            }
        }
        if self.deafens() {
            reach.deafened(began);
        }
        Ok(())
    }

    /// May workers not hear of a cancel meanwhile?
    fn deafens(self) -> bool {
        match self {
            Deed::KillWorker
            | Deed::PauseWorker
            | Deed::KillTemporal
            | Deed::Cut(Link::Temporal | Link::Provider)
            | Deed::Stall(Link::Temporal | Link::Provider)
            | Deed::Slow(Link::Temporal)
            | Deed::ProviderGone => true,
            Deed::StopWorker
            | Deed::KillPostgres
            | Deed::KillStore
            | Deed::Cut(_)
            | Deed::Stall(_)
            | Deed::Slow(_)
            | Deed::Storm(_)
            | Deed::ExpireUrls
            | Deed::Limit(_)
            | Deed::PauseKey => false,
        }
    }
}
