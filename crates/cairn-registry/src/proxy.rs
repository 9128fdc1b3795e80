//! Proxies that the environment names, and which hosts need none.

use std::net::IpAddr;

use ureq::http::Uri;

use crate::endpoint::is_this_machine;
use crate::url::Origin;

/// The proxy for an address. What is on this machine needs none.
pub(crate) fn of(uri: &Uri) -> Option<ureq::Proxy> {
    let authority = uri.authority()?.as_str();
    let exceptions = first_set(&["NO_PROXY", "no_proxy"]).unwrap_or_default();
    if is_this_machine(authority) || is_excepted(authority, &exceptions) {
        return None;
    }
    let https = Origin::of(uri).is_some_and(|origin| origin.is_https());
    let value = first_set(match https {
        true => &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
        false => &["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
    })?;
    let parsed = ureq::Proxy::new(&value).ok()?;
    let mut builder = ureq::Proxy::builder(parsed.protocol())
        .host(parsed.host())
        .port(parsed.port())
        // The proxy may know names that this machine does not.
        .resolve_target(false);
    if let (Some(user), Some(password)) = (parsed.username(), parsed.password()) {
        builder = builder.username(user).password(password);
    }
    builder.build().ok()
}

fn first_set(names: &[&str]) -> Option<String> {
    let set = |name: &&str| std::env::var(name).ok().filter(|value| !value.is_empty());
    names.iter().find_map(set)
}

/// Host and port, if there is one.
fn parts(authority: &str) -> (&str, Option<&str>) {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').unwrap_or((rest, ""));
        return (host, rest.strip_prefix(':'));
    }
    match authority.split_once(':') {
        // More than one colon: an address of version 6 without brackets.
        Some((_, port)) if port.contains(':') => (authority, None),
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    }
}

/// True where one of the exceptions fits: a host and all below it, with or without a port, an address, a network
/// (`10.0.0.0/8`), or `*`.
fn is_excepted(authority: &str, exceptions: &str) -> bool {
    let (host, port) = parts(authority);
    let mut all = exceptions.split([',', ' ']).filter(|e| !e.is_empty());
    all.any(|exception| fits(host, port, exception))
}

fn fits(host: &str, port: Option<&str>, exception: &str) -> bool {
    if exception == "*" {
        return true;
    }
    if let (Ok(address), Some(network)) = (host.parse::<IpAddr>(), exception.split_once('/')) {
        return is_within(address, network);
    }
    let (name, of_port) = parts(exception);
    if of_port.is_some_and(|wanted| port != Some(wanted)) {
        return false;
    }
    let name = name
        .strip_prefix('*')
        .unwrap_or(name)
        .trim_start_matches('.');
    let (host, name) = (host.to_ascii_lowercase(), name.to_ascii_lowercase());
    match host.strip_suffix(&name) {
        Some(below) => !name.is_empty() && (below.is_empty() || below.ends_with('.')),
        None => false,
    }
}

fn is_within(address: IpAddr, (network, bits): (&str, &str)) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    let (address, network, size) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (u128::from(a.to_bits()), u128::from(n.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits(), n.to_bits(), 128),
        _ => return false,
    };
    bits <= size && (address ^ network).checked_shr(size - bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_hosts_those_below_them_and_networks() {
        for (authority, exceptions, expected) in [
            ("a.example", "a.example", true),
            ("A.example:5000", "a.example", true),
            ("b.a.example", "x, a.example", true),
            ("b.a.example", ".a.example", true),
            ("b.a.example", "*.a.example", true),
            ("ba.example", "a.example", false),
            ("a.example:5000", "a.example:5000", true),
            ("a.example:5001", "a.example:5000", false),
            ("a.example", "a.example:5000", false),
            ("a.example", "*", true),
            ("a.example", "", false),
            ("a.example", ".", false),
            ("10.1.2.3:5000", "10.0.0.0/8", true),
            ("11.1.2.3", "10.0.0.0/8", false),
            ("11.1.2.3", "0.0.0.0/0", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.0.0.0/33", false),
            ("[fd00::1]:5000", "fd00::/8", true),
            ("[fe00::1]:5000", "fd00::/8", false),
            ("[::5]", "::5", true),
            ("10.1.2.3", "::/0", false),
        ] {
            assert_eq!(
                is_excepted(authority, exceptions),
                expected,
                "{authority} {exceptions}"
            );
        }
    }
}
