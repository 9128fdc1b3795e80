//! Another process in a container that runs.

use std::path::PathBuf;

use cairn_runtime::Capabilities;
use cairn_runtime::bundle::{Attendance, BundleProcess, Streams, exec_in_bundle};

use crate::Connection;
use crate::container::{Container, Root, Status};
use crate::document::{self, Process};
use crate::error::{Error, Result};
use crate::understand::{absolute, label, process};

/// What of a process is changed by options.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Command line.
    pub args: Vec<String>,
    /// Working directory.
    pub cwd: Option<String>,
    /// Variables, beside those that there are.
    pub env: Vec<String>,
    /// User and group by number.
    pub user: Option<(u32, Option<u32>)>,
    /// Supplementary groups beside.
    pub groups: Vec<u32>,
    /// Capabilities beside, in all sets.
    pub capabilities: Vec<String>,
    /// AppArmor's profile and SELinux's label.
    pub labels: (Option<String>, Option<String>),
    /// It may not gain privileges.
    pub no_new_privileges: bool,
    /// It has a terminal.
    pub terminal: bool,
}

/// How a process is started in a container.
#[derive(Debug, Clone, Default)]
pub struct Joining {
    /// A document that describes it; else the container's own process does.
    pub process: Option<PathBuf>,
    /// What is different.
    pub changes: Changes,
    /// Its streams.
    pub connection: Connection,
    /// Descriptors from 3 on that it inherits.
    pub preserved: u32,
    /// Also in a container that is held still.
    pub ignore_paused: bool,
}

/// Starts it; with a caller that stays, the answer is its exit code.
pub fn exec(root: &Root, id: &str, joining: &Joining) -> Result<u8> {
    let container = root.get(id)?;
    match container.status() {
        Status::Stopped => {
            return Err(Error::Refused("cannot exec in a stopped container".into()));
        }
        Status::Paused if !joining.ignore_paused => {
            return Err(Error::Refused(
                "cannot exec in a paused container (use --ignore-paused to override)".into(),
            ));
        }
        _ => {}
    }
    let mut wanted = wanted(&container, joining)?;
    joining.connection.check(wanted.terminal)?;
    let (first, _) = container.hold()?;
    let (attendance, streams) = match joining.connection.detach {
        true => (None, Streams::Inherited),
        false => {
            let (attendance, streams) = Attendance::new(&mut wanted)?;
            (Some(attendance), streams)
        }
    };
    let mut begun = exec_in_bundle(&wanted, container.group(), &first, streams)?;
    let (pid, held) = (begun.pid()?, begun.take_process()?);
    let terminal = begun.take_terminal();
    if let (Some(terminal), true) = (&terminal, joining.connection.detach) {
        joining.connection.give(terminal)?;
    }
    joining.connection.note(pid)?;
    begun.finish(true)?;
    match attendance {
        Some(attendance) => Ok(attendance.stay(pid, &held, terminal)?),
        None => Ok(0),
    }
}

fn wanted(container: &Container, joining: &Joining) -> Result<BundleProcess> {
    let own = &container.stored.spec.process;
    let mut wanted = match &joining.process {
        Some(path) => {
            let document: Process = document::read(path)?;
            let mut wanted = process(&document, None)?;
            if document.capabilities.is_none() {
                wanted.capabilities = own.capabilities.clone();
            }
            // The filter is the container's, for all of its processes.
            wanted.seccomp = own.seccomp.clone();
            wanted.keyring = own.keyring;
            wanted
        }
        None => changed(own, &joining.changes)?,
    };
    wanted.preserved = joining.preserved;
    Ok(wanted)
}

fn changed(own: &BundleProcess, changes: &Changes) -> Result<BundleProcess> {
    let mut wanted = own.clone();
    if changes.args.is_empty() {
        return Err(Error::Invalid(
            "exec needs a command, or --process FILE".into(),
        ));
    }
    wanted.args = changes.args.clone();
    wanted.terminal = changes.terminal;
    if let Some(cwd) = &changes.cwd {
        wanted.cwd = absolute("--cwd", cwd)?;
    }
    wanted.env.extend(changes.env.iter().cloned());
    if let Some((uid, gid)) = changes.user {
        (wanted.uid, wanted.gid) = (uid, gid.unwrap_or(own.gid));
    }
    wanted.groups.extend(&changes.groups);
    wanted.no_new_privileges |= changes.no_new_privileges;
    if let (apparmor, selinux) = &changes.labels
        && (apparmor.is_some() || selinux.is_some())
    {
        let text = |label: &Option<String>| label.clone().unwrap_or_default();
        wanted.label = label(&text(apparmor), &text(selinux))?;
    }
    let (added, unknown) = Capabilities::known(&changes.capabilities);
    if let Some(name) = unknown.first() {
        return Err(Error::Invalid(format!("--cap: {name:?} is unknown")));
    }
    let sets = &mut wanted.capabilities;
    for set in [
        &mut sets.bounding,
        &mut sets.effective,
        &mut sets.permitted,
        &mut sets.inheritable,
        &mut sets.ambient,
    ] {
        set.extend(&added);
    }
    Ok(wanted)
}
