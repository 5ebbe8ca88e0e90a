//! Where a request came from, behind proxies too.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address a request came from, as far as anybody who is believed says it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source(pub(super) IpAddr);

impl Source {
    /// The peer; where that is a trusted proxy, the rightmost address of `X-Forwarded-For` that is none. What stands left of
    /// it, its sender may have made up.
    pub(super) fn of(headers: &HeaderMap, extensions: &Extensions, trusted: &[IpNet]) -> Option<Self> {
        let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
        let mut source = peer.ip().to_canonical();
        let values = headers.get_all(FORWARDED_FOR).iter().rev();
        let mut said = values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
        while is_trusted(source) {
            // The proxy is the last that is known where it says nothing, or nothing that is an address.
            let Some(address) = said.next().and_then(address) else { break };
            source = address;
        }
        Some(Self(source))
    }
}

/// An address, with or without a port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let parsed = bare.parse::<IpAddr>().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    parsed.map(|address| address.to_canonical())
}

/// Whom a source address stands for: itself, or of IPv6, where each customer has many, its /64.
pub(super) fn network(source: &str) -> String {
    match source.parse() {
        Ok(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
            Some(address) => address.to_string(),
            None => {
                let [a, b, c, d, ..] = address.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
        },
        _ => source.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_customer_count_together() {
        assert_eq!(network("2001:db8::1"), network("2001:db8:0:0:ffff::1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }

    fn of(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let (mut headers, mut extensions) = (HeaderMap::new(), Extensions::new());
        extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        Source::of(&headers, &extensions, &trusted).unwrap().0.to_string()
    }

    #[test]
    fn only_trusted_proxies_say_where_a_call_came_from() {
        let proxies = ["10.0.0.0/8", "2001:db8::/32"];
        assert_eq!(of("192.0.2.1", &["198.51.100.7"], &proxies), "192.0.2.1");
        assert_eq!(of("10.0.0.1", &["198.51.100.7"], &[]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &["198.51.100.7"], &proxies), "198.51.100.7");
        assert_eq!(of("::ffff:10.0.0.1", &["198.51.100.7:4711"], &proxies), "198.51.100.7");
        assert_eq!(of("10.0.0.1", &["[2a00::1]:4711"], &proxies), "2a00::1");
        // What the client made up stands left of what the proxies added, in one header or in several.
        assert_eq!(of("10.0.0.1", &["1.2.3.4, 198.51.100.7, 10.0.0.2"], &proxies), "198.51.100.7");
        assert_eq!(of("10.0.0.1", &["1.2.3.4", "198.51.100.7", "2001:db8::9"], &proxies), "198.51.100.7");
        assert_eq!(of("10.0.0.1", &["1.2.3.4, unknown"], &proxies), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &[], &proxies), "10.0.0.1");
    }
}
