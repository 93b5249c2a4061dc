//! Which addresses a fetch may go to.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    str::FromStr,
    sync::Arc,
};

/// Whether an address is one of the public internet's, and not the machine's own.
pub(super) fn is_public(address: IpAddr) -> bool {
    let is_public = match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(address) => is_public_v4(address),
            None => is_public_v6(address),
        },
    };
    is_public && !is_own(address)
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        // "This network", reserved, and broadcast.
        || a == 0
        || a >= 240
        // Shared by the customers of one provider.
        || (a == 100 && (64..128).contains(&b))
        // Public by its form, but the host's own in Azure: it gives virtual machines what is only theirs.
        || address == Ipv4Addr::new(168, 63, 129, 16)
        // Of protocols, and of measurements within a network.
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19));
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let first = address.segments()[0];
    let is_special = address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        // Site-local, which unique local addresses have replaced.
        || first & 0xffc0 == 0xfec0;
    !is_special
}

/// The IPv4 address that a gateway would take this one for.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match address.segments() {
        // Loopback and "any" are what they are in IPv6.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // Mapped, and compatible; translated; NAT64.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] | [0x64, 0xff9b, .., high, low] => {
            v4(high, low)
        }
        // 6to4.
        [0x2002, high, low, ..] => v4(high, low),
        // Teredo has it inverted.
        [0x2001, 0, .., high, low] => v4(!high, !low),
        _ => None,
    }
}

/// Whether the machine has this address itself: what it would send there would come from there. Nothing is sent.
fn is_own(address: IpAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

/// A host that the owner lets fetches go to, whatever its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AllowedHost {
    /// A name or an address, in lower case, without brackets.
    host: String,
    /// `None`: any.
    port: Option<u16>,
}

impl FromStr for AllowedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not HOST or HOST:PORT; an IPv6 address with a port is written [ADDRESS]:PORT");
        let (host, port) = match text.rsplit_once(':') {
            _ if text.parse::<Ipv6Addr>().is_ok() => (text, None),
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().map_err(|_| wrong())?)),
            _ => (text, None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if host.is_empty() || !(is_name || host.parse::<Ipv6Addr>().is_ok()) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct AllowedHosts(Arc<[AllowedHost]>);

impl AllowedHosts {
    pub(crate) fn new(hosts: &[AllowedHost]) -> Self {
        Self(hosts.into())
    }

    pub(super) fn contains(&self, host: &str, port: u16) -> bool {
        self.0.iter().any(|allowed| allowed.host == host && allowed.port.is_none_or(|allowed| allowed == port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "168.63.129.16",
            "::ffff:168.63.129.16",
            "192.0.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:0:a00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001:0::80ff:fffe",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "168.63.129.17",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.169.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "64:ff9b::101:101",
            "2002:101:101::",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        assert!(is_own(Ipv4Addr::LOCALHOST.into()) && !is_own(Ipv4Addr::new(1, 1, 1, 1).into()));
    }

    #[test]
    fn a_host_is_allowed_with_all_of_its_ports_or_with_one() {
        let parse = |text: &str| text.parse::<AllowedHost>();
        let hosts = ["Git.Example.com", "127.0.0.1:3000", "[::1]:80", "fd00::1"].map(|text| parse(text).unwrap());
        let allowed = AllowedHosts::new(&hosts);
        for (host, port, expected) in [
            ("git.example.com", 443, true),
            ("example.com", 443, false),
            ("127.0.0.1", 3000, true),
            ("127.0.0.1", 3001, false),
            ("::1", 80, true),
            ("::1", 81, false),
            ("fd00::1", 1, true),
        ] {
            assert_eq!(allowed.contains(host, port), expected, "{host} {port}");
        }
        for wrong in ["", ":80", "a:b", "http://a", "a/b", "a:70000", "10.0.0.0/8", "[::1", "a:"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
