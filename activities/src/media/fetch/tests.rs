mod server;

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;

use self::server::{Server, answer};
use super::*;

fn settings() -> Settings {
    Settings {
        allow_hosts: vec!["127.0.0.1".to_owned()],
        // A slow machine is no slow server.
        connect_timeout_ms: 60_000,
        read_timeout_ms: 60_000,
        total_timeout_ms: 120_000,
        max_photo_bytes: 1_000,
        max_image_bytes: 1_000,
    }
}

fn fetcher(settings: &Settings) -> Fetcher {
    // Another test may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Fetcher::new(settings).unwrap()
}

async fn fetch(settings: &Settings, url: &str) -> Result<Bytes, Error> {
    fetcher(settings).get(url, 1_000).await?.bytes().await
}

async fn refusal(allow_hosts: &[&str], url: &str) -> String {
    let allow_hosts = allow_hosts.iter().map(|host| (*host).to_owned()).collect();
    match fetch(&Settings { allow_hosts, ..settings() }, url).await {
        Err(Error::ForbiddenUrl { why }) => why,
        other => panic!("{url}: {other:?}"),
    }
}

#[tokio::test]
async fn a_body_comes_whole_with_its_headers() {
    let server =
        Server::start(|_| answer("200 OK", "Content-Length: 5\r\nContent-Type: image/png\r\n", "hello"))
            .await;

    let mut body = fetcher(&settings()).get(&server.url("/a.png?sig=1#part"), 5).await.unwrap();

    assert_eq!((body.content_length, body.content_type.as_deref()), (Some(5), Some("image/png")));
    assert_eq!(body.chunk().await.unwrap().unwrap(), "hello");
    assert_eq!(body.chunk().await.unwrap(), None);
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].starts_with("GET /a.png?sig=1 HTTP/1.1\r\n"), "{requests:?}");
    assert!(!requests[0].to_lowercase().contains("accept-encoding"), "{requests:?}");
}

#[tokio::test]
async fn a_chunked_body_has_no_length_in_advance() {
    let body = "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
    let server = Server::start(move |_| answer("200 OK", "Transfer-Encoding: chunked\r\n", body)).await;

    let body = fetcher(&settings()).get(&server.url("/"), 5).await.unwrap();

    assert_eq!(body.content_length, None);
    assert_eq!(body.bytes().await.unwrap(), "hello");
}

#[tokio::test]
async fn unsafe_urls_are_refused() {
    for (url, words) in [
        ("not a url ?secret", "no URL"),
        ("", "no URL"),
        ("ftp://example.com/a.png", "only http and https"),
        ("file:///etc/passwd", "only http and https"),
        ("data:image/png;base64,secret", "only http and https"),
        ("gopher://127.0.0.1/", "only http and https"),
        ("http://", "no URL"),
        ("http://user@example.com/", "user name"),
        ("http://:secret@example.com/", "user name"),
        ("http://example.com:22/", "ports 80 and 443"),
        ("https://example.com:8443/", "ports 80 and 443"),
        ("http://93.184.215.14:6379/", "ports 80 and 443"),
        // IPv4 in all its spellings.
        ("http://127.0.0.1/", "not public"),
        ("http://127.0.0.1./", "not public"),
        ("http://2130706433/", "not public"),
        ("http://0x7f.1/", "not public"),
        ("http://0x7f000001/", "not public"),
        ("http://127.1/", "not public"),
        ("http://017700000001/", "not public"),
        ("http://0177.0.0.1/", "not public"),
        ("http://%31%32%37.0.0.1/", "not public"),
        ("http://①②⑦.0.0.1/", "not public"),
        ("http://0/", "not public"),
        ("http://169.254.169.254/latest/meta-data/", "not public"),
        ("http://100.100.100.200/", "not public"),
        ("https://10.1.2.3/", "not public"),
        // IPv6, and IPv4 within it.
        ("http://[::1]/", "not public"),
        ("http://[::]/", "not public"),
        ("http://[0:0:0:0:0:0:0:1]/", "not public"),
        ("http://[::ffff:127.0.0.1]/", "not public"),
        ("http://[::ffff:7f00:1]/", "not public"),
        ("http://[::127.0.0.1]/", "not public"),
        ("http://[64:ff9b::7f00:1]/", "not public"),
        ("http://[64:ff9b:1::a00:1]/", "not public"),
        ("http://[2002:7f00:1::]/", "not public"),
        ("http://[fd00:ec2::254]/", "not public"),
        ("http://[fe80::1]/", "not public"),
        // A name that resolves to this machine: refused in the resolver.
        ("http://localhost/", "not public"),
        ("http://LOCALHOST/", "not public"),
    ] {
        let why = refusal(&[], url).await;
        assert!(why.contains(words), "{url}: {why}");
        assert!(!why.contains("secret"), "{url}: {why}");
    }
    let long = format!("http://example.com/{}", "a".repeat(9_000));
    assert!(refusal(&[], &long).await.contains("more than 8192"));
}

