//! Ending containers: stop, kill, remove. Each of several containers gets its turn whatever becomes of the
//! others, and they end side by side.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cairn_repo::{Container, Repo};
use cairn_runtime::{LaunchSpec, State, group_name, remove_groups, sweep_groups};

use crate::error::{Error, Outcomes, Result};

const KILL: i32 = 9;
/// How long a container that was killed may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// How long a container that was asked to stop may take, unless told otherwise.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// What nobody would wait for anyway; larger numbers mean the same.
const STOP_SECONDS_MAX: u64 = 100 * 365 * 24 * 3600;
/// How long after that it is killed again.
const KILL_AGAIN: Duration = Duration::from_millis(200);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

struct Target {
    name: String,
    container: Container,
    directory: PathBuf,
}

impl Target {
    fn find(repo: &Repo, name: &str) -> Result<Self> {
        let container = repo.containers().find(name)?;
        Ok(Self {
            name: name.to_owned(),
            directory: repo.containers().dir(&container.id),
            container,
        })
    }

    fn state(&self) -> State {
        State::load(&self.directory)
    }

    /// Sends a signal to the container's process 1, if it still exists.
    fn signal(&self, state: &State, signal: i32) {
        send(state.live_pid(), |s| s.live_pid(), state, signal);
    }

    /// Ends its start, or its monitor.
    fn signal_monitor(&self, state: &State, signal: i32) {
        send(state.live_monitor(), |s| s.live_monitor(), state, signal);
    }
}

/// Signals a process by its descriptor: opened, then looked at again, so that it is the right one.
fn send(pid: Option<i32>, again: impl Fn(&State) -> Option<i32>, state: &State, signal: i32) {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    let Some(pid) = pid.and_then(Pid::from_raw) else {
        return;
    };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    if again(state).is_some() {
        // It may have ended just now, which is what was wanted.
        let _ = cairn_sys::send_signal(&process, signal);
    }
}

/// Waits until none of the containers is held by anybody; the places of those that still are in the end.
fn wait(targets: &[&Target], patience: Duration) -> Vec<usize> {
    wait_for_each(targets, &vec![patience; targets.len()])
}

