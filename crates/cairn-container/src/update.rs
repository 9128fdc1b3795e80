//! Other limits for containers that are there.

use cairn_repo::Repo;
use cairn_runtime::{LaunchSpec, State, change_limits};

use crate::error::Outcomes;
use crate::error::{Error, Result};
use crate::limits::LimitOptions;

/// Changes the limits that are given, of containers that run at once, of others for their next start.
pub fn update(repo: &Repo, names: &[String], limits: &LimitOptions) -> Outcomes {
    let one = |name: &String| update_one(repo, name, limits);
    names.iter().map(|name| (name.clone(), one(name))).collect()
}

fn update_one(repo: &Repo, name: &str, limits: &LimitOptions) -> Result<()> {
    let container = repo.containers().find(name)?;
    let directory = repo.containers().dir(&container.id);
    let mut spec = LaunchSpec::load(&directory)?;
    let new = limits.change(&spec.limits)?;
    let state = State::load(&directory);
    if state.is_busy() && !state.is_running() {
        return Err(Error::Refused(format!(
            "container {name} is starting or exiting; try again"
        )));
    }
    if state.is_running() {
        change_limits(&spec.group, &spec.limits, &new)?;
    }
    spec.limits = new;
    spec.save(&directory)?;
    crate::events::tell(repo, &container, "update");
    Ok(())
}
