//! What surrounds a process: namespaces it shares.

use cairn_repo::Repo;
use cairn_runtime::{Space, State};

use crate::error::{Error, Result};

/// What the user says of it; every field as written.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `--ipc`
    pub ipc: Option<String>,
    /// `--uts`
    pub uts: Option<String>,
    /// `--pid`
    pub pid: Option<String>,
    /// `--userns`
    pub userns: Option<String>,
    /// `--sysctl`
    pub sysctls: Vec<String>,
    /// `--ulimit`
    pub ulimits: Vec<String>,
    /// `--shm-size`
    pub shm_size: Option<String>,
}

impl Surroundings {
    /// Where the host name is from, and the namespaces that are shared.
    pub(crate) fn spaces(&self, repo: &Repo) -> Result<(Space, Space)> {
        if let Some(text) = self.pid.as_deref().filter(|text| *text != "private") {
            return Err(Error::Usage(format!(
                "--pid {text} is not supported: the processes of a container could then outlive it"
            )));
        }
        Ok((
            space(repo, "--ipc", self.ipc.as_deref())?,
            space(repo, "--uts", self.uts.as_deref())?,
        ))
    }

    /// Size of `/dev/shm`, bytes.
    pub(crate) fn shm_bytes(&self) -> Result<u64> {
        const USUAL: u64 = 64 << 20;
        match &self.shm_size {
            None => Ok(USUAL),
            Some(text) => match crate::limits::bytes("--shm-size", text)? {
                // Without a limit a tmpfs has half of the memory.
                0 => Err(Error::Usage(format!("--shm-size {text}: must be above 0"))),
                size => Ok(size),
            },
        }
    }
}

/// `private`, `host` or `container:NAME`.
fn space(repo: &Repo, option: &str, text: Option<&str>) -> Result<Space> {
    let name = match text {
        None | Some("private" | "shareable") => return Ok(Space::Private),
        Some("host") => return Ok(Space::Host),
        Some(text) => text.strip_prefix("container:").ok_or_else(|| {
            Error::Usage(format!(
                "{option} {text}: must be private, host or container:NAME"
            ))
        })?,
    };
    let container = repo.containers().find(name)?;
    let state = State::load(&repo.containers().dir(&container.id));
    match state.live_pid() {
        Some(pid) => Ok(Space::Container(pid, state.start_ticks)),
        None => Err(Error::Refused(format!(
            "{option} {name}: the container is not running"
        ))),
    }
}
