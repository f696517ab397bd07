//! A proxy between a worker and each thing it talks to.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use sandbox::Proxy;

/// What a worker talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// Temporal's server.
    Temporal,
    /// Postgres.
    Postgres,
    /// The S3 server.
    Store,
    /// The image provider's API; its files are fetched past the proxy.
    Provider,
}

impl Link {
    /// All of them.
    pub const ALL: [Link; 4] = [Link::Temporal, Link::Postgres, Link::Store, Link::Provider];

    /// The variable of a worker's environment that says where it is.
    fn variable(self) -> &'static str {
        match self {
            Link::Temporal => "TEMPORAL_ADDRESS",
            Link::Postgres => "DATABASE_URL",
            Link::Store => "AWS_ENDPOINT_URL_S3",
            Link::Provider => "DARKROOM_PROVIDER__BASE_URL",
        }
    }
}

/// The proxies, one for each link.
#[derive(Debug)]
pub struct Links(BTreeMap<Link, (String, Proxy)>);

impl Links {
    /// Starts one before each address in a worker's environment.
    pub async fn start(environment: &[(String, String)]) -> Result<Links> {
        let mut links = BTreeMap::new();
        for link in Link::ALL {
            let named = environment.iter().find(|(name, _)| name == link.variable());
            let (_, value) = named.with_context(|| format!("no {} in the environment", link.variable()))?;
            let upstream = host_and_port(value);
            links.insert(link, (upstream.to_owned(), Proxy::start(upstream).await?));
        }
        Ok(Links(links))
    }

    /// The same environment by way of the proxies.
    pub fn through(&self, environment: &[(String, String)]) -> Vec<(String, String)> {
        let mut through = environment.to_vec();
        for (link, (upstream, proxy)) in &self.0 {
            for (_, value) in through.iter_mut().filter(|(name, _)| name == link.variable()) {
                *value = value.replace(upstream, &proxy.address().to_string());
            }
        }
        through
    }

    /// The proxy of a link.
    pub fn proxy(&self, link: Link) -> &Proxy {
        &self.0[&link].1
    }

    /// All is well again.
    pub fn mend(&self) {
        for (_, proxy) in self.0.values() {
            proxy.set_delay(Duration::ZERO);
            proxy.set_rate(None);
            proxy.mend();
        }
    }
}

/// `host:port` of a URL, or of what is that already.
fn host_and_port(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    authority.rsplit('@').next().unwrap_or(authority)
}
