//! The proxy, between a client and an upstream that sends back what it gets.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sandbox::{Folder, Postgres, Provider, ProviderFault, Proxy, Rule, Temporal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

use crate::client::*;

/// Sends back what it gets. Says how each of its connections ended.
struct Echo {
    address: SocketAddr,
    ends: mpsc::UnboundedReceiver<io::Result<()>>,
}

impl Echo {
    async fn start() -> Result<Echo> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (say, ends) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let say = say.clone();
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let end = tokio::io::copy(&mut from, &mut to).await;
                    // Nobody may be listening any more.
                    let _ = say.send(end.map(|_| ()));
                });
            }
        });
        Ok(Echo { address, ends })
    }

    async fn end(&mut self) -> Result<io::Result<()>> {
        self.ends.recv().await.context("the echo has gone")
    }
}

/// Says something and hears it back.
async fn exchange(stream: &mut TcpStream, what: &[u8]) -> io::Result<()> {
    stream.write_all(what).await?;
    let mut heard = vec![0; what.len()];
    stream.read_exact(&mut heard).await?;
    assert!(heard == what);
    Ok(())
}

/// What a client meets while the network is cut: its first word is not answered.
async fn refused(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address).await else { return true };
    exchange(&mut stream, b"hello?").await.is_err()
}

#[tokio::test]
async fn bytes_pass_both_ways_and_an_end_is_an_end() -> Result<()> {
    let mut echo = Echo::start().await?;
    let proxy = Proxy::start(format!("localhost:{}", echo.address.port())).await?;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();

    let mut stream = TcpStream::connect(proxy.address()).await?;
    exchange(&mut stream, b"hello").await?;
    assert_eq!(proxy.connections(), 1);
    let (mut from, mut to) = stream.split();
    let mut got = Vec::new();
    let (written, read) = tokio::join!(
        async {
            to.write_all(&sent).await?;
            to.shutdown().await
        },
        from.read_to_end(&mut got)
    );

    written?;
    read?;
    assert!(got == sent);
    assert!(echo.end().await?.is_ok());
    eventually("the connection is closed", async || proxy.connections() == 0).await
}

#[tokio::test]
async fn what_is_under_way_at_the_end_arrives() -> Result<()> {
    let echo = Echo::start().await?;
    let proxy = Proxy::start(echo.address).await?;
    let sent = vec![7; 100_000];

    // All is said and done before the client reads, and little of it fits its buffer: the rest waits in the proxy's.
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let mut stream = socket.connect(proxy.address()).await?;
    stream.write_all(&sent).await?;
    stream.shutdown().await?;
    eventually("the connection is closed", async || proxy.connections() == 0).await?;
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await?;

    assert!(got == sent);
    Ok(())
}

#[tokio::test]
async fn a_cut_resets_both_sides_and_lets_nobody_through_until_mended() -> Result<()> {
    let mut echo = Echo::start().await?;
    let proxy = Proxy::start(echo.address).await?;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(proxy.address()).await?;
        exchange(&mut stream, b"hello").await?;
        streams.push(stream);
    }

    proxy.cut().await;

    assert_eq!(proxy.connections(), 0);
    for stream in &mut streams {
        let seen = stream.read_u8().await.err().context("something came")?;
        assert_eq!(seen.kind(), ErrorKind::ConnectionReset);
        let seen = echo.end().await?.err().context("an end came")?;
        assert_eq!(seen.kind(), ErrorKind::ConnectionReset);
    }
    assert!(refused(proxy.address()).await);
    assert!(refused(proxy.address()).await);
    proxy.mend();
    let mut stream = TcpStream::connect(proxy.address()).await?;
    exchange(&mut stream, b"hello again").await?;
    Ok(())
}

#[tokio::test]
async fn a_stall_stops_all_and_loses_nothing() -> Result<()> {
    let echo = Echo::start().await?;
    let proxy = Proxy::start(echo.address).await?;
    let mut old = TcpStream::connect(proxy.address()).await?;
    exchange(&mut old, b"hello").await?;

    proxy.stall();
    let mut new = TcpStream::connect(proxy.address()).await?;
    old.write_all(b"old").await?;
    new.write_all(b"new").await?;
    // Time enough for many answers.
    let mut direct = TcpStream::connect(echo.address).await?;
    for _ in 0..100 {
        exchange(&mut direct, b"hello").await?;
    }
    let mut heard = [0; 3];
    for stream in [&old, &new] {
        let nothing = stream.try_read(&mut heard).err().context("it flows")?;
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    }
    proxy.mend();

    old.read_exact(&mut heard).await?;
    assert_eq!(&heard, b"old");
    new.read_exact(&mut heard).await?;
    assert_eq!(&heard, b"new");
    Ok(())
}

