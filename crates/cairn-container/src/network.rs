//! `--network` and `--publish`: which network a container is in, and which ports of the host lead there.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cairn_repo::Repo;
use cairn_runtime::{LaunchSpec, Network, NetworkHelper, Port, State, UserNetwork};

use crate::error::{Error, Result, Step};

/// As many as somebody writes down.
const PORTS_MAX: usize = 1000;

/// The network by its name on the command line: `host`, `none`, `user` or `ns:PATH`. With `ports` it is `user`
/// where nothing else is said, else `host`.
pub fn network(text: Option<&str>, ports: &[String]) -> Result<Network> {
    let text = text.unwrap_or(if ports.is_empty() { "host" } else { "user" });
    if text == "user" {
        return user(ports);
    }
    if !ports.is_empty() {
        return Err(Error::Usage(format!(
            "--publish needs --network user; with --network {text} the ports of a server are where it listens"
        )));
    }
    let path = match text {
        "host" => return Ok(Network::Host),
        "none" => return Ok(Network::None),
        text if text.starts_with("container:") => {
            return Ok(Network::Container {
                id: text["container:".len()..].to_owned(),
                pid: 0,
                ticks: 0,
            });
        }
        text => text.strip_prefix("ns:").map(PathBuf::from),
    };
    let Some(path) = path.filter(|path| path.is_absolute()) else {
        return Err(Error::Usage(format!(
            "--network {text}: must be host, none, user, container:NAME or ns:PATH with an absolute path"
        )));
    };
    let inode = |path: &Path| {
        let meta = std::fs::metadata(path).step(format!("--network ns:{}", path.display()))?;
        Ok::<_, Error>((meta.dev(), meta.ino()))
    };
    // The host's by another name is the host's.
    if inode(&path)? == inode(Path::new("/proc/self/ns/net"))? {
        return Ok(Network::Host);
    }
    Ok(Network::Namespace(path))
}

/// The network as it is now: that of another container is looked up by its name or id.
pub(crate) fn resolve(repo: &Repo, network: &Network) -> Result<Network> {
    let Network::Container { id: name, .. } = network else {
        return Ok(network.clone());
    };
    let container = repo.containers().find(name)?;
    let directory = repo.containers().dir(&container.id);
    let state = State::load(&directory);
    let pid = state.live_pid().ok_or_else(|| {
        Error::Refused(format!(
            "--network container:{name}: the container is not running"
        ))
    })?;
    // The host's is the host's, whoever has it, too.
    match LaunchSpec::load(&directory)?.network {
        Network::Host => Ok(Network::Host),
        _ => Ok(Network::Container {
            id: container.id.hex(),
            pid,
            ticks: state.start_ticks,
        }),
    }
}

fn user(ports: &[String]) -> Result<Network> {
    if ports.len() > PORTS_MAX {
        return Err(Error::Usage(format!(
            "--publish: at most {PORTS_MAX} ports"
        )));
    }
    let parsed: Result<Vec<Port>> = ports.iter().map(|text| port(text)).collect();
    let ports = parsed?;
    for (i, port) in ports.iter().enumerate() {
        let same = |other: &Port| {
            (other.host, other.udp) == (port.host, port.udp)
                && (other.address.is_none()
                    || port.address.is_none()
                    || other.address == port.address)
        };
        if ports[..i].iter().any(same) {
            return Err(Error::Usage(format!(
                "--publish: port {} of the host is given twice",
                port.host
            )));
        }
    }
    let search = std::env::var_os("PATH").unwrap_or_default();
    let Some((helper, program)) = NetworkHelper::find(&search) else {
        return Err(Error::Refused(
            "--network user needs pasta or slirp4netns; install the package passt (or slirp4netns)"
                .into(),
        ));
    };
    Ok(Network::User(UserNetwork {
        helper,
        program,
        ports,
    }))
}

/// `[IP:]HOST:CONTAINER[/tcp|/udp]`
fn port(text: &str) -> Result<Port> {
    let refused = |why: &str| Error::Usage(format!("--publish {text}: {why}"));
    let (rest, udp) = match text.rsplit_once('/') {
        None | Some((_, "tcp")) => (text.strip_suffix("/tcp").unwrap_or(text), false),
        Some((rest, "udp")) => (rest, true),
        Some(_) => return Err(refused("the protocol must be tcp or udp")),
    };
    let form = || refused("must be [IP:]HOST:CONTAINER[/udp], with one port of each side");
    let (before, container) = rest.rsplit_once(':').ok_or_else(form)?;
    let (address, host) = match before.rsplit_once(':') {
        None => (None, before),
        Some((address, host)) => (Some(address), host),
    };
    let address = address.map(|address| {
        let bare = match address.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').unwrap_or(address),
            None => address,
        };
        bare.parse::<IpAddr>()
            .map_err(|_| refused("the part before the ports is not an IP address"))
    });
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse::<u16>().ok().filter(|n| digits && *n > 0);
        number.ok_or_else(form)
    };
    Ok(Port {
        address: address.transpose()?,
        host: number(host)?,
        container: number(container)?,
        udp,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_an_address_two_numbers_and_a_protocol() {
        let shown = |text: &str| port(text).map(|port| port.to_string()).ok();
        for (text, port) in [
            ("8080:80", "80/tcp -> 0.0.0.0:8080"),
            ("127.0.0.1:53:5353/udp", "5353/udp -> 127.0.0.1:53"),
            ("[::1]:8080:80/tcp", "80/tcp -> [::1]:8080"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(port), "{text}");
        }
        for text in [
            "80",
            "",
            ":",
            "0:80",
            "80:0",
            "65536:80",
            "+8:80",
            "a:80",
            "host:80:80",
            "80:80/sctp",
            "80-90:80-90",
            "[::1:80:80",
            "1.2.3:80:80",
            "80:80/",
            ":80:80",
        ] {
            assert!(port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_of_the_host_leads_to_one_place() {
        let of = |ports: &[&str]| {
            let ports: Vec<String> = ports.iter().map(|port| (*port).to_owned()).collect();
            network(Some("user"), &ports).map_err(|e| e.to_string())
        };
        for ports in [["80:80", "80:81"], ["127.0.0.1:80:80", "80:81"]] {
            assert!(of(&ports).unwrap_err().contains("given twice"), "{ports:?}");
        }
        let error = network(Some("none"), &["80:80".into()]).unwrap_err();
        assert!(error.to_string().contains("needs --network user"));
    }
}
