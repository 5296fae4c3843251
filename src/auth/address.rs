//! Where a request comes from: the client's address behind proxies, and the page's origin.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// The client's address. `forwarded` is every `X-Forwarded-For` value in the order received, joined by commas. It is read
/// from the right, and only as far as each hop is a trusted proxy: what stands left of the first address that is not
/// trusted, the client may have written itself. A word that is no address ends the walk at the proxy that wrote it.
/// Without a trusted peer the header means nothing. IPv4 in IPv6's clothes (`::ffff:192.0.2.1`) comes back as IPv4.
pub fn client_ip(peer: IpAddr, forwarded: Option<&str>, trusted: &[IpNet]) -> IpAddr {
    let believed = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    let mut client = peer.to_canonical();
    for hop in forwarded.unwrap_or_default().rsplit(',') {
        let Some(next) = believed(&client).then(|| hop_address(hop.trim())).flatten() else { break };
        client = next;
    }
    client
}

/// The address without the part that names a household: IPv4 as its /24 (`203.0.113.0/24`), IPv6 as its /48
/// (`2001:db8:1::/48`). The length stays in the text, so that nobody takes it for a whole address, and it can be
/// used as a filter as it stands.
pub fn masked(ip: IpAddr) -> String {
    let network = network_of(ip);
    format!("{network}/{}", if network.is_ipv4() { 24 } else { 48 })
}

/// The first address of the network that [`masked`] names.
pub fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << 8)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 80)).into(),
    }
}

/// What limits count by: an IPv4 address, or an IPv6 /64, which is what one subscriber has.
pub fn limit_key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

/// Whether a page of this origin may open sockets and use cookies: our own (`scheme` and `host` of the request, `host`
/// with its port as in the `Host` header) or one of `allowed`, written as `https://admin.example.com`. A request without
/// an `Origin` is no browser's and passes; `null` and anything that is no origin (RFC 6454 section 6.2) never does.
///
/// An `https` page of our host passes when the request looks like `http`: TLS then ended at a proxy that is not listed
/// as trusted, and that page is the safer one. The other way round it does not.
pub fn origin_allowed(origin: Option<&str>, scheme: &str, host: &str, allowed: &[String]) -> bool {
    let Some(origin) = origin else { return true };
    let Some((page_scheme, page_host)) = parse_origin(origin) else { return false };
    let same_scheme = page_scheme.eq_ignore_ascii_case(scheme) || page_scheme == "https";
    if same_scheme && without_port(&page_scheme, &host.to_ascii_lowercase()) == page_host {
        return true;
    }
    allowed.iter().any(|allowed| {
        parse_origin(allowed.trim_end_matches('/'))
            .is_some_and(|known| known == (page_scheme.clone(), page_host.clone()))
    })
}

/// `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:443`.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let ip = bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(ip.to_canonical())
}

/// Scheme and host in lower case, the scheme's own port left out.
fn parse_origin(origin: &str) -> Option<(String, String)> {
    let (scheme, host) = origin.split_once("://")?;
    let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
    let plain = !host.is_empty() && !host.contains(['/', '?', '#', '@', '\\', ',', ' ']);
    let host = without_port(&scheme, &host).to_owned();
    plain.then_some((scheme, host))
}

