//! Decides which hosts, ports and addresses a fetch may touch: public ones, and those that the
//! configuration names.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ::url::{Host, Url};

use super::address::is_public;
use super::error::{Error, Misconfigured, NotPublic, not_public};
use super::redacted::redacted;

/// Hosts that may have private addresses and any port, each as the url crate spells it.
#[derive(Debug)]
pub(super) struct AllowedHosts(BTreeSet<Host>);

impl AllowedHosts {
    /// Reads names and IP addresses, IPv6 with or without brackets.
    pub(super) fn parse(hosts: &[String]) -> Result<Self, Misconfigured> {
        let parse = |host: &String| match host.parse::<Ipv6Addr>() {
            Ok(address) => Ok(Host::Ipv6(address)),
            Err(_) => Host::parse(host).map(normal).map_err(|error| Misconfigured {
                why: format!(
                    "allow_hosts: {host:?} is no host name or IP address ({error}); no scheme, port or path"
                ),
            }),
        };
        hosts.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the URL if it may be fetched, as far as the URL alone can tell.
    pub(super) fn checked(&self, url: Url) -> Result<Url, Error> {
        let refuse =
            |why: &str| Err(Error::ForbiddenUrl { why: format!("{}: {why}", redacted(url.as_str())) });
        if !matches!(url.scheme(), "http" | "https") {
            return refuse("only http and https URLs are fetched");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("it holds a user name or password");
        }
        let Some(host) = url.host() else { return refuse("it has no host") };
        if self.contains(&host.to_owned()) {
            return Ok(url);
        }
        if !matches!(url.port_or_known_default(), Some(80 | 443)) {
            return refuse("only ports 80 and 443 are allowed");
        }
        let address = match host {
            Host::Domain(_) => return Ok(url),
            Host::Ipv4(address) => IpAddr::V4(address),
            Host::Ipv6(address) => IpAddr::V6(address),
        };
        if is_public(address) { Ok(url) } else { refuse(&not_public(address)) }
    }

    /// Checks the addresses of a name. One private address among public ones refuses them all,
    /// because no honest name has both.
    pub(super) fn check_resolved(&self, name: &str, addresses: &[SocketAddr]) -> Result<(), NotPublic> {
        if self.contains(&Host::Domain(name.to_owned())) {
            return Ok(());
        }
        match addresses.iter().map(SocketAddr::ip).find(|address| !is_public(*address)) {
            Some(address) => Err(NotPublic(address)),
            None => Ok(()),
        }
    }

    /// Checks the address from which the answer came. This last check can't be fooled, because it
    /// reads the address of the real connection.
    pub(super) fn check_peer(&self, url: &Url, peer: Option<SocketAddr>) -> Result<(), Error> {
        if url.host().is_some_and(|host| self.contains(&host.to_owned())) {
            return Ok(());
        }
        let why = match peer.map(|peer| peer.ip()) {
            Some(address) if is_public(address) => return Ok(()),
            Some(address) => not_public(address),
            None => "the address it answered from is unknown".to_owned(),
        };
        Err(Error::ForbiddenUrl { why: format!("{}: {why}", redacted(url.as_str())) })
    }

    fn contains(&self, host: &Host) -> bool {
        self.0.contains(&normal(host.clone()))
    }
}

/// Makes `name.` and `name` one host. The url crate has already put letters in lower case, and IPv4
/// addresses in their usual form.
fn normal(host: Host) -> Host {
    match host {
        Host::Domain(name) => Host::Domain(name.strip_suffix('.').unwrap_or(&name).to_owned()),
        Host::Ipv4(_) | Host::Ipv6(_) => host,
    }
}
