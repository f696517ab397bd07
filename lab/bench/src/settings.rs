//! What is measured, and how.

use std::path::PathBuf;

use sandbox::StoreKind;

use crate::model::Outage;
use crate::scenario::Scenario;

/// One measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The program `darkroom`, which runs as the worker.
    pub darkroom: PathBuf,
    /// The load.
    pub scenario: Scenario,
    /// Decides the order of arrivals where the load is mixed.
    pub seed: u64,
    /// How much faster than real the provider's clock runs.
    pub speed: f64,
    /// By how much of 8 s a call takes more or less, 0 to 1.
    pub call_spread: f64,
    /// Worker processes.
    pub workers: u32,
    /// Provider calls at once, in each of them.
    pub slots: u32,
    /// Provider calls at once, all workers together, where that is less; and how it is kept.
    pub limit: Option<(u32, Kept)>,
    /// Images that move at once, in each of them.
    pub transfer_slots: u32,
    /// What a picture weighs.
    pub image_bytes: usize,
    /// The S3 server.
    pub store: StoreKind,
    /// Whether the provider honours idempotency keys; they are sent in any case.
    pub keys_honoured: bool,
    /// When the only worker is killed, if it is.
    pub kill: Option<Kill>,
    /// When the provider answers with nothing but 503, if it does.
    pub unavailable: Option<Unavailable>,
    /// Whether the first task finds the worker as it has just started, without connections.
    pub cold: bool,
    /// How often it is measured; medians are reported.
    pub repeat: u32,
}

/// How one limit over all workers is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// As Darkroom does: a slot is a lease.
    ByLeases,
    /// To compare with: workers take as much work as they have slots for, and each call waits in its slot for a row that counts those in flight.
    BySemaphoreRow,
}

/// A kill -9 of the only worker. In provider seconds, as all times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kill {
    /// After the load's beginning.
    pub at_s: f64,
    /// Until another worker is started.
    pub restart_after_s: f64,
}

/// A time in which the provider answers with nothing but 503. In provider seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unavailable {
    /// After the load's beginning.
    pub at_s: f64,
    /// How long it lasts.
    pub for_s: f64,
}

impl Settings {
    /// Provider calls at once, all workers together.
    pub fn calls(&self) -> u32 {
        let slots = self.workers * self.slots;
        self.limit.map_or(slots, |(limit, _)| limit.min(slots))
    }

    /// Whether the provider keeps to itself what it allows, and changes it.
    pub fn adapts(&self) -> bool {
        matches!(self.scenario, Scenario::Adapt { .. })
    }

    /// When no call of the load can begin, as the model knows it.
    pub(crate) fn outage(&self) -> Option<Outage> {
        let ms = |s: f64| (s * 1e3) as u64;
        let killed = self.kill.map(|kill| Outage {
            from_ms: ms(kill.at_s),
            to_ms: ms(kill.at_s + kill.restart_after_s),
            keys_honoured: self.keys_honoured,
        });
        // Calls that run go on.
        let unavailable = self.unavailable.map(|outage| Outage {
            from_ms: ms(outage.at_s),
            to_ms: ms(outage.at_s + outage.for_s),
            keys_honoured: true,
        });
        killed.or(unavailable)
    }

    /// Images that move at once, all workers together.
    pub fn transfers(&self) -> u32 {
        self.workers * self.transfer_slots
    }

    /// The edge of pictures that have this many bytes: small ones need few pixels, and large ones can't be made of few.
    pub(crate) fn image_px(&self) -> u32 {
        match self.image_bytes {
            0..300_000 => 512,
            300_000..1_200_000 => 1024,
            1_200_000..5_000_000 => 1536,
            _ => 2560,
        }
    }
}

/// A size such as `50KB`, `1.5MB`, `300000`. Thousands, as disks count.
///
/// # Errors
/// Says what would be one.
pub fn size_bytes(text: &str) -> Result<usize, String> {
    let upper = text.trim().to_ascii_uppercase();
    let (number, unit) = match upper.strip_suffix("MB") {
        Some(number) => (number, 1e6),
        None => match upper.strip_suffix("KB") {
            Some(number) => (number, 1e3),
            None => (upper.strip_suffix('B').unwrap_or(&upper), 1.0),
        },
    };
    let bytes = number.trim().parse::<f64>().map(|number| number * unit);
    match bytes {
        Ok(bytes) if (LEAST_BYTES..=MOST_BYTES).contains(&bytes) => Ok(bytes as usize),
        Ok(_) => Err("use 20KB to 20MB".into()),
        Err(_) => Err("use a number with a unit, such as 50KB or 1.5MB".into()),
    }
}

/// A picture of 512 px has as many at a bad quality.
const LEAST_BYTES: f64 = 20e3;
const MOST_BYTES: f64 = 20e6;

#[cfg(test)]
mod tests {
    use super::size_bytes;

    #[test]
    fn sizes_are_read_in_thousands() {
        assert_eq!(size_bytes("50KB"), Ok(50_000));
        assert_eq!(size_bytes("1.5 mb"), Ok(1_500_000));
        assert_eq!(size_bytes("300000"), Ok(300_000));
        for wrong in ["", "KB", "50 GB", "0", "-1MB", "30MB", "nanKB", "infMB"] {
            assert!(size_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
