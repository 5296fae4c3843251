//! Where a call may go. A URL in the settings, or later one that somebody typed into a page, must not make the server ask
//! its own network on their behalf (server-side request forgery).

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// What is not on the public internet, or leads back into a private network: the IANA registries of special-purpose
/// addresses (RFC 6890 and its successors), multicast, and the IPv6 forms that carry an IPv4 address.
static SPECIAL: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    ]
    .iter()
    .map(|net| net.parse().expect("the list holds networks"))
    .collect()
});

/// Whether an address may be called: a public one, or one of `allow` (`outgoing.allow`). Without TLS only the latter: what
/// travels is a token or names a user.
pub fn allowed(ip: IpAddr, allow: &[IpNet], tls: bool) -> bool {
    let ip = ip.to_canonical();
    let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&ip));
    within(allow) || (tls && !within(&SPECIAL))
}

/// Resolves a name and gives only addresses that may be called, so that the address that was checked is the one connected
/// to. A name with one forbidden address among others is refused whole: such an answer is no accident.
pub(super) struct GuardedNames {
    pub(super) allow: Arc<[IpNet]>,
    pub(super) tls: bool,
}

impl Resolve for GuardedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let (allow, tls) = (self.allow.clone(), self.tls);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if found.iter().any(|address| !allowed(address.ip(), &allow, tls)) {
                return Err(Forbidden.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The address is not one to be called.
#[derive(Debug, thiserror::Error)]
#[error("it leads to an address that may not be called; see outgoing.allow")]
pub(super) struct Forbidden;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_called_and_those_that_are_allowed() {
        let may = |ip: &str, tls| allowed(ip.parse().unwrap(), &["10.1.0.0/16".parse().unwrap()], tls);
        for public in ["93.184.216.34", "2606:2800:220:1::1", "10.1.2.3"] {
            assert!(may(public, true), "{public}");
        }
        for hidden in [
            "127.0.0.1",
            "10.2.0.1",
            "169.254.169.254",
            "192.168.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.2.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "::7f00:1",
        ] {
            assert!(!may(hidden, true), "{hidden}");
        }
        assert!(may("10.1.2.3", false) && may("::ffff:10.1.2.3", false));
        assert!(!may("93.184.216.34", false), "not without TLS");
    }
}
