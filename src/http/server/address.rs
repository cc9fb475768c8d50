//! Whose request is it? The address of the client, behind a proxy too.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use poem::http::{HeaderMap, HeaderName};

/// Each proxy adds the address that it was asked from at the end.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address: that of the connection, or if it is one of a trusted proxy, the last one in `X-Forwarded-For`
/// that is none. What stands before that was written by the client itself.
pub fn of_client(headers: &HeaderMap, peer: SocketAddr, trusted_proxies: &[IpAddr]) -> SocketAddr {
    let mut client = peer;
    let values = headers.get_all(FORWARDED_FOR).into_iter();
    let named: Vec<&str> = values.flat_map(|value| value.to_str().unwrap_or_default().split(',')).collect();
    for name in named.into_iter().rev() {
        if !is_among(client.ip(), trusted_proxies) {
            break;
        }
        let Some(address) = parse(name.trim()) else { break };
        client = address;
    }
    client
}

/// Some proxies write the port, too.
fn parse(name: &str) -> Option<SocketAddr> {
    let bare = name.parse::<IpAddr>().map(|address| SocketAddr::new(address, 0));
    bare.or_else(|_| name.parse()).ok()
}

/// Whether an address is on the list, in whatever spelling.
pub fn is_among(address: IpAddr, list: &[IpAddr]) -> bool {
    list.iter().any(|known| known.to_canonical() == address.to_canonical())
}

/// What counts as one address: of IPv6 the network of 64 bits, which is the least that a customer gets (RFC 6177).
pub fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use poem::http::HeaderValue;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("192.0.2.9", &["198.51.100.1"], "192.0.2.9")] // anybody can write the header
    #[case("10.0.0.1", &[], "10.0.0.1")]
    #[case("10.0.0.1", &["198.51.100.1"], "198.51.100.1")]
    #[case("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1")]
    #[case("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1")]
    #[case("10.0.0.1", &["1.1.1.1", "198.51.100.1 , 10.0.0.2"], "198.51.100.1")]
    #[case("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1")]
    #[case("10.0.0.1", &["2001:db8::1"], "2001:db8::1")]
    #[case("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1")]
    #[case("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1")]
    #[case("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2")]
    fn the_client_is_the_last_one_that_is_no_proxy(
        #[case] peer: &str,
        #[case] values: &[&'static str],
        #[case] client: &str,
    ) {
        let headers = values.iter().map(|value| (FORWARDED_FOR, HeaderValue::from_static(value))).collect();
        let proxies = ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().unwrap());
        let peer = SocketAddr::new(peer.parse().unwrap(), 1);
        assert_eq!(of_client(&headers, peer, &proxies).ip().to_string(), client);
    }
}
