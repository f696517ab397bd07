//! The sandbox from outside: what its servers and its provider do, over the wire.

mod child;
mod client;
mod provider_billing;
mod provider_faults;
mod provider_limits;
mod provider_pictures;
mod provider_wire;
mod proxy;
mod servers;
