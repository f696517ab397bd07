//! A network between two parts that can be cut, stalled and slowed: a TCP proxy on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What passes at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// How the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fair,
    /// Connections are reset, new ones too.
    Cut,
    /// Connections are taken and live on; nothing passes.
    Stalled,
    /// Each chunk takes this much longer.
    Slow(Duration),
}

/// A running proxy. It ends with its handle.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    open: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts one before `upstream`, host:port, on a free loopback port.
    pub async fn start(upstream: &str) -> Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port for a proxy")?;
        let address = listener.local_addr().context("the listener has no address")?;
        let (weather, open) = (watch::Sender::new(Weather::Fair), Arc::new(AtomicUsize::new(0)));
        let accepting =
            tokio::spawn(accept(listener, upstream.to_owned(), weather.subscribe(), open.clone()));
        Ok(Proxy { address, weather, open, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Resets every connection, and every new one, until [`Proxy::mend`].
    pub fn cut(&self) {
        self.weather.send_replace(Weather::Cut);
    }

    /// Nothing passes until [`Proxy::mend`], and nobody is told.
    pub fn stall(&self) {
        self.weather.send_replace(Weather::Stalled);
    }

    /// Everything takes this much longer, in each direction, until [`Proxy::mend`].
    pub fn slow(&self, delay: Duration) {
        self.weather.send_replace(Weather::Slow(delay));
    }

    /// All is well again. What was stalled goes on.
    pub fn mend(&self) {
        self.weather.send_replace(Weather::Fair);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    upstream: String,
    weather: watch::Receiver<Weather>,
    open: Arc<AtomicUsize>,
) {
    // Connections end with this task.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let downstream = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((downstream, _)) => downstream,
                Err(_) => continue,
            },
        };
        let (upstream, mut weather, counted) = (upstream.clone(), weather.clone(), Counted::new(&open));
        connections.spawn(async move {
            let _counted = counted;
            if *weather.borrow() == Weather::Cut {
                return reset(&downstream);
            }
            // Nobody there: as there, the client sees its connection end.
            let Ok(upstream) = TcpStream::connect(&upstream).await else { return reset(&downstream) };
            join(downstream, upstream, &mut weather).await;
        });
    }
}

/// Passes both ways until both sides have ended or the weather cuts it.
async fn join(downstream: TcpStream, upstream: TcpStream, weather: &mut watch::Receiver<Weather>) {
    let (_, _) = (downstream.set_nodelay(true), upstream.set_nodelay(true));
    // Second descriptors of the same sockets: the halves own the first.
    let sockets = [&downstream, &upstream].map(|stream| stream.as_fd().try_clone_to_owned());
    let (down_in, down_out) = downstream.into_split();
    let (up_in, up_out) = upstream.into_split();
    let (there, back) = (pass(down_in, up_out, weather.clone()), pass(up_in, down_out, weather.clone()));
    tokio::select! {
        _ = async { tokio::join!(there, back) } => {}
        _ = weather.wait_for(|weather| *weather == Weather::Cut) => {
            sockets.iter().flatten().for_each(reset);
        }
    }
}

/// Passes one way until the end.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut weather: watch::Receiver<Weather>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        let Ok(now) = weather.wait_for(|weather| *weather != Weather::Stalled).await.map(|now| *now) else {
            break;
        };
        if let Weather::Slow(delay) = now {
            tokio::time::sleep(delay).await;
        }
        let Some(bytes) = chunk.get(..read) else { break };
        if to.write_all(bytes).await.is_err() {
            break;
        }
    }
    // The other way may go on.
    let _ = to.shutdown().await;
}

/// Closing a socket that may not linger sends RST.
fn reset(socket: &impl AsFd) {
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// A connection that is open.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Counted {
        open.fetch_add(1, Ordering::Relaxed);
        Counted(open.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
