//! Tells which IP addresses are public.
//! Source: IANA's IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), multicast and class
//! E.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Network address, with the length of its prefix in bits.
type Network<A> = (A, u32);

const fn v4(a: u8, b: u8, c: u8, prefix: u32) -> Network<Ipv4Addr> {
    (Ipv4Addr::new(a, b, c, 0), prefix)
}

const fn v6(a: u16, b: u16, prefix: u32) -> Network<Ipv6Addr> {
    (Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

/// IPv4 networks that are not public. All other IPv4 addresses are public.
const REFUSED_V4: [Network<Ipv4Addr>; 14] = [
    v4(0, 0, 0, 8),       // this network
    v4(10, 0, 0, 8),      // private
    v4(100, 64, 0, 10),   // carriers' NAT; a cloud's metadata service at 100.100.100.200
    v4(127, 0, 0, 8),     // loopback
    v4(169, 254, 0, 16),  // link-local; most clouds' metadata service
    v4(172, 16, 0, 12),   // private
    v4(192, 0, 0, 24),    // protocol assignments
    v4(192, 0, 2, 24),    // documentation
    v4(192, 88, 99, 24),  // 6to4 relays, which lead into any IPv6 network
    v4(192, 168, 0, 16),  // private
    v4(198, 18, 0, 15),   // benchmarks
    v4(198, 51, 100, 24), // documentation
    v4(203, 0, 113, 24),  // documentation
    v4(224, 0, 0, 3),     // multicast, class E, broadcast
];

/// IPv6 network in which all public addresses lie. Outside are the forms that hold an IPv4 address
/// (::a.b.c.d, ::ffff:a.b.c.d, NAT64), and unique local, link-local, site-local and multicast
/// addresses.
const GLOBAL_V6: Network<Ipv6Addr> = v6(0x2000, 0, 3);

/// Networks within `GLOBAL_V6` that are not public.
const REFUSED_V6: [Network<Ipv6Addr>; 4] = [
    v6(0x2001, 0, 23),     // protocol assignments, Teredo (holds an IPv4 address)
    v6(0x2001, 0xdb8, 32), // documentation
    v6(0x2002, 0, 16),     // 6to4 (holds an IPv4 address)
    v6(0x3fff, 0, 20),     // documentation
];

/// Tells whether the address belongs to the public internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !REFUSED_V4.iter().any(|network| contains_v4(network, address)),
        IpAddr::V6(address) => {
            contains_v6(&GLOBAL_V6, address)
                && !REFUSED_V6.iter().any(|network| contains_v6(network, address))
        }
    }
}

// Prefixes have 3 to 32 bits, so no shift is as long as the number.
fn contains_v4((network, prefix): &Network<Ipv4Addr>, address: Ipv4Addr) -> bool {
    (network.to_bits() ^ address.to_bits()) >> (u32::BITS - prefix) == 0
}

fn contains_v6((network, prefix): &Network<Ipv6Addr>, address: Ipv6Addr) -> bool {
    (network.to_bits() ^ address.to_bits()) >> (u128::BITS - prefix) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First and last address of each refused network, and their public neighbours if they have
    /// any.
    #[test]
    fn networks_are_refused_from_end_to_end() {
        let refused = "
            0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1
            127.255.255.255 169.254.0.0 169.254.169.254 169.254.255.255 172.16.0.0 172.31.255.255
            192.0.0.0 192.0.0.255 192.0.2.0 192.0.2.255 192.88.99.0 192.88.99.255 192.168.0.0
            192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.0 198.51.100.255 203.0.113.0
            203.0.113.255 224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.255 :: ::1 ::127.0.0.1
            ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:8.8.8.8 64:ff9b::127.0.0.1 64:ff9b::8.8.8.8
            64:ff9b:1::a00:1 100::1 1fff:ffff:: 2001::1 2001:0:7f00:1:: 2001:1ff:ffff:: 2001:db8::1
            2001:db8:ffff:: 2002:7f00:1:: 2002:808:808:: 3fff::1 3fff:fff:ffff:: 4000:: 5f00::1
            fc00::1 fd00:ec2::254 fe80::1 febf::1 fec0::1 ff02::1
            ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let public = "
            1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
            169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.3.0
            192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0
            198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255 8.8.8.8 2000::
            2001:200:: 2001:db7:ffff:: 2001:db9:: 2001:4860:4860::8888 2001:ffff:: 2003::
            2606:4700:4700::1111 3ffe:ffff:: 3fff:1000:: 3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        for address in refused.split_whitespace() {
            assert!(!is_public(address.parse().unwrap()), "{address} is public");
        }
        for address in public.split_whitespace() {
            assert!(is_public(address.parse().unwrap()), "{address} is refused");
        }
    }
}
