//! `cairn start`, `cairn restart`

use anyhow::Result;
use cairn_container::{self as container, Interrupts};
use cairn_repo::Repo;

use super::Env;
use super::stop::{patience, told};
use crate::output::Usage;

/// `cairn start`
pub fn start(env: &Env, names: &[String], attach: bool, interactive: bool) -> Result<u8> {
    let interrupts = Interrupts::watch(env.root.clone())?;
    let repo = env.open()?;
    if !attach {
        let started = all(&repo, names, &interrupts);
        return told(env, "started", started);
    }
    let [name] = names else {
        return Err(Usage("-a takes one container".into()).into());
    };
    match container::again(&repo, name, false, interactive)? {
        None => Err(Usage(format!("container {name} is running already")).into()),
        Some(prepared) => {
            // From here on nothing holds the database.
            drop(repo);
            Err(prepared.become_monitor(&interrupts).into())
        }
    }
}

fn all(
    repo: &Repo,
    names: &[String],
    interrupts: &Interrupts,
) -> Vec<(String, container::Result<()>)> {
    let one = |name: &String| match container::again(repo, name, true, false)? {
        Some(prepared) => prepared.start_detached(interrupts),
        None => Ok(()),
    };
    names.iter().map(|name| (name.clone(), one(name))).collect()
}

/// `cairn restart`
pub fn restart(env: &Env, names: &[String], seconds: Option<u64>) -> Result<u8> {
    let interrupts = Interrupts::watch(env.root.clone())?;
    let repo = env.open()?;
    // One that could not be started again is not stopped.
    let (mut outcomes, mut ready) = (Vec::new(), Vec::new());
    for name in names {
        match container::check_secrets(&repo, name) {
            Ok(()) => ready.push(name.clone()),
            Err(e) => outcomes.push((name.clone(), Err(e))),
        }
    }
    let stopped = container::stop(&repo, &ready, patience(seconds));
    for (name, stopped) in stopped {
        let done = stopped.and_then(|()| {
            let started = all(&repo, std::slice::from_ref(&name), &interrupts);
            started.into_iter().try_for_each(|(_, done)| done)
        });
        outcomes.push((name, done));
    }
    told(env, "restarted", outcomes)
}
