//! The processes of a container, as the host sees them.

use std::fs;
use std::io::Read;

use rustix::fs::{CWD, Mode, OFlags, openat};
use serde::Serialize;

use crate::error::{Error, Result, Step};
use crate::init::user;
use crate::state::State;

/// What is shown of a command line at most.
const COMMAND_BYTES_MAX: u64 = 4096;
/// More than a container has that anybody would look at.
const PROCESSES_MAX: usize = 100_000;

/// A process in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Process {
    /// As the container numbers it.
    #[serde(rename = "pid")]
    pub container_pid: i32,
    /// As the host does.
    #[serde(rename = "host_pid")]
    pub pid: i32,
    /// Its parent, as the container numbers it; 0 where that is outside.
    #[serde(rename = "parent")]
    pub container_parent: i32,
    /// Number of its user, as the host has it.
    pub uid: u32,
    /// Name of the user, where the container has one.
    pub user: Option<String>,
    /// Processor time that it used, in milliseconds.
    pub cpu_ms: u64,
    /// Words of its command line, or its name in brackets.
    pub command: String,
}

fn text(path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(COMMAND_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Values of a line of `/proc/PID/status`.
fn field<'a>(status: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default().split_whitespace()
}

fn numbers(status: &str, name: &str) -> Vec<i32> {
    field(status, name).filter_map(|n| n.parse().ok()).collect()
}

/// All processes of the container in the given state: those in its PID namespace or below it, by number.
pub fn processes(state: &State) -> Result<Vec<Process>> {
    let gone = || Error::Invalid("the container is not running".into());
    let first = state.live_pid().ok_or_else(gone)?;
    let own = text(&format!("/proc/{first}/status")).ok_or_else(gone)?;
    // Its own number is the last of those that process 1 has.
    let own_numbers = numbers(&own, "NSpid:");
    let level = own_numbers.len();
    let root = openat(
        CWD,
        format!("/proc/{first}/root"),
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let passwd = root.map(|root| crate::init::read_in(&root, "etc/passwd"));
    let names = user::names(&passwd.unwrap_or_default());
    let ids = text(&format!("/proc/{first}/uid_map")).unwrap_or_default();
    let inside = Inside::of(first, own_numbers.last() == Some(&1)).ok_or_else(gone)?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").step("list processes")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if found.len() < PROCESSES_MAX
            && let Some(status) = text(&format!("/proc/{pid}/status"))
            && let Some(container_pid) = numbers(&status, "NSpid:").get(level - 1)
            && inside.has(pid)
            && let Some((parent, cpu_ms)) = times(pid)
        {
            let uid = field(&status, "Uid:")
                .next()
                .and_then(|uid| uid.parse().ok());
            let uid = uid.unwrap_or(u32::MAX);
            found.push(Process {
                pid,
                container_pid: *container_pid,
                container_parent: parent,
                uid,
                user: id_inside(&ids, uid).and_then(|uid| names.get(&uid).cloned()),
                cpu_ms,
                command: command(pid, &status),
            });
        }
    }
    // Parents are told as the host numbers them.
    let inner: std::collections::HashMap<i32, i32> =
        found.iter().map(|p| (p.pid, p.container_pid)).collect();
    for process in &mut found {
        process.container_parent = inner.get(&process.container_parent).copied().unwrap_or(0);
    }
    // Nobody took its place meanwhile.
    state.live_pid().ok_or_else(gone)?;
    found.sort_by_key(|process| process.container_pid);
    Ok(found)
}

/// A user as the container numbers it, by its map of ids (user_namespaces(7)).
fn id_inside(map: &str, uid: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let numbers = line.split_whitespace().map(|number| number.parse().ok());
        let numbers: Option<Vec<u32>> = numbers.collect();
        let &[first, outside, size] = numbers.as_deref()? else {
            return None;
        };
        let offset = uid.checked_sub(outside).filter(|offset| *offset < size)?;
        first.checked_add(offset)
    })
}

/// What tells a process of the container from others: its groups lie in the container's, or it shares the
/// PID namespace.
struct Inside {
    /// None where the namespace is not the container's own.
    namespace: Option<std::path::PathBuf>,
    groups: Vec<String>,
}

impl Inside {
    fn of(first: i32, is_first: bool) -> Option<Self> {
        let groups = text(&format!("/proc/{first}/cgroup"))?;
        let own = |line: &&str| {
            line.rsplit('/')
                .next()
                .is_some_and(|name| name.starts_with("cairn-"))
        };
        let namespace = fs::read_link(format!("/proc/{first}/ns/pid")).ok()?;
        Some(Self {
            namespace: is_first.then_some(namespace),
            groups: groups.lines().filter(own).map(str::to_owned).collect(),
        })
    }

    fn has(&self, pid: i32) -> bool {
        let link = || fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        if self.namespace.is_some() && self.namespace == link() {
            return true;
        }
        let groups = text(&format!("/proc/{pid}/cgroup")).unwrap_or_default();
        groups.lines().any(|line| {
            self.groups
                .iter()
                .any(|own| line == own || line.starts_with(&format!("{own}/")))
        })
    }
}

/// Parent and processor time of a process (proc_pid_stat(5), fields 4, 14 and 15).
fn times(pid: i32) -> Option<(i32, u64)> {
    let stat = text(&format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |i: usize| fields.get(i)?.parse::<u64>().ok();
    let ticks = number(11)?.saturating_add(number(12)?);
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)
        .ok()
        .flatten();
    let per_second = per_second
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or(100)
        .max(1);
    Some((
        fields.get(1)?.parse().ok()?,
        ticks.saturating_mul(1000) / per_second,
    ))
}

fn command(pid: i32, status: &str) -> String {
    let line = text(&format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = line.trim_end_matches('\0').replace('\0', " ");
    if !line.is_empty() {
        return line;
    }
    let name = status.lines().find_map(|line| line.strip_prefix("Name:"));
    format!("[{}]", name.unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_status_are_read() {
        let status = "Name:\tsh\nUid:\t33\t33\t33\t33\nNSpid:\t7000\t12\t3\n";
        assert_eq!(numbers(status, "NSpid:"), [7000, 12, 3]);
        assert_eq!(field(status, "Uid:").next(), Some("33"));
        assert_eq!(numbers(status, "Threads:"), Vec::<i32>::new());
        assert_eq!(command(0, status), "[sh]");
    }
}
