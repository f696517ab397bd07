//! Which hosts, ports and addresses a fetch may touch: public ones, and those the configuration names.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ::url::{Host, Url};

use super::address::is_public;
use super::error::{Error, Misconfigured};
use super::url::redacted;

/// Hosts that may be private and have any port, each as the url crate spells it.
#[derive(Debug)]
pub(super) struct AllowedHosts(BTreeSet<Host>);

impl AllowedHosts {
    /// Takes names and IP addresses, IPv6 with or without brackets.
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

    /// Gives the URL back if it may be asked for, as far as the URL alone can tell.
    pub(super) fn checked(&self, url: Url) -> Result<Url, Error> {
        let refuse = |why: &str| Err(Error::Refused { why: format!("{}: {why}", redacted(url.as_str())) });
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

    /// Checks what a name resolved to. One private address among public ones refuses them all: nobody honest has that.
    pub(super) fn check_resolved(&self, name: &str, addresses: &[SocketAddr]) -> Result<(), NotPublic> {
        if self.contains(&Host::Domain(name.to_owned())) {
            return Ok(());
        }
        match addresses.iter().map(SocketAddr::ip).find(|address| !is_public(*address)) {
            Some(address) => Err(NotPublic(address)),
            None => Ok(()),
        }
    }

    /// Checks where the answer came from: the last check, and the only one that can't be wrong about it.
    pub(super) fn check_peer(&self, url: &Url, peer: Option<SocketAddr>) -> Result<(), Error> {
        if url.host().is_some_and(|host| self.contains(&host.to_owned())) {
            return Ok(());
        }
        let why = match peer.map(|peer| peer.ip()) {
            Some(address) if is_public(address) => return Ok(()),
            Some(address) => not_public(address),
            None => "the address it answered from is unknown".to_owned(),
        };
        Err(Error::Refused { why: format!("{}: {why}", redacted(url.as_str())) })
    }

    fn contains(&self, host: &Host) -> bool {
        self.0.contains(&normal(host.clone()))
    }
}

/// A name resolved to an address that isn't public. Travels through reqwest's errors to the caller.
#[derive(Debug, thiserror::Error)]
#[error("{}", not_public(*.0))]
pub(super) struct NotPublic(IpAddr);

fn not_public(address: IpAddr) -> String {
    format!(
        "the address {address} is not public; if that is meant to be, allow the host in the configuration"
    )
}

/// `name.` and `name` are one host. The url crate has made letters small and other spellings of IPv4 plain already.
fn normal(host: Host) -> Host {
    match host {
        Host::Domain(name) => Host::Domain(name.strip_suffix('.').unwrap_or(&name).to_owned()),
        Host::Ipv4(_) | Host::Ipv6(_) => host,
    }
}
