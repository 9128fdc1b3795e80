//! Where a registry is reached.

use std::net::IpAddr;

/// Docker's own registry has another host than its name, from before it was one of many.
const DOCKER: &str = "docker.io";
const DOCKER_HOST: &str = "registry-1.docker.io";

/// Where a registry is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Host and port.
    pub authority: String,
    /// True for plain http.
    pub plain: bool,
}

impl Endpoint {
    /// Of the registry that references call `registry`. What runs on this machine and has no certificates is
    /// reached by plain http: what is sent to it passes no network.
    pub fn of(registry: &str, has_certificates: bool) -> Self {
        let is_docker = registry == DOCKER;
        let authority = if is_docker { DOCKER_HOST } else { registry };
        Self {
            plain: is_this_machine(authority) && !has_certificates,
            authority: authority.to_owned(),
        }
    }

    /// The same by https, or by plain http.
    pub fn by(self, plain: bool) -> Self {
        Self { plain, ..self }
    }

    /// The address of `path`, which starts with a slash.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.plain { "http" } else { "https" };
        format!("{scheme}://{}{path}", self.authority)
    }
}

/// True for the names and addresses that never leave this machine.
pub(crate) fn is_this_machine(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let address = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|a| a.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_reached_by_plain_http() {
        for (registry, url) in [
            ("localhost:5000", "http://localhost:5000/v2/"),
            ("127.0.0.1:5000", "http://127.0.0.1:5000/v2/"),
            ("127.9.9.9", "http://127.9.9.9/v2/"),
            ("[::1]:5000", "http://[::1]:5000/v2/"),
            ("host.example", "https://host.example/v2/"),
            ("host:5000", "https://host:5000/v2/"),
            ("localhost.example", "https://localhost.example/v2/"),
            ("127.0.0.1.example", "https://127.0.0.1.example/v2/"),
            ("10.0.0.1:5000", "https://10.0.0.1:5000/v2/"),
            ("docker.io", "https://registry-1.docker.io/v2/"),
        ] {
            assert_eq!(Endpoint::of(registry, false).url("/v2/"), url);
        }
        let with_certificates = Endpoint::of("127.0.0.1:5000", true);
        assert_eq!(with_certificates.url("/v2/"), "https://127.0.0.1:5000/v2/");
    }
}