#[tokio::test]
async fn what_is_stalled_can_be_cut() -> Result<()> {
    let echo = Echo::start().await?;
    let proxy = Proxy::start(echo.address).await?;
    proxy.stall();
    let mut stream = TcpStream::connect(proxy.address()).await?;
    stream.write_all(b"hello").await?;

    proxy.cut().await;

    let seen = stream.read_u8().await.err().context("something came")?;
    assert_eq!(seen.kind(), ErrorKind::ConnectionReset);
    Ok(())
}

#[tokio::test]
async fn a_delay_is_added_in_each_direction() -> Result<()> {
    let echo = Echo::start().await?;
    let proxy = Proxy::start(echo.address).await?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    proxy.set_delay(Duration::from_millis(50));

    let began = Instant::now();
    exchange(&mut stream, b"hello").await?;
    assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());

    proxy.set_delay(Duration::from_secs(3600));
    proxy.set_delay(Duration::ZERO);
    exchange(&mut stream, b"hello").await?;
    Ok(())
}

#[tokio::test]
async fn a_rate_bounds_what_flows() -> Result<()> {
    let echo = Echo::start().await?;
    let proxy = Proxy::start(echo.address).await?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    exchange(&mut stream, b"hello").await?;
    proxy.set_rate(Some(10_000));

    let began = Instant::now();
    exchange(&mut stream, &[7; 2_000]).await?;
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());

    // At a byte a second this would take eleven days.
    proxy.set_rate(Some(0));
    proxy.set_rate(None);
    exchange(&mut stream, &[7; 100_000]).await?;
    Ok(())
}

#[tokio::test]
async fn an_upstream_that_resets_or_is_away_is_seen_as_a_reset() -> Result<()> {
    let mut provider = Provider::start(aggregator()).await?;
    let proxy = Proxy::start(provider.url().trim_start_matches("http://")).await?;
    let call = || {
        let url = format!("http://{}/v1/images/generations", proxy.address());
        let request = http().post(url).bearer_auth(provider.settings().api_key);
        request.json(&asks(&provider, "x", 1)).send()
    };
    provider.faults().add(Rule::new(ProviderFault::ResetAfterBilling).times(1));

    let reset = call().await.err().context("an answer came")?;
    let good = call().await?;

    assert!(format!("{reset:?}").contains("ConnectionReset"), "{reset:?}");
    assert_eq!((good.status().as_u16(), provider.bill().calls), (200, 2));
    provider.go_down().await;
    assert!(refused(proxy.address()).await);
    provider.come_back().await?;
    assert_eq!(http().get(format!("http://{}/_meter", proxy.address())).send().await?.status(), 200);
    provider.stop().await
}

#[tokio::test]
async fn postgres_and_grpc_pass() -> Result<()> {
    let folder = Folder::create()?;
    let (postgres_folder, temporal_folder) = (folder.sub("postgres")?, folder.sub("temporal")?);
    let (postgres, temporal) = tokio::try_join!(
        Box::pin(Postgres::start(&postgres_folder)),
        Box::pin(Temporal::start(&temporal_folder, &[], true))
    )?;
    let url = url::Url::parse(&postgres.url("postgres"))?;
    let database = Proxy::start(format!("127.0.0.1:{}", url.port().context("no port")?)).await?;
    let frontend = Proxy::start(temporal.address()).await?;

    let mut stream = TcpStream::connect(database.address()).await?;
    let startup = "user\0darkroom\0database\0postgres\0\0";
    let mut hello = u32::try_from(startup.len() + 8)?.to_be_bytes().to_vec();
    hello.extend(196_608_u32.to_be_bytes());
    hello.extend(startup.as_bytes());
    stream.write_all(&hello).await?;
    assert_eq!(stream.read_u8().await?, b'R');

    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build()?;
    let method = "temporal.api.workflowservice.v1.WorkflowService/GetSystemInfo";
    let asked = client.post(format!("http://{}/{method}", frontend.address()));
    // An empty message: not compressed, of length 0.
    let asked = asked.header("content-type", "application/grpc").header("te", "trailers").body(vec![0; 5]);
    let answer = asked.send().await?;
    let told = answer.bytes().await?;
    ensure!(String::from_utf8_lossy(&told).contains("1."), "no server version: {told:?}");

    drop((postgres_folder, temporal_folder));
    tokio::try_join!(postgres.stop(), temporal.stop())?;
    folder.remove().await
}
