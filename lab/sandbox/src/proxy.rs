//! A network that fails on demand: a TCP proxy on loopback, to be put between any two parts. It passes bytes, so it serves HTTP, gRPC and
//! Postgres alike.
//!
//! ```no_run
//! # use sandbox::{Postgres, Proxy};
//! # async fn example() -> anyhow::Result<()> {
//! let proxy = Proxy::start("127.0.0.1:5432").await?;
//! let url = format!("postgres://darkroom@{}/postgres", proxy.address());
//! proxy.cut().await;
//! proxy.mend();
//! # Ok(()) }
//! ```

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::http::{end_when_closed, reset_when_closed};

/// What is read, and passed on, at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// With a rate, chunks are so small that this many go in a second.
const CHUNKS_PER_SECOND: u64 = 20;

/// A running proxy. Dropping it resets its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    wires: Arc<Wires>,
    accepting: JoinHandle<()>,
}

/// What all connections have in common.
#[derive(Debug)]
struct Wires {
    upstream: String,
    link: watch::Sender<Link>,
    open: watch::Sender<usize>,
}

/// The network's condition.
#[derive(Debug, Clone, Copy)]
struct Link {
    state: State,
    delay: Duration,
    bytes_per_second: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Flows,
    Stalled,
    Cut,
}

impl Proxy {
    /// Listens on a free loopback port and passes what comes there on to `upstream`: a socket address, or `host:port`. Nobody need listen
    /// there yet: it is looked up and connected to anew for each connection.
    pub async fn start(upstream: impl ToString) -> Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("a proxy cannot listen")?;
        let address = listener.local_addr().context("the listener has no address")?;
        let link = Link { state: State::Flows, delay: Duration::ZERO, bytes_per_second: None };
        let wires = Arc::new(Wires {
            upstream: upstream.to_string(),
            link: watch::Sender::new(link),
            open: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, wires.clone()));
        Ok(Proxy { address, wires, accepting })
    }

    /// Where it listens. It never changes.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections are open through it.
    pub fn connections(&self) -> usize {
        *self.wires.open.borrow()
    }

    /// Resets all open connections, both ends of them, and until [`Proxy::mend`] each new one at once. Returned: they are reset.
    pub async fn cut(&self) {
        self.turn(State::Cut);
        // An error would mean that the sender has gone, but we hold it.
        let _ = self.wires.open.subscribe().wait_for(|open| *open == 0).await;
    }

    /// Nothing flows until [`Proxy::mend`], in no connection and no direction. Whoever writes sees nothing of it while the system's buffers
    /// have room; new connections are accepted, and that is all.
    pub fn stall(&self) {
        self.turn(State::Stalled);
    }

    /// Ends a cut or a stall: what was stalled flows on, nothing of it lost. Delay and rate stay.
    pub fn mend(&self) {
        self.turn(State::Flows);
    }

    /// From now on each chunk (at most 64 KiB) takes so much longer, in each direction; zero at first. One waits for the other, so it bounds
    /// the rate too.
    pub fn set_delay(&self, delay: Duration) {
        self.wires.link.send_modify(|link| link.delay = delay);
    }

    /// From now on each direction of each connection passes so many bytes a second; `None`, as at first: as many as come.
    pub fn set_rate(&self, bytes_per_second: Option<u64>) {
        self.wires.link.send_modify(|link| link.bytes_per_second = bytes_per_second.map(|rate| rate.max(1)));
    }

    fn turn(&self, state: State) {
        self.wires.link.send_modify(|link| link.state = state);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The set of connections lives in this task and goes with it.
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, wires: Arc<Wires>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let open = Open::new(wires.clone());
                    connections.spawn(async move { open.serve(client).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
}

/// A connection; counted while it is there.
struct Open(Arc<Wires>);

impl Open {
    fn new(wires: Arc<Wires>) -> Open {
        wires.open.send_modify(|open| *open += 1);
        Open(wires)
    }

    /// Serves the connection to its end, or until it is cut. An error of one side is a reset of both.
    async fn serve(&self, client: TcpStream) {
        let mut link = self.0.link.subscribe();
        reset_when_closed(&client);
        tokio::select! {
            biased;
            _ = link.wait_for(|link| link.state == State::Cut) => {}
            // Its error has been passed on: by closing.
            _ = self.pass(client) => {}
        }
    }

    async fn pass(&self, mut client: TcpStream) -> io::Result<()> {
        self.flows().await;
        let mut upstream = TcpStream::connect(&self.0.upstream).await?;
        reset_when_closed(&upstream);
        client.set_nodelay(true)?;
        upstream.set_nodelay(true)?;
        let (from_client, to_client) = client.split();
        let (from_upstream, to_upstream) = upstream.split();
        tokio::try_join!(self.pump(from_client, to_upstream), self.pump(from_upstream, to_client))?;
        // Both sides have said their last word; a reset could overtake it.
        end_when_closed(&client);
        end_when_closed(&upstream);
        Ok(())
    }

    /// One direction. An end is passed on as an end: the other direction may go on.
    async fn pump(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            from.readable().await?;
            let most = match self.link().bytes_per_second {
                Some(rate) => usize::try_from(rate / CHUNKS_PER_SECOND).unwrap_or(CHUNK_BYTES),
                None => CHUNK_BYTES,
            };
            let length = from.read(&mut chunk[..most.clamp(1, CHUNK_BYTES)]).await?;
            let link = self.link();
            let paced =
                link.bytes_per_second.map(|rate| Duration::from_secs_f64(length as f64 / rate as f64));
            sleep(link.delay + paced.unwrap_or_default()).await;
            self.flows().await;
            if length == 0 {
                return to.shutdown().await;
            }
            to.write_all(&chunk[..length]).await?;
        }
    }

    /// Waits while it is stalled.
    async fn flows(&self) {
        // An error would mean that the sender has gone, but we hold it.
        let _ = self.0.link.subscribe().wait_for(|link| link.state == State::Flows).await;
    }

    fn link(&self) -> Link {
        *self.0.link.borrow()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}
