//! HTTP on loopback: a client, and a server whose connections can be cut.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::port;

/// How long a request under way may take when the server stops; then its connection is cut.
const STOP_WITHIN: Duration = Duration::from_millis(500);

/// A client without proxies, retries and redirects.
pub(crate) fn client() -> Result<reqwest::Client> {
    // reqwest is built without a TLS provider and panics if there is none. An error means that there is one already: fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::limited(3))
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(30))
        .build()
        .context("cannot build an HTTP client")
}

/// The connection a request came on; handlers get it as an extension.
#[derive(Debug, Clone)]
pub(crate) struct Connection(Arc<Wire>);

#[derive(Debug)]
struct Wire {
    socket: Option<OwnedFd>,
    cut: Notify,
}

impl Connection {
    fn of(stream: &TcpStream) -> Connection {
        // A second descriptor of the same socket: hyper owns the first.
        let socket = stream.as_fd().try_clone_to_owned().ok();
        Connection(Arc::new(Wire { socket, cut: Notify::new() }))
    }

    /// Cuts it: the client sees a reset, whatever it was waiting for.
    pub(crate) fn reset(&self) {
        if let Some(socket) = &self.0.socket {
            reset_when_closed(socket);
        }
        self.0.cut.notify_one();
    }
}

/// Closing this socket will send RST instead of FIN: it may not linger. Should that fail, the other side sees an end: as good.
pub(crate) fn reset_when_closed(socket: &impl AsFd) {
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// Closing this socket will send FIN again, after what is still to be sent.
pub(crate) fn end_when_closed(socket: &impl AsFd) {
    let _ = SockRef::from(socket).set_linger(None);
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Serves on a free loopback port, or on `port` if given (to come back where one was before).
    pub(crate) async fn start(port: Option<u16>, router: Router) -> Result<Server> {
        let listener = match port {
            None => port::listen()?,
            Some(port) => {
                port::take(port).await.with_context(|| format!("cannot listen on 127.0.0.1:{port} again"))?
            }
        };
        listener.set_nonblocking(true).context("the listener")?;
        let listener = TcpListener::from_std(listener).context("the listener")?;
        let address = listener.local_addr().context("the listener has no address")?;
        let (stop, stopped) = oneshot::channel();
        let accepting = tokio::spawn(accept(listener, router, stopped));
        Ok(Server { address, stop: Some(stop), accepting })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, lets requests finish for a moment, cuts the rest. Harmless after [`Server::cut`].
    pub(crate) async fn stop(&mut self) -> Result<()> {
        if self.stop.take().is_none() {
            return Ok(());
        }
        (&mut self.accepting).await.context("the server's task")
    }

    /// Stops listening and cuts all connections, as if the process had died.
    pub(crate) async fn cut(&mut self) {
        if self.stop.take().is_some() {
            // The set of connections lives in this task and goes with it.
            self.accepting.abort();
            // An error says that it was aborted.
            let _ = (&mut self.accepting).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, router: Router, mut stopped: oneshot::Receiver<()>) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            _ = &mut stopped => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let _ = stream.set_nodelay(true);
        let connection = Connection::of(&stream);
        let service = TowerToHyperService::new(router.clone().layer(Extension(connection.clone())));
        let builder = Builder::new(TokioExecutor::new());
        let served = graceful.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
        connections.spawn(async move {
            tokio::select! {
                // An error here is a client that went away.
                _ = served => {}
                () = connection.0.cut.notified() => {}
            }
        });
    }
    drop(listener);
    let _ = timeout(STOP_WITHIN, graceful.shutdown()).await;
    connections.shutdown().await;
}
