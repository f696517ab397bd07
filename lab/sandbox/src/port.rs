//! Ports for servers: those that can't be told to choose one themselves, and those that go away and come back.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Below the range from which Linux (32768…) and macOS (49152…) take ports for outgoing connections: nothing but another server can
/// take one of these between our look and the server's bind.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// More than a fork takes to become another program, on a busy machine.
const FORKS_LAST: Duration = Duration::from_secs(20);

/// Each process starts somewhere else and goes on from there, so that test processes side by side hardly ever meet.
static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
    let width = u64::from(RANGE.end - RANGE.start);
    let offset = RandomState::new().build_hasher().finish() % width;
    AtomicU16::new(u16::try_from(offset).unwrap_or(0))
});

/// A loopback port on which nothing listens at the moment.
pub(crate) fn free() -> Result<u16> {
    Ok(listen()?.local_addr()?.port())
}

/// A listener on such a port: where its server comes back, nobody else has taken it meanwhile.
pub(crate) fn listen() -> Result<TcpListener> {
    let width = RANGE.end - RANGE.start;
    for _ in 0..width {
        let port = RANGE.start + NEXT.fetch_add(1, Ordering::Relaxed) % width;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener);
        }
    }
    bail!("no free port between {} and {} on 127.0.0.1; end what listens there", RANGE.start, RANGE.end)
}

/// A listener on this port, which ours had before.
///
/// A process that another thread starts meanwhile holds a copy of all our sockets from its fork to its exec, so the port may stay taken
/// for a moment after we have closed our own.
pub(crate) async fn take(port: u16) -> io::Result<TcpListener> {
    let (began, mut ticks) = (Instant::now(), tokio::time::interval(Duration::from_millis(5)));
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && began.elapsed() < FORKS_LAST => {
                ticks.tick().await;
            }
            taken => return taken,
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    #[tokio::test]
    async fn a_port_that_is_still_taken_is_waited_for() -> Result<()> {
        let ours = super::listen()?;
        let port = ours.local_addr()?.port();
        let taking = tokio::spawn(super::take(port));
        tokio::task::yield_now().await;
        assert!(!taking.is_finished());
        drop(ours);
        assert_eq!(taking.await??.local_addr()?.port(), port);
        Ok(())
    }
}
