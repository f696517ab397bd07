//! What is done to the stack.

use std::time::Duration;

use anyhow::{Result, bail};
use sandbox::{Chance, ObjectStore, ProviderFault, Rule};
use tokio::time::sleep;

use paid_calls::limits::Change;

use super::ground::{Arena, LIMIT, Reach, now_ms};
use crate::Link;

/// Something that goes wrong, and is put right again before the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Disruption {
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

impl Disruption {
    pub(super) fn random(chance: &mut Chance) -> Disruption {
        let link = Link::ALL[chance.below(4) as usize];
        match chance.below(17) {
            0..=2 => Disruption::KillWorker,
            3 => Disruption::StopWorker,
            4 => Disruption::PauseWorker,
            5 => Disruption::KillTemporal,
            6 => Disruption::KillPostgres,
            7 => Disruption::KillStore,
            8 => Disruption::ProviderGone,
            9 => Disruption::Cut(link),
            10 => Disruption::Stall(link),
            11 => Disruption::Slow(link),
            12 => Disruption::Storm(if chance.below(2) == 0 { 429 } else { 503 }),
            13 => Disruption::ExpireUrls,
            14 | 15 => Disruption::Limit([0, 3, 6, LIMIT, LIMIT][chance.below(5) as usize]),
            _ => Disruption::PauseKey,
        }
    }

    /// Does it, and puts it right.
    pub(super) async fn do_it(self, ground: &mut Arena, reach: &Reach, chance: &mut Chance) -> Result<()> {
        let began = now_ms();
        let which = chance.below(ground.workers.len() as u64) as usize;
        let a_while = Duration::from_millis(chance.between(500, 8_000));
        match self {
            Disruption::KillWorker => {
                ground.workers[which].kill().await?;
                ground.workers[which] = ground.worker().await?;
            }
            Disruption::StopWorker => {
                ground.workers[which].stop().await?;
                ground.workers[which] = ground.worker().await?;
            }
            Disruption::PauseWorker => {
                ground.workers[which].signal("STOP").await?;
                sleep(a_while).await;
                ground.workers[which].signal("CONT").await?;
            }
            Disruption::KillTemporal => {
                ground.stack.temporal.process().kill().await?;
                sleep(a_while / 4).await;
                ground.stack.temporal.restart().await?;
            }
            Disruption::KillPostgres => {
                ground.stack.postgres.process().kill().await?;
                sleep(a_while / 4).await;
                ground.stack.postgres.restart().await?;
            }
            Disruption::KillStore => {
                let ObjectStore::Versity(versity) = &mut ground.stack.store else { bail!("another store") };
                versity.process().kill().await?;
                sleep(a_while).await;
                versity.restart().await?;
            }
            Disruption::ProviderGone => {
                ground.stack.provider.go_down().await;
                sleep(a_while).await;
                ground.stack.provider.come_back().await?;
            }
            Disruption::Cut(link) => {
                ground.links.proxy(link).cut().await;
                sleep(a_while).await;
                ground.links.proxy(link).mend();
            }
            Disruption::Stall(link) => {
                ground.links.proxy(link).stall();
                sleep(a_while).await;
                ground.links.proxy(link).mend();
            }
            Disruption::Slow(link) => {
                let proxy = ground.links.proxy(link);
                match chance.below(2) {
                    0 => proxy.set_delay(Duration::from_millis(chance.between(20, 200))),
                    _ => proxy.set_rate(Some(chance.between(20_000, 500_000))),
                }
                sleep(a_while).await;
                ground.links.mend();
            }
            Disruption::Storm(status) => {
                let retry_after_s = (chance.below(2) == 0).then_some(1);
                let storm = Rule::new(ProviderFault::Status { status, retry_after_s }).during(a_while);
                ground.stack.provider.faults().add_first(storm);
                sleep(a_while).await;
            }
            Disruption::ExpireUrls => ground.stack.provider.expire_urls(),
            Disruption::Limit(ceiling) => {
                ground.limit(&Change::ceiling(ceiling)).await?;
                if ceiling == 0 {
                    sleep(a_while).await;
                    ground.limit(&Change::ceiling(LIMIT)).await?;
                }
            }
            Disruption::PauseKey => {
                ground.limit(&Change::paused(true)).await?;
                sleep(a_while).await;
                ground.limit(&Change::paused(false)).await?;
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
            Disruption::KillWorker
            | Disruption::PauseWorker
            | Disruption::KillTemporal
            | Disruption::Cut(Link::Temporal | Link::Provider)
            | Disruption::Stall(Link::Temporal | Link::Provider)
            | Disruption::Slow(Link::Temporal)
            | Disruption::ProviderGone => true,
            Disruption::StopWorker
            | Disruption::KillPostgres
            | Disruption::KillStore
            | Disruption::Cut(_)
            | Disruption::Stall(_)
            | Disruption::Slow(_)
            | Disruption::Storm(_)
            | Disruption::ExpireUrls
            | Disruption::Limit(_)
            | Disruption::PauseKey => false,
        }
    }
}
