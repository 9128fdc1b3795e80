//! A network of the container's own that reaches the outside through a process of the user's: pasta or
//! slirp4netns, which need no privilege.
//!
//! The helper is started by the monitor when the container's network namespace is there and its root is built, and
//! before its program begins. It is in the PID namespace around the container's, as the [process between monitor
//! and container](crate::monitor): whatever ends that, a kill of the monitor included, ends the helper.

mod helper;
mod slirp;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use helper::attach;

/// A network that a helper makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserNetwork {
    /// Which helper.
    pub helper: NetworkHelper,
    /// Its program.
    pub program: PathBuf,
    /// Ports of the host that lead to the container.
    pub ports: Vec<Port>,
}

/// A program that connects a network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkHelper {
    /// pasta, of the package passt: the container has the host's address.
    Pasta,
    /// slirp4netns: the container has an address of its own, 10.0.2.100.
    Slirp4netns,
}

impl NetworkHelper {
    /// All helpers, best first.
    pub const ALL: [Self; 2] = [Self::Pasta, Self::Slirp4netns];

    /// What its program is called.
    pub fn program(self) -> &'static str {
        match self {
            Self::Pasta => "pasta",
            Self::Slirp4netns => "slirp4netns",
        }
    }

    /// The address at which it passes questions for names on to the host's servers.
    pub fn name_server(self) -> &'static str {
        match self {
            Self::Pasta => helper::NAME_SERVER,
            Self::Slirp4netns => slirp::NAME_SERVER,
        }
    }

    /// The first helper that is installed in one of these directories, with its program.
    pub fn find(search: &std::ffi::OsStr) -> Option<(Self, PathBuf)> {
        Self::ALL.into_iter().find_map(|helper| {
            let programs = std::env::split_paths(search).map(|place| place.join(helper.program()));
            let usable = |path: &PathBuf| {
                path.is_absolute() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
            };
            Some((helper, programs.into_iter().find(usable)?))
        })
    }
}

/// A port of the host that leads to one of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Address of the host; every one where none is said.
    pub address: Option<IpAddr>,
    /// Number of the host's port.
    pub host: u16,
    /// Number of the container's port.
    pub container: u16,
    /// UDP instead of TCP.
    pub udp: bool,
}

impl Port {
    /// `tcp` or `udp`.
    pub fn protocol(&self) -> &'static str {
        if self.udp { "udp" } else { "tcp" }
    }

    /// Its address and number on the host.
    fn on_host(&self) -> String {
        match self.address {
            Some(IpAddr::V6(address)) => format!("[{address}]:{}", self.host),
            Some(address) => format!("{address}:{}", self.host),
            None => format!("0.0.0.0:{}", self.host),
        }
    }

    /// As Docker's `ps` shows it: `127.0.0.1:8080->80/tcp`.
    pub fn short(&self) -> String {
        format!("{}->{}/{}", self.on_host(), self.container, self.protocol())
    }

    /// As reports show it.
    pub fn fields(&self) -> impl Serialize + use<> {
        PortFields {
            address: self.address,
            host: self.host,
            container: self.container,
            protocol: self.protocol(),
        }
    }
}

#[derive(Serialize)]
struct PortFields {
    address: Option<IpAddr>,
    host: u16,
    container: u16,
    protocol: &'static str,
}

/// As Docker's `port` shows it: `80/tcp -> 127.0.0.1:8080`.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (container, protocol) = (self.container, self.protocol());
        write!(f, "{container}/{protocol} -> {}", self.on_host())
    }
}

/// Where the container's network namespace is seen by its helper, in the container's directory.
fn place(directory: &Path) -> PathBuf {
    directory.join("network")
}
