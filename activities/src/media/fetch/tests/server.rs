//! A server of few words: reads one request a connection, writes what it was told to, and remembers the requests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(super) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// A whole answer; the connection is closed behind it.
pub(super) fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n{body}").into_bytes()
}

impl Server {
    /// Answers each request with what the function makes of it, and closes.
    pub(super) async fn start(reply: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let reply = Arc::new(reply);
        Self::serve(move |mut stream, request| {
            let reply = Arc::clone(&reply);
            async move {
                let _ = stream.write_all(&reply(&request)).await;
            }
        })
        .await
    }

    /// Writes the beginning, then nothing, and keeps the connection.
    pub(super) async fn hanging(beginning: &'static str) -> Self {
        Self::serve(move |mut stream, _| async move {
            let _ = stream.write_all(beginning.as_bytes()).await;
            std::future::pending::<()>().await;
        })
        .await
    }

    /// Writes the beginning, then the same piece until the client has gone.
    pub(super) async fn endless(beginning: &'static str, piece: String) -> Self {
        Self::serve(move |mut stream, _| {
            let piece = piece.clone();
            async move {
                let _ = stream.write_all(beginning.as_bytes()).await;
                while stream.write_all(piece.as_bytes()).await.is_ok() {}
            }
        })
        .await
    }

    /// Writes the beginning, then one byte in each pause until the client has gone.
    pub(super) async fn trickling(beginning: &'static str, pause: Duration) -> Self {
        Self::serve(move |mut stream, _| async move {
            let _ = stream.write_all(beginning.as_bytes()).await;
            let mut interval = tokio::time::interval(pause);
            while stream.write_all(b"x").await.is_ok() {
                interval.tick().await;
            }
        })
        .await
    }

    async fn serve<F: Future<Output = ()> + Send + 'static>(
        handle: impl Fn(TcpStream, String) -> F + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let handle = Arc::new(handle);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (seen, handle) = (Arc::clone(&seen), Arc::clone(&handle));
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            // A TLS handshake starts with the byte 22; nobody here goes on with it.
                            Ok(22) => break,
                            Ok(byte) if request.len() < 10_000 => request.push(byte),
                            Ok(_) | Err(_) => break,
                        }
                    }
                    let request = String::from_utf8_lossy(&request).into_owned();
                    seen.lock().unwrap().push(request.clone());
                    handle(stream, request).await;
                });
            }
        });
        Self { address, requests, task }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Stops listening; gives the URL where nobody answers any more.
    pub(super) async fn close(mut self) -> String {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.url("")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