#[tokio::test]
async fn an_allowed_host_has_any_port_and_no_other_host_is_meant() {
    let server = Server::start(|_| answer("200 OK", "Content-Length: 2\r\n", "ok")).await;
    let port = server.port();
    let get = async |allow: &str, host: &str| {
        let allow_hosts = vec![allow.to_owned()];
        fetch(&Settings { allow_hosts, ..settings() }, &format!("http://{host}:{port}/")).await
    };

    for (allow, host) in [("127.0.0.1", "127.0.0.1"), ("0x7f.1", "2130706433"), ("LocalHost.", "LOCALHOST")] {
        assert_eq!(get(allow, host).await.unwrap(), "ok", "{allow} {host}");
    }
    for (allow, host) in [("127.0.0.1", "127.0.0.2"), ("127.0.0.1", "localhost"), ("localhost", "127.0.0.1")]
    {
        assert!(matches!(get(allow, host).await, Err(Error::ForbiddenUrl { .. })), "{allow} {host}");
    }
    // The port is open to an allowed name alone; the address stays refused even on port 80.
    assert!(refusal(&["127.0.0.1"], "http://localhost/").await.contains("not public"));
}

#[tokio::test]
async fn redirects_are_checked_like_the_first_url() {
    for (target, words) in [
        ("http://169.254.169.254/latest?secret", "not public"),
        ("http://localhost/", "not public"),
        ("//[::1]/", "not public"),
        ("http://user:secret@127.0.0.1/", "user name"),
        ("file:///etc/passwd", "only http"),
        ("http://example.com:22/", "ports"),
        ("http://[bad?secret", "no URL"),
    ] {
        let head = format!("Location: {target}\r\nContent-Length: 0\r\n");
        let server = Server::start(move |_| answer("302 Found", &head, "")).await;

        let why = refusal(&["127.0.0.1"], &server.url("/?secret")).await;

        assert!(why.contains(words), "{target}: {why}");
        assert!(!why.contains("secret"), "{target}: {why}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn three_redirects_are_followed_and_no_more() {
    let server = Server::start(|request| {
        let hops: u32 = request["GET /".len()..].split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        match hops {
            0 => answer("200 OK", "Content-Length: 5\r\n", "there"),
            n => {
                answer("307 Temporary Redirect", &format!("Location: {}\r\nContent-Length: 0\r\n", n - 1), "")
            }
        }
    })
    .await;

    assert_eq!(fetch(&settings(), &server.url("/3")).await.unwrap(), "there");
    assert_eq!(server.requests().len(), 4);
    assert!(refusal(&["127.0.0.1"], &server.url("/4")).await.contains("more than 3 redirects"));
    assert_eq!(server.requests().len(), 8);
}

#[tokio::test]
async fn other_statuses_are_errors_with_what_the_server_asks_for() {
    let past = httpdate::fmt_http_date(std::time::SystemTime::UNIX_EPOCH);
    for (line, head, status, retry_after) in [
        ("404 Not Found", String::new(), 404, None),
        ("403 Forbidden", String::new(), 403, None),
        ("410 Gone", String::new(), 410, None),
        ("500 Internal Server Error", String::new(), 500, None),
        ("202 Accepted", String::new(), 202, None),
        ("206 Partial Content", String::new(), 206, None),
        ("304 Not Modified", String::new(), 304, None),
        ("302 Found", String::new(), 302, None),
        ("429 Too Many Requests", "Retry-After: 7\r\n".to_owned(), 429, Some(Duration::from_secs(7))),
        ("503 Unavailable", "Retry-After: 99999999999\r\n".to_owned(), 503, Some(MAX_RETRY_AFTER)),
        ("503 Unavailable", "Retry-After: soon\r\n".to_owned(), 503, None),
        ("503 Unavailable", format!("Retry-After: {past}\r\n"), 503, Some(Duration::ZERO)),
    ] {
        let head = format!("{head}Content-Length: 0\r\n");
        let server = Server::start(move |_| answer(line, &head, "")).await;

        let error = fetch(&settings(), &server.url("/")).await.unwrap_err();

        assert_eq!(error, Error::Status { status, retry_after });
        assert_eq!(server.requests().len(), 1, "{line}: sent again");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let announced = Server::start(|_| answer("200 OK", "Content-Length: 1001\r\n", "")).await;
    // Chunks without end; the server's writing fails once the client has gone.
    let endless = Server::endless(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "64\r\n".to_owned() + &"x".repeat(100) + "\r\n",
    )
    .await;
    // Without any length the body ends with the connection.
    let unlimited = Server::endless("HTTP/1.1 200 OK\r\n\r\n", "x".repeat(100)).await;

    for server in [announced, endless, unlimited] {
        let error = fetch(&settings(), &server.url("/")).await.unwrap_err();
        assert_eq!(error, Error::TooLarge { limit_bytes: 1_000 });
    }
}

#[tokio::test]
async fn the_limit_is_exact_without_an_announced_length_too() {
    for (length, is_ok) in [(1_000, true), (1_001, false)] {
        let body = "x".repeat(length);
        let announced = format!("Content-Length: {length}\r\n");
        let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
        for (head, body) in [(announced, body), ("Transfer-Encoding: chunked\r\n".to_owned(), chunked)] {
            let server = Server::start(move |_| answer("200 OK", &head, &body)).await;

            let found = fetch(&settings(), &server.url("/")).await.map(|bytes| bytes.len());

            assert_eq!(found, if is_ok { Ok(length) } else { Err(Error::TooLarge { limit_bytes: 1_000 }) });
        }
    }
}

#[tokio::test]
async fn a_cut_body_is_told_from_a_whole_one() {
    let cut = Server::start(|_| answer("200 OK", "Content-Length: 10\r\n", "half")).await;
    let cut_chunks =
        Server::start(|_| answer("200 OK", "Transfer-Encoding: chunked\r\n", "4\r\nhalf\r\n")).await;

    assert_eq!(fetch(&settings(), &cut.url("/")).await, Err(Error::Cut { got: 4, expected: Some(10) }));
    assert_eq!(fetch(&settings(), &cut_chunks.url("/")).await, Err(Error::Cut { got: 4, expected: None }));
    assert_eq!(cut.requests().len(), 1);
}

#[tokio::test]
async fn a_stream_of_the_body_ends_as_the_body_does() {
    let whole = Server::start(|_| answer("200 OK", "Content-Length: 4\r\n", "half")).await;
    let cut = Server::start(|_| answer("200 OK", "Content-Length: 10\r\n", "half")).await;
    let read = async |server: &Server| {
        let incoming = fetcher(&settings()).get(&server.url("/"), 1_000).await.unwrap().into_incoming();
        let chunks = incoming.stream.map_err(|error| error.to_string()).try_collect::<Vec<Bytes>>().await;
        (incoming.length, chunks.map(|chunks| chunks.concat()))
    };

    assert_eq!(read(&whole).await, (Some(4), Ok(b"half".to_vec())));
    let error = Error::Cut { got: 4, expected: Some(10) }.to_string();
    assert_eq!(read(&cut).await, (Some(10), Err(error)));
}

#[tokio::test]
async fn no_answer_is_unreachable_and_keeps_the_secret() {
    let closes = Server::start(|_| Vec::new()).await;
    let unused = Server::start(|_| Vec::new()).await.close().await;
    let nonsense = Server::start(|_| b"SSH-2.0-OpenSSH\r\n".to_vec()).await;
    for url in [
        closes.url("/a?sig=secret"),
        unused + "/a?sig=secret",
        nonsense.url("/a?sig=secret"),
        // TLS to a server that speaks none.
        nonsense.url("/a?sig=secret").replace("http:", "https:"),
        "http://name.invalid/a?sig=secret".to_owned(),
    ] {
        match fetch(&settings(), &url).await {
            Err(Error::Unreachable { why }) => {
                assert!(why.contains("/a: ") && !why.contains("secret"), "{url}: {why}");
            }
            other => panic!("{url}: {other:?}"),
        }
    }
    assert_eq!(closes.requests().len(), 1, "sent again");
}

#[tokio::test]
async fn a_server_that_stalls_is_given_up() {
    let silent = Server::hanging("").await;
    let stalling = Server::hanging("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    let quick = Settings { read_timeout_ms: 50, ..settings() };
    let short = Settings { total_timeout_ms: 50, ..settings() };

    for server in [&silent, &stalling] {
        for (settings, words) in [(&quick, "timed out"), (&short, "not done within 50 ms")] {
            match fetch(settings, &server.url("/a?sig=secret")).await {
                Err(Error::Unreachable { why }) => {
                    assert!(why.contains(words) && !why.contains("secret"), "{why}")
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// One byte now and then keeps the read timeout from striking; the total one does.
#[tokio::test]
async fn a_server_that_trickles_is_given_up() {
    let server =
        Server::trickling("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", Duration::from_millis(5)).await;
    let settings = Settings { total_timeout_ms: 200, ..settings() };

    match fetch(&settings, &server.url("/")).await {
        Err(Error::Unreachable { why }) => assert!(why.contains("not done within 200 ms"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_private_address_among_public_ones_refuses_the_name() {
    let allowed = AllowedHosts::parse(&["in.house".to_owned()]).unwrap();
    let addresses = ["8.8.8.8:0", "10.0.0.1:0"].map(|address| address.parse().unwrap());

    assert!(allowed.check_resolved("evil.example", &addresses).is_err());
    assert!(allowed.check_resolved("good.example", &addresses[..1]).is_ok());
    assert!(allowed.check_resolved("in.house", &addresses).is_ok());
}

#[test]
fn an_answer_from_a_private_or_unknown_address_is_refused() {
    let allowed =
        AllowedHosts::parse(&["in.house".to_owned(), "::1".to_owned(), "[fd00::1]".to_owned()]).unwrap();
    let check = |url: &str, peer: Option<&str>| {
        allowed.check_peer(&Url::parse(url).unwrap(), peer.map(|peer| peer.parse().unwrap())).is_ok()
    };

    assert!(check("http://good.example/", Some("8.8.8.8:80")));
    assert!(!check("http://good.example/", Some("127.0.0.1:80")));
    assert!(!check("http://good.example/", Some("[::ffff:127.0.0.1]:80")));
    assert!(!check("http://good.example/", None));
    assert!(check("http://in.house./", Some("10.0.0.1:80")));
    assert!(check("http://[::1]/", Some("[::1]:80")));
    assert!(check("http://[fd00:0::1]/", Some("[fd00::1]:80")));
}

#[test]
fn allowed_hosts_come_as_a_list_or_with_commas() {
    let read = |hosts: serde_json::Value| {
        let text = serde_json::json!({
            "allow_hosts": hosts, "connect_timeout_ms": 1, "read_timeout_ms": 1, "total_timeout_ms": 1,
            "max_photo_bytes": 1, "max_image_bytes": 1,
        });
        serde_json::from_value::<Settings>(text).map(|settings| settings.allow_hosts)
    };

    let both = ["127.0.0.1", "in.house"];
    assert_eq!(read(serde_json::json!(both)).unwrap(), both);
    assert_eq!(read(" 127.0.0.1, in.house,".into()).unwrap(), both);
    assert_eq!(read("".into()).unwrap(), [""; 0]);
    assert!(read(7.into()).unwrap_err().to_string().contains("with commas"));
}

#[test]
fn an_allowed_host_that_is_none_is_an_error() {
    for host in ["http://in.house", "in.house:9000", "in house", "127.0.0.256"] {
        let error = AllowedHosts::parse(&[host.to_owned()]).unwrap_err();
        assert!(error.why.contains(host), "{host}: {error}");
    }
}

#[test]
fn printed_urls_hold_no_secrets() {
    for (url, printed) in [
        (
            "https://me:pw@bucket.example:444/a/b.png?X-Amz-Signature=1#x",
            "https://bucket.example:444/a/b.png",
        ),
        ("data:image/png;base64,AAAA", "data:…"),
        ("what?secret", "(not a URL)"),
    ] {
        assert_eq!(redacted(url), printed);
    }
    assert_eq!(redacted(&format!("http://a/{}", "b".repeat(300))).chars().count(), 201);
}
