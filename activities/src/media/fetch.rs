//! Fetches files from URLs that others gave: a user's photo, a provider's images.
//!
//! Such a URL is an order to this machine to connect somewhere. The URL's author may want to reach
//! something that only this machine can reach: a cloud's metadata service, a database, a neighbour.
//! So one client makes all such fetches. The client connects to public addresses only, unless the
//! configuration names the host. Three things are checked:
//! - the URL (scheme, port, user name, IP literals in any spelling), before each request and after
//!   each redirect;
//! - the addresses of a name, in the resolver of the connection itself;
//! - the address that was really connected to, before a byte of the answer is used.
//!
//! The connector dials exactly the addresses that were checked. So a second answer of the name
//! server ("rebinding") can't change them.
//!
//! Query strings of signed URLs are credentials, so no message here holds one.

mod address;
mod body;
mod error;
mod host;
mod redacted;
mod resolve;
mod url;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ::url::Url;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, LOCATION};
use serde::{Deserialize, Deserializer};
use tokio::time::{Instant, timeout_at};

pub use self::body::Body;
pub use self::error::{Error, Misconfigured};
pub use redacted::redacted;

use self::host::AllowedHosts;
use crate::retry_after;

/// Most redirects of one fetch. Each target is checked like the first URL. Signed URLs of objects
/// need none or one.
const MAX_REDIRECTS: usize = 3;
/// Longest Retry-After that is passed on. A longer one is shortened to this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Most characters of a Content-Type header that are kept.
const MAX_CONTENT_TYPE_CHARS: usize = 128;
/// Most idle connections to one host. A batch's images usually come from one host.
const MAX_IDLE_PER_HOST: usize = 8;

/// Section `[fetch]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Hosts that may have private addresses and any port: names, or IP addresses as they stand in
    /// URLs. A name allows every address that it resolves to. An address allows URLs with that
    /// address, and no names that resolve to it. The value is a list, or one string with commas, as
    /// in an environment variable.
    #[serde(deserialize_with = "list_or_commas")]
    pub allow_hosts: Vec<String>,
    /// Timeout for each connection, including name resolution and TLS.
    pub connect_timeout_ms: u64,
    /// Timeout for the first chunk of an answer, and for each further one.
    pub read_timeout_ms: u64,
    /// Timeout for one fetch with all redirects and the whole body.
    pub total_timeout_ms: u64,
    /// Largest photo of a user, in bytes. The caller passes it to [`Fetcher::get`].
    pub max_photo_bytes: u64,
    /// Largest generated image, in bytes. The caller passes it to [`Fetcher::get`].
    pub max_image_bytes: u64,
}

/// Client for URLs that others gave. Clones are cheap and share connections.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: reqwest::Client,
    allowed: Arc<AllowedHosts>,
    total_timeout: Duration,
}

impl Fetcher {
    /// Makes a client, without connecting anywhere. Without an installed rustls crypto provider,
    /// reqwest panics.
    ///
    /// # Errors
    /// An allowed host is no host, or the machine has no root certificates.
    pub fn new(settings: &Settings) -> Result<Self, Misconfigured> {
        let allowed = Arc::new(AllowedHosts::parse(&settings.allow_hosts)?);
        // `no_proxy` is needed, because reqwest obeys proxies of the environment by default.
        // Decompression and cookies are off, because their features of reqwest are. Redirects are
        // followed in `get`, where each can be checked. Temporal makes the retries.
        let client = reqwest::Client::builder()
            .user_agent(concat!("darkroom/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(Duration::from_millis(settings.connect_timeout_ms))
            .read_timeout(Duration::from_millis(settings.read_timeout_ms))
            .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
            .dns_resolver(resolve::Resolver::new(Arc::clone(&allowed)))
            .build()
            .map_err(|error| Misconfigured { why: error::chain(&error) })?;
        Ok(Self { client, allowed, total_timeout: Duration::from_millis(settings.total_timeout_ms) })
    }

    /// Asks a server for `url`. Returns the answer's body, of at most `max_bytes`, still unread.
    ///
    /// # Errors
    /// Any [`Error`] but `Cut`. Only status 200 is a success, because a 206 is part of a file, and
    /// a 202 is no file yet.
    pub async fn get(&self, url: &str, max_bytes: u64) -> Result<Body, Error> {
        let deadline = Instant::now() + self.total_timeout;
        let mut url = self.allowed.checked(url::parse(url)?)?;
        for _ in 0..=MAX_REDIRECTS {
            let request =
                self.client.get(url.clone()).header(ACCEPT, "image/png, image/jpeg, image/webp, */*;q=0.1");
            let response = match timeout_at(deadline, request.send()).await {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => return Err(error::of_request(error, &url)),
                Err(_) => return Err(error::too_slow(&url, self.total_timeout)),
            };
            self.allowed.check_peer(&url, response.remote_addr())?;
            match response.status() {
                StatusCode::OK => return body_of(response, url, deadline, self.total_timeout, max_bytes),
                status => match redirect_target(status, response.headers(), &url)? {
                    Some(target) => url = self.allowed.checked(target)?,
                    None => {
                        let wait = retry_after::of_headers(response.headers());
                        let retry_after = wait.map(|wait| wait.min(MAX_RETRY_AFTER));
                        return Err(Error::Status { status: status.as_u16(), retry_after });
                    }
                },
            }
        }
        Err(Error::ForbiddenUrl {
            why: format!("more than {MAX_REDIRECTS} redirects, the last to {}", redacted(url.as_str())),
        })
    }
}

fn body_of(
    response: reqwest::Response,
    url: Url,
    deadline: Instant,
    total_timeout: Duration,
    max_bytes: u64,
) -> Result<Body, Error> {
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.map(|value| value.chars().take(MAX_CONTENT_TYPE_CHARS).collect());
    Body::new(response, url, content_type, body::Limits { deadline, total_timeout, max_bytes })
}

/// Returns the target of a redirect. Returns `None` for any other answer, and for a redirect
/// without a `Location`.
fn redirect_target(status: StatusCode, headers: &HeaderMap, from: &Url) -> Result<Option<Url>, Error> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = headers.get(LOCATION) else { return Ok(None) };
    let unreadable =
        || Error::ForbiddenUrl { why: format!("{} redirects to what is no URL", redacted(from.as_str())) };
    let location = location.to_str().map_err(|_| unreadable())?;
    url::join(from, location).ok_or_else(unreadable).map(Some)
}

fn list_or_commas<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a list of hosts, or one string of hosts with commas between them")]
    enum Hosts {
        List(Vec<String>),
        Commas(String),
    }
    let hosts = match Hosts::deserialize(deserializer)? {
        Hosts::List(hosts) => hosts,
        Hosts::Commas(hosts) => hosts.split(',').map(str::to_owned).collect(),
    };
    Ok(hosts.iter().map(|host| host.trim().to_owned()).filter(|host| !host.is_empty()).collect())
}
