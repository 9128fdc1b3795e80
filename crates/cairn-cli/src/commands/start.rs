//! `cairn start`, `cairn restart`

use anyhow::Result;
use cairn_container::{self as container, Interrupts};
use cairn_repo::Repo;

use super::stop::{patience, told};
use super::{Env, attach};
use crate::output::Usage;

/// `cairn start`; in the foreground with `attach`: whether with standard input, and the keys that leave it.
pub fn start(env: &Env, names: &[String], attach: Option<(bool, Option<&str>)>) -> Result<u8> {
    let interrupts = Interrupts::watch(env.root.clone())?;
    let Some((interactive, keys)) = attach else {
        let started = all(&env.open()?, names, &interrupts);
        return told(env, "started", started);
    };
    let [name] = names else {
        return Err(Usage("-a takes one container".into()).into());
    };
    let keys = keys.map(attach::keys_at_terminal).transpose()?;
    let repo = env.open()?;
    // One can leave only what goes on without this process.
    let Some(prepared) = container::again(&repo, name, keys.is_some(), interactive)? else {
        return Err(Usage(format!("container {name} is running already")).into());
    };
    // From here on nothing holds the database.
    drop(repo);
    match keys {
        None => Err(prepared.become_monitor(&interrupts).into()),
        Some(keys) if prepared.is_interactive() => {
            attach::outcome(prepared.start_attached(&interrupts, keys)?, name)
        }
        Some(_) => {
            let why = format!("--detach-keys: container {name} was not made with -it");
            Err(Usage(why).into())
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
