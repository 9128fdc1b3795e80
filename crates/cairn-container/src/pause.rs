//! Holding containers still, and letting them go on.

use cairn_repo::Repo;
use cairn_runtime::State;

use crate::error::Outcomes;
use crate::error::{Error, Result};

fn each(
    repo: &Repo,
    names: &[String],
    action: &str,
    act: impl Fn(&std::path::Path) -> cairn_runtime::Result<()>,
) -> Outcomes {
    let one = |name: &String| -> Result<()> {
        let container = repo.containers().find(name)?;
        let directory = repo.containers().dir(&container.id);
        if !State::load(&directory).is_running() {
            return Err(Error::Refused(format!("container {name} is not running")));
        }
        act(&directory).map_err(|e| match e {
            cairn_runtime::Error::Invalid(words) => Error::Refused(words),
            e => Error::from(e),
        })?;
        crate::events::tell(repo, &container, action);
        Ok(())
    };
    names.iter().map(|name| (name.clone(), one(name))).collect()
}

/// Holds all processes of containers still, until they are told to go on or end.
pub fn pause(repo: &Repo, names: &[String]) -> Outcomes {
    each(repo, names, "pause", cairn_runtime::pause)
}

/// Lets containers that were paused go on.
pub fn unpause(repo: &Repo, names: &[String]) -> Outcomes {
    each(repo, names, "unpause", cairn_runtime::unpause)
}
