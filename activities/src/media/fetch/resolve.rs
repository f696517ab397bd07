//! Resolves names for the connector. A name of a host that isn't allowed gives public addresses or
//! none.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::host::AllowedHosts;

/// Most addresses of one name that are dialled. Honest names have fewer.
const MAX_ADDRESSES: usize = 64;

/// The system's resolver, with the check after it. reqwest doesn't ask a resolver about IP
/// literals, which are checked in the URL.
pub(super) struct Resolver {
    allowed: Arc<AllowedHosts>,
}

impl Resolver {
    pub(super) fn new(allowed: Arc<AllowedHosts>) -> Self {
        Self { allowed }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = Arc::clone(&self.allowed);
        Box::pin(async move {
            // Port 0 stands for the port of the URL.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses: Vec<SocketAddr> = found.take(MAX_ADDRESSES).collect();
            allowed.check_resolved(name.as_str(), &addresses)?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
