//! The files that the network decides and not the image: `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`.

use std::net::IpAddr;
use std::path::Path;

use cairn_runtime::{Mount, MountKind, Network, Origin};

use crate::error::{Error, Result, Step};

/// What the kernel takes (sethostname(2)).
const HOSTNAME_BYTES_MAX: usize = 64;

/// Refuses what is no host name.
pub fn check_hostname(name: &str) -> Result<()> {
    if name.len() > HOSTNAME_BYTES_MAX {
        return Err(Error::Usage(format!(
            "host name {name:?} has {} bytes, but at most {HOSTNAME_BYTES_MAX} are allowed; choose a shorter one with --hostname",
            name.len()
        )));
    }
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if name.is_empty() || !name.bytes().all(valid) {
        return Err(Error::Usage(format!(
            "{name:?} is not a valid host name: only letters, digits, -, . and _ are allowed"
        )));
    }
    Ok(())
}

/// What the user adds to the files; every field as written.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// `--add-host`
    pub hosts: Vec<String>,
    /// `--dns`
    pub dns: Vec<String>,
    /// `--dns-search`
    pub dns_search: Vec<String>,
    /// `--dns-option`
    pub dns_options: Vec<String>,
}

impl Names {
    /// Lines of `/etc/hosts`, from `NAME:ADDRESS`.
    fn host_lines(&self) -> Result<String> {
        let mut lines = String::new();
        for text in &self.hosts {
            let refused = |why: &str| Error::Usage(format!("--add-host {text}: {why}"));
            let parts = text.split_once(['=', ':']);
            let (name, address) = parts.ok_or_else(|| refused("must be NAME:ADDRESS"))?;
            check_hostname(name)?;
            if address == "host-gateway" {
                return Err(refused("host-gateway is not supported; name an address"));
            }
            let bare = address.trim_start_matches('[').trim_end_matches(']');
            let address: IpAddr = bare.parse().map_err(|_| refused("is not an IP address"))?;
            lines.push_str(&format!("{address}\t{name}\n"));
        }
        Ok(lines)
    }

    /// `/etc/resolv.conf`: the host's, where the user says nothing; each kind of line that is given takes the
    /// place of the host's.
    fn resolv_conf(&self, host: &str) -> Result<String> {
        let mut lines = String::new();
        for (option, keyword, words) in [
            ("--dns", "nameserver", &self.dns),
            ("--dns-search", "search", &self.dns_search),
            ("--dns-option", "options", &self.dns_options),
        ] {
            for word in words {
                let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic());
                let address = option != "--dns" || word.parse::<IpAddr>().is_ok();
                if !plain || !address {
                    return Err(Error::Usage(format!("{option} {word:?} is not valid")));
                }
            }
            let of_host = host.lines().filter(|line| {
                let first = line.split_whitespace().next();
                first == Some(keyword) || keyword == "search" && first == Some("domain")
            });
            match (keyword, words.is_empty()) {
                (_, true) => of_host.for_each(|line| lines.push_str(&format!("{line}\n"))),
                ("nameserver", false) => words
                    .iter()
                    .for_each(|word| lines.push_str(&format!("nameserver {word}\n"))),
                // A dot alone means no search list, as for Docker.
                ("search", false) if words == &["."] => {}
                (_, false) => lines.push_str(&format!("{keyword} {}\n", words.join(" "))),
            }
        }
        Ok(lines)
    }
}

/// Writes the files into the container's directory; the mounts that show them.
pub fn files(
    directory: &Path,
    hostname: &str,
    network: &Network,
    names: &Names,
) -> Result<Vec<Mount>> {
    let local = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
    let resolv = match network {
        Network::Host | Network::Namespace(_) | Network::Container { .. } => {
            std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
        }
        Network::None => String::new(),
        // The host's servers may be out of reach, as one at 127.0.0.53 is.
        Network::User(network) => {
            let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
            let others = host
                .lines()
                .filter(|line| !line.trim_start().starts_with("nameserver"));
            let others: String = others.map(|line| format!("{line}\n")).collect();
            format!("nameserver {}\n{others}", network.helper.name_server())
        }
    };
    let asked = [&names.dns, &names.dns_search, &names.dns_options];
    let resolv = if asked.iter().all(|words| words.is_empty()) {
        resolv
    } else {
        names.resolv_conf(&resolv)?
    };
    let added = names.host_lines()?;
    let files = [
        (
            "hosts",
            format!("{local}127.0.1.1\t{hostname}\n{added}").into_bytes(),
        ),
        ("hostname", format!("{hostname}\n").into_bytes()),
        ("resolv.conf", resolv.into_bytes()),
    ];
    let mut mounts = Vec::new();
    for (name, text) in files {
        let source = directory.join(name);
        std::fs::write(&source, text).step(format!("write {}", source.display()))?;
        mounts.push(Mount {
            target: format!("/etc/{name}").into(),
            what: MountKind::Bind { source },
            read_only: false,
            origin: Origin::Generated,
        });
    }
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use super::{Names, check_hostname};

    #[test]
    fn what_the_user_says_of_names_takes_the_place_of_the_hosts() {
        let host = "domain old.example\nnameserver 10.0.0.1\noptions ndots:2\n";
        let names = |dns: &[&str], search: &[&str]| {
            let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
            let names = Names {
                dns: words(dns),
                dns_search: words(search),
                ..Names::default()
            };
            names.resolv_conf(host).ok()
        };
        assert_eq!(
            names(&["10.1.1.1", "::1"], &["a.example"]).unwrap(),
            "nameserver 10.1.1.1\nnameserver ::1\nsearch a.example\noptions ndots:2\n"
        );
        assert_eq!(
            names(&[], &["."]).unwrap(),
            "nameserver 10.0.0.1\noptions ndots:2\n"
        );
        assert_eq!(names(&["dns.example"], &[]), None);
        assert_eq!(names(&[], &["a\nnameserver 6.6.6.6"]), None);
        let lines = |text: &str| {
            let names = Names {
                hosts: vec![text.to_owned()],
                ..Names::default()
            };
            names.host_lines().ok()
        };
        assert_eq!(lines("db:10.0.0.9").as_deref(), Some("10.0.0.9\tdb\n"));
        assert_eq!(lines("db=[::1]").as_deref(), Some("::1\tdb\n"));
        for bad in [
            "db",
            "db:",
            "db:host-gateway",
            "d b:1.1.1.1",
            "db:1.1.1.1\n2.2.2.2 x",
        ] {
            assert_eq!(lines(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_host_name_that_the_kernel_refuses_is_refused_first() {
        assert!(check_hostname(&"x".repeat(64)).is_ok());
        let e = check_hostname(&"x".repeat(65)).unwrap_err().to_string();
        assert!(e.contains("65 bytes") && e.contains("at most 64"), "{e}");
        assert!(check_hostname("").is_err() && check_hostname("a b").is_err());
    }
}
