//! Limits of a process (getrlimit(2)).

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Step};

/// A limit of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Its name, one of [`Ulimit::NAMES`].
    pub name: String,
    /// What counts.
    pub soft: u64,
    /// How far the process may raise it; 2⁶⁴−1 is unlimited.
    pub hard: u64,
}

const RESOURCES: [(&str, Resource); 15] = [
    ("core", Resource::RLIMIT_CORE),
    ("cpu", Resource::RLIMIT_CPU),
    ("data", Resource::RLIMIT_DATA),
    ("fsize", Resource::RLIMIT_FSIZE),
    ("locks", Resource::RLIMIT_LOCKS),
    ("memlock", Resource::RLIMIT_MEMLOCK),
    ("msgqueue", Resource::RLIMIT_MSGQUEUE),
    ("nice", Resource::RLIMIT_NICE),
    ("nofile", Resource::RLIMIT_NOFILE),
    ("nproc", Resource::RLIMIT_NPROC),
    ("rss", Resource::RLIMIT_RSS),
    ("rtprio", Resource::RLIMIT_RTPRIO),
    ("rttime", Resource::RLIMIT_RTTIME),
    ("sigpending", Resource::RLIMIT_SIGPENDING),
    ("stack", Resource::RLIMIT_STACK),
];

impl Ulimit {
    /// All names, as Docker has them.
    pub const NAMES: [&str; RESOURCES.len()] = {
        let mut names = [""; RESOURCES.len()];
        let mut i = 0;
        while i < names.len() {
            names[i] = RESOURCES[i].0;
            i += 1;
        }
        names
    };

    /// True for a name that there is: one of [`Ulimit::NAMES`], or `as`, which only bundles have.
    pub fn is_known(&self) -> bool {
        self.resource().is_ok()
    }

    pub(crate) fn resource(&self) -> Result<Resource> {
        if self.name == "as" {
            return Ok(Resource::RLIMIT_AS);
        }
        let found = RESOURCES.iter().find(|(name, _)| *name == self.name);
        found
            .map(|(_, resource)| *resource)
            .ok_or_else(|| Error::Invalid(format!("there is no limit {:?}", self.name)))
    }

    /// No higher than this process may give: without CAP_SYS_RESOURCE no limit of its own can be raised, and
    /// nobody may have more descriptors than the kernel's most.
    pub fn clamped(mut self) -> Self {
        let may_raise = caps::has_cap(
            None,
            caps::CapSet::Effective,
            caps::Capability::CAP_SYS_RESOURCE,
        )
        .unwrap_or(false);
        let own = self.resource().ok().and_then(|r| getrlimit(r).ok());
        if let (false, Some((_, most))) = (may_raise, own) {
            self.hard = self.hard.min(most);
        }
        if self.name == "nofile" {
            let most = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap_or_default();
            self.hard = self.hard.min(most.trim().parse().unwrap_or(u64::MAX));
        }
        self.soft = self.soft.min(self.hard);
        self
    }

    /// Sets it for this process and what it becomes.
    pub(crate) fn set(&self) -> Result<()> {
        setrlimit(self.resource()?, self.soft, self.hard).step(format!(
            "set the limit {} to {}:{}",
            self.name, self.soft, self.hard
        ))
    }
}
