//! What there is to say about containers.

use cairn_repo::{Container, Repo};
use cairn_runtime::{LaunchSpec, State};

use crate::error::Result;

/// A container with the state of its process.
#[derive(Debug, Clone)]
pub struct Info {
    /// The container.
    pub container: Container,
    /// Its process.
    pub state: State,
}

/// All containers, newest first.
pub fn list(repo: &Repo) -> Result<Vec<Info>> {
    let with_state = |container: Container| Info {
        state: State::load(&repo.containers().dir(&container.id)),
        container,
    };
    Ok(repo
        .containers()
        .list()?
        .into_iter()
        .map(with_state)
        .collect())
}

/// One container, and how it was launched, if that was written down.
pub fn info(repo: &Repo, name: &str) -> Result<(Info, Option<LaunchSpec>)> {
    let container = repo.containers().find(name)?;
    let directory = repo.containers().dir(&container.id);
    let info = Info {
        state: State::load(&directory),
        container,
    };
    Ok((info, LaunchSpec::load(&directory).ok()))
}