/// The same with a patience for each.
fn wait_for_each(targets: &[&Target], patience: &[Duration]) -> Vec<usize> {
    let start = Instant::now();
    let mut left: Vec<usize> = (0..targets.len()).collect();
    loop {
        left.retain(|i| targets[*i].state().is_busy());
        // Those whose time is over wait for the last of the others, as a kill comes for all of them.
        if left.iter().all(|i| start.elapsed() > patience[*i]) {
            return left;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Kills what is left of containers: the process, then a monitor that does not end.
fn end(targets: &[&Target]) -> Vec<usize> {
    let start = Instant::now();
    let mut left: Vec<usize> = (0..targets.len()).collect();
    while !left.is_empty() && start.elapsed() < KILL_PATIENCE {
        for i in &left {
            let state = targets[*i].state();
            targets[*i].signal(&state, KILL);
            if state.live_pid().is_none() {
                // It has not begun yet: its start is interrupted. Where it begins right now, the next round
                // finds its process.
                targets[*i].signal_monitor(&state, 15);
            }
        }
        let some: Vec<&Target> = left.iter().map(|i| targets[*i]).collect();
        left = wait(&some, KILL_AGAIN)
            .into_iter()
            .map(|i| left[i])
            .collect();
    }
    for i in &left {
        targets[*i].signal_monitor(&targets[*i].state(), KILL);
    }
    let rest: Vec<&Target> = left.iter().map(|i| targets[*i]).collect();
    let still = wait(&rest, KILL_PATIENCE);
    still.into_iter().map(|i| left[i]).collect()
}

fn did_not_end(name: &str) -> Error {
    Error::Refused(format!("container {name} did not exit after SIGKILL"))
}

/// Asks containers to end with their stop signal, and kills those that have not after `patience`, or else the
/// time that they were created with.
pub fn stop(repo: &Repo, names: &[String], patience: Option<Duration>) -> Outcomes {
    let (targets, mut outcomes) = find_all(repo, names);
    let mut patiences = Vec::new();
    for target in &targets {
        let state = target.state();
        let spec = LaunchSpec::load(&target.directory);
        let own = spec.as_ref().ok().and_then(|spec| spec.stop_timeout_secs);
        let own = own.map_or(STOP_PATIENCE, |secs| {
            Duration::from_secs(secs.min(STOP_SECONDS_MAX))
        });
        patiences.push(patience.unwrap_or(own));
        let signal = spec.map_or(15, |spec| spec.stop_signal);
        if state.live_pid().is_some() {
            target.signal(&state, signal);
            if state.paused {
                // It could not do anything about the signal; it may have gone on meanwhile.
                let _ = cairn_runtime::unpause(&target.directory);
            }
        } else if state.is_busy() {
            target.signal_monitor(&state, 15);
        }
    }
    let all: Vec<&Target> = targets.iter().collect();
    let late: Vec<&Target> = wait_for_each(&all, &patiences)
        .into_iter()
        .map(|i| all[i])
        .collect();
    let never: Vec<&str> = end(&late)
        .into_iter()
        .map(|i| late[i].name.as_str())
        .collect();
    for target in &targets {
        let done = if never.contains(&target.name.as_str()) {
            Err(did_not_end(&target.name))
        } else {
            crate::events::tell(repo, &target.container, "stop");
            Ok(())
        };
        outcomes.push((target.name.clone(), done));
    }
    in_order(names, outcomes)
}

/// Sends a signal to the process 1 of containers that run.
pub fn kill(repo: &Repo, names: &[String], signal: i32) -> Outcomes {
    let (targets, mut outcomes) = find_all(repo, names);
    for target in &targets {
        let state = target.state();
        let done = if state.live_pid().is_some() && state.is_busy() {
            target.signal(&state, signal);
            crate::events::event(&target.container, "kill")
                .with("signal", signal)
                .write(repo.root());
            Ok(())
        } else {
            Err(Error::Refused(format!(
                "container {} is not running",
                target.name
            )))
        };
        outcomes.push((target.name.clone(), done));
    }
    in_order(names, outcomes)
}

/// Removes containers, with `force` also those that run, and with `volumes` the volumes that nobody named and
/// no other container uses.
pub fn remove(repo: &Repo, names: &[String], force: bool, volumes: bool) -> Outcomes {
    let (targets, mut outcomes) = find_all(repo, names);
    let busy: Vec<&Target> = targets.iter().filter(|t| t.state().is_busy()).collect();
    let never: Vec<&str> = if force {
        end(&busy)
            .into_iter()
            .map(|i| busy[i].name.as_str())
            .collect()
    } else {
        Vec::new()
    };
    for target in &targets {
        let (name, was_busy) = (&target.name, busy.iter().any(|b| b.name == target.name));
        let done = if was_busy && !force {
            Err(Error::Refused(format!(
                "container {name} is running; stop it with \"cairn stop {name}\", or use -f"
            )))
        } else if never.contains(&name.as_str()) {
            Err(did_not_end(name))
        } else {
            // What a monitor that was killed left behind.
            let id = &target.container.id;
            let spec = LaunchSpec::load(&repo.containers().dir(id));
            let group = spec.map(|spec| spec.group);
            remove_groups(&group.unwrap_or_else(|_| group_name(repo.root(), &id.hex())));
            remove_whole(repo, &target.container, volumes)
                .inspect(|()| crate::events::tell(repo, &target.container, "remove"))
        };
        outcomes.push((name.clone(), done));
    }
    in_order(names, outcomes)
}

/// Removes a container that does not run, and what is its own of volumes if that is wanted.
pub(crate) fn remove_whole(repo: &Repo, container: &Container, volumes: bool) -> Result<()> {
    let own = match volumes {
        true => crate::volumes::own(repo, container)?,
        false => Vec::new(),
    };
    repo.containers().remove(container)?;
    own.iter()
        .try_for_each(|name| match crate::volumes::remove_one(repo, name) {
            // Another container has it from this one.
            Err(Error::Repo(cairn_repo::Error::InUse { .. } | cairn_repo::Error::NoVolume(_))) => {
                Ok(())
            }
            done => done,
        })
}

/// Removes a container as soon as nobody holds it any more, for `--rm`: the monitor asks for it, or was
/// killed.
pub fn remove_when_ended(repo: &Repo, id: &str) -> Result<()> {
    let target = Target::find(repo, id)?;
    if !wait(&[&target], KILL_PATIENCE).is_empty() {
        return Err(Error::Refused(format!("container {id} is still running")));
    }
    let outcomes = remove(repo, &[id.to_owned()], false, true);
    outcomes.into_iter().try_for_each(|(_, done)| done)
}

/// Removes control groups that belong to no container that anybody watches: leftovers of monitors that were
/// killed. For collections.
pub fn sweep(repo: &Repo) -> Result<usize> {
    let containers = repo.containers().list()?;
    Ok(sweep_groups(repo.root(), |id| {
        containers.iter().any(|container| {
            container.id.hex() == id && State::load(&repo.containers().dir(&container.id)).is_busy()
        })
    }))
}

fn find_all(repo: &Repo, names: &[String]) -> (Vec<Target>, Outcomes) {
    let (mut targets, mut outcomes): (Vec<Target>, Outcomes) = (Vec::new(), Vec::new());
    for name in names {
        match Target::find(repo, name) {
            // The same one twice is one.
            Ok(target)
                if targets
                    .iter()
                    .any(|t| t.container.id == target.container.id) => {}
            Ok(target) => targets.push(target),
            Err(e) => outcomes.push((name.clone(), Err(e))),
        }
    }
    (targets, outcomes)
}

fn in_order(names: &[String], mut outcomes: Outcomes) -> Outcomes {
    outcomes.sort_by_key(|(name, _)| names.iter().position(|n| n == name));
    outcomes
}
