//! What surrounds a process: namespaces it shares.

use cairn_repo::Repo;
use cairn_runtime::{LaunchSpec, Network, Space, State};

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

/// Whose namespaces a container is in.
pub(crate) struct Spaces {
    pub ipc: Space,
    pub uts: Space,
    pub pid: Space,
}

impl Spaces {
    fn check(&self, network: &Network) -> Result<()> {
        if self.pid == Space::Private || !matches!(network, Network::User(_)) {
            return Ok(());
        }
        Err(Error::Usage(
            "--pid host and --pid container:NAME do not go with --network user, whose helper ends with a PID namespace of the container's own".into(),
        ))
    }
}

impl Surroundings {
    /// The namespaces that are shared.
    pub(crate) fn spaces(&self, repo: &Repo, network: &Network) -> Result<Spaces> {
        let spaces = Spaces {
            ipc: space(repo, "--ipc", self.ipc.as_deref())?,
            uts: space(repo, "--uts", self.uts.as_deref())?,
            pid: space(repo, "--pid", self.pid.as_deref())?,
        };
        spaces.check(network).map(|()| spaces)
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
    neighbour(repo, option, name)
}

/// The namespaces of a launch as they are now: those of other containers are looked up by their ids.
pub(crate) fn look_up_again(repo: &Repo, spec: &mut LaunchSpec) -> Result<()> {
    again(repo, "--ipc", &mut spec.ipc)?;
    again(repo, "--uts", &mut spec.uts)?;
    again(repo, "--pid", &mut spec.pid)
}

fn again(repo: &Repo, option: &str, space: &mut Space) -> Result<()> {
    match space {
        // The first versions did not write the id down; then only that very process will do.
        Space::Container { id, .. } if !id.is_empty() => *space = neighbour(repo, option, id)?,
        _ => {}
    }
    Ok(())
}

/// The namespaces of a container that runs.
fn neighbour(repo: &Repo, option: &str, name: &str) -> Result<Space> {
    let container = repo.containers().find(name)?;
    let state = State::load(&repo.containers().dir(&container.id));
    let (ticks, id) = (state.start_ticks, container.id.hex());
    let lives = state
        .live_pid()
        .map(|pid| Space::Container { pid, ticks, id });
    let name = container.name;
    let gone = || format!("{option} container:{name}: the container is not running");
    lives.ok_or_else(|| Error::Refused(gone()))
}