fn without_port<'a>(scheme: &str, host: &'a str) -> &'a str {
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return host,
    };
    host.strip_suffix(port).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_bare_forwarded_header_is_never_believed() {
        assert_eq!(client_ip(ip("203.0.113.7"), Some("10.0.0.1"), &[]), ip("203.0.113.7"));
        assert_eq!(client_ip(ip("203.0.113.7"), Some("10.0.0.1"), &nets(&["127.0.0.0/8"])), ip("203.0.113.7"));
    }

    #[test]
    fn the_client_is_the_first_from_the_right_that_is_no_trusted_proxy() {
        let trusted = nets(&["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"]);
        for (header, client) in [
            ("203.0.113.7", "203.0.113.7"),
            ("1.1.1.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
            ("1.1.1.1,203.0.113.7:5123 ,fd00::2", "203.0.113.7"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("10.0.0.9, 10.0.0.8", "10.0.0.9"),
            ("1.1.1.1, unknown, 10.0.0.2", "10.0.0.2"),
            ("1.1.1.1, , 10.0.0.2", "10.0.0.2"),
            ("", "127.0.0.1"),
            ("garbage", "127.0.0.1"),
        ] {
            assert_eq!(client_ip(ip("127.0.0.1"), Some(header), &trusted), ip(client), "{header}");
        }
        assert_eq!(client_ip(ip("::ffff:127.0.0.1"), Some("203.0.113.7"), &trusted), ip("203.0.113.7"));
        assert_eq!(client_ip(ip("127.0.0.1"), None, &trusted), ip("127.0.0.1"));
    }

    #[test]
    fn a_masked_address_shows_its_network_only() {
        assert_eq!(masked(ip("203.0.113.77")), "203.0.113.0/24");
        assert_eq!(masked(ip("::ffff:203.0.113.77")), "203.0.113.0/24");
        assert_eq!(masked(ip("2001:db8:1:2:3:4:5:6")), "2001:db8:1::/48");
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_key() {
        assert_eq!(limit_key(ip("2001:db8:1:2:3:4:5:6")), ip("2001:db8:1:2::"));
        assert_eq!(limit_key(ip("203.0.113.77")), ip("203.0.113.77"));
        assert_eq!(limit_key(ip("::ffff:203.0.113.77")), ip("203.0.113.77"));
    }

    #[test]
    fn our_own_pages_and_the_listed_ones_may_open_sockets() {
        let allowed = ["https://admin.example.com/".to_owned(), "http://localhost:5173".to_owned()];
        for (origin, scheme, host) in [
            ("http://localhost:8080", "http", "localhost:8080"),
            ("http://Example.com", "http", "example.com:80"),
            ("https://example.com", "https", "EXAMPLE.com"),
            ("https://example.com", "https", "example.com:443"),
            ("https://example.com", "http", "example.com"),
            ("http://[::1]:8080", "http", "[::1]:8080"),
            ("https://admin.example.com", "https", "rollcall.example.com"),
            ("https://admin.example.com:443", "https", "rollcall.example.com"),
            ("http://localhost:5173", "http", "localhost:8080"),
        ] {
            assert!(origin_allowed(Some(origin), scheme, host, &allowed), "{origin} to {scheme}://{host}");
        }
        assert!(origin_allowed(None, "http", "localhost:8080", &[]));
    }

    #[test]
    fn pages_of_others_may_not() {
        let allowed = ["https://admin.example.com".to_owned(), "null".to_owned(), "*".to_owned()];
        for origin in [
            "https://evil.example",
            "http://example.com",
            "https://example.com:8443",
            "https://example.com.evil.example",
            "https://evil.example/example.com",
            "https://example.com@evil.example",
            "https://example.com/",
            "http://admin.example.com",
            "https://example.com, https://evil.example",
            "null",
            "",
            "://",
            "https://",
            "example.com",
        ] {
            assert!(!origin_allowed(Some(origin), "https", "example.com", &allowed), "{origin}");
        }
    }

    proptest! {
        /// However a client fills the header, a proxy that appends the client's address is not fooled.
        #[test]
        fn nothing_a_client_writes_hides_its_address(forged in ".*", client in any::<[u8; 4]>()) {
            let client = IpAddr::from(client);
            prop_assume!(!client.is_loopback());
            let header = format!("{forged}, {client}");
            prop_assert_eq!(client_ip(ip("127.0.0.1"), Some(&header), &nets(&["127.0.0.0/8"])), client);
        }

        #[test]
        fn no_origin_header_panics(origin in ".*", host in ".*") {
            origin_allowed(Some(&origin), "https", &host, std::slice::from_ref(&origin));
        }
    }
}
