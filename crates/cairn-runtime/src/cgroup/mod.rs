//! The control groups of a container: one of its own in every hierarchy that this process may change, so
//! that it shares none with whoever started it (Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst).
//!
//! Version 2 freezes and kills the group with everything below it, whatever groups the container made for
//! itself. A host that lets us make no groups is no reason not to run; only freezing needs one, and says so.

mod change;
mod delegated;
mod devices;
mod figures;
mod frozen;
mod limits;

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, openat};

pub use self::change::change;
pub use self::delegated::make_room;
pub use self::figures::{Figures, figures};
pub use self::frozen::{Frozen, freeze, is_frozen, thaw};
use crate::error::{Result, Step};
use crate::limits::{DeviceRule, Limits};

const EMPTY_TIMEOUT: Duration = Duration::from_secs(2);
const PREFIX: &str = "cairn-";

/// A mounted hierarchy.
struct Hierarchy {
    root: PathBuf,
    unified: bool,
}

/// All hierarchies that are mounted here, each once; as they were when this process first looked.
fn hierarchies() -> &'static [Hierarchy] {
    static FOUND: OnceLock<Vec<Hierarchy>> = OnceLock::new();
    FOUND.get_or_init(find_hierarchies)
}

/// The same by the table of mounts (proc_pid_mountinfo(5)).
fn find_hierarchies() -> Vec<Hierarchy> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<(String, Hierarchy)> = Vec::new();
    for line in table.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let fields: Vec<&str> = before.split(' ').collect();
        let kind: Vec<&str> = after.split(' ').collect();
        let ([_, _, device, "/", root, ..], ["cgroup" | "cgroup2", ..]) = (&fields[..], &kind[..])
        else {
            continue;
        };
        if found.iter().all(|(known, _)| known != device) {
            let unified = kind[0] == "cgroup2";
            found.push((
                (*device).to_owned(),
                Hierarchy {
                    root: root.into(),
                    unified,
                },
            ));
        }
    }
    found.into_iter().map(|(_, hierarchy)| hierarchy).collect()
}

/// Name of a container's groups. `repository` tells the containers of one repository from those of others. An
/// ordinary user's are below the group that they were given.
pub fn group_name(repository: &Path, id: &str) -> String {
    let name = format!("{}{id}", repository_prefix(repository));
    match delegated::subtree() {
        Some(above) => format!("{above}/{name}"),
        None => name,
    }
}

fn repository_prefix(repository: &Path) -> String {
    let path = repository.canonicalize().unwrap_or(repository.to_owned());
    let hash = blake3::hash(path.as_os_str().as_encoded_bytes()).to_hex();
    format!("{PREFIX}{}-", &hash[..8])
}

/// Makes the groups; the directory of the one of version 2, for a process that is to begin in it.
///
/// The kernel lets whoever moves a process between groups wait until all processors have been elsewhere for once:
/// six to twenty milliseconds, the greater part of a launch. It does not for a process that begins in its group, and
/// in version 1 not for a thread that moves itself ([`enter_alone`]).
pub fn prepare(group: &str) -> Option<OwnedFd> {
    let hierarchies = hierarchies();
    make(hierarchies, group);
    let unified = hierarchies.iter().find(|hierarchy| hierarchy.unified)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, unified.root.join(group), flags, Mode::empty()).ok()
}

/// Puts this process, which has one thread, into its groups of version 1. Where that is refused, [`place`] has to.
pub fn enter_alone(group: &str) {
    for hierarchy in hierarchies().iter().filter(|h| !h.unified) {
        let _ = fs::write(hierarchy.root.join(group).join("tasks"), "0");
    }
}

/// True for a group that the process is in.
fn has(path: &Path, pid: i32) -> bool {
    let members = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    members.lines().any(|line| line.parse() == Ok(pid))
}

/// Makes the groups where they are missing, sets their limits and puts a process into those it is not in.
pub fn place(group: &str, limits: &Limits, pid: i32) -> Result<()> {
    let hierarchies = hierarchies();
    let is_elsewhere = |hierarchy: &&Hierarchy| !has(&hierarchy.root.join(group), pid);
    for hierarchy in hierarchies.iter().filter(is_elsewhere) {
        make(std::slice::from_ref(hierarchy), group);
        let path = hierarchy.root.join(group);
        if fs::write(path.join("cgroup.procs"), pid.to_string()).is_err() {
            // Without limits, sharing the caller's group is no reason not to run.
            let _ = fs::remove_dir(&path);
        }
    }
    // The process is ours until its root is built: nothing is lost by limits that come after it.
    limits::apply(hierarchies, group, limits)
}

/// Changes the limits of groups that are there.
pub fn limit(group: &str, limits: &Limits) -> Result<()> {
    limits::apply(hierarchies(), group, limits)
}

/// The processes in a group and below it, as the host numbers them, each once.
pub fn members(group: &str) -> std::collections::BTreeSet<i32> {
    let places = places(group);
    places
        .iter()
        .flat_map(|place| processes_below(&place.path))
        .collect()
}

/// The processes in a group, by its directory, and below it. Those that this process cannot see are left out.
fn processes_below(path: &Path) -> Vec<i32> {
    let mut all = Vec::new();
    subtree(path, 0, &mut all);
    let read = |path: &PathBuf| fs::read_to_string(path.join("cgroup.procs")).ok();
    let texts: Vec<String> = all.iter().filter_map(read).collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    lines
        .filter_map(|line| line.parse().ok().filter(|pid| *pid > 0))
        .collect()
}

/// Denies the container all devices but those of the rules: once its root is built, for some drivers mount
/// block devices.
pub fn restrict_devices(group: &str, rules: &[DeviceRule]) -> Result<()> {
    devices::restrict(hierarchies(), group, rules)
}

/// True where this process can control the devices of a container.
pub fn can_control_devices() -> bool {
    rustix::process::geteuid().is_root()
        && crate::rootless::has_all_ids()
        && devices::possible(hierarchies())
}

/// True where the kernel killed a process of the container because its memory was used up.
pub fn ran_out_of_memory(group: &str) -> bool {
    limits::ran_out_of_memory(hierarchies(), group)
}

fn make(hierarchies: &[Hierarchy], group: &str) {
    for hierarchy in hierarchies {
        // The name of a bundle's groups may have directories in it.
        let mut above = hierarchy.root.clone();
        for name in group.split('/').filter(|name| !name.is_empty()) {
            let path = above.join(name);
            if fs::create_dir(&path).is_err() && !path.is_dir() {
                break;
            }
            if hierarchy.unified {
                limits::enable_controllers(&above);
            } else {
                fill_cpuset(&above, &path);
            }
            above = path;
        }
    }
}

/// A group of cpusets takes no process before it has processors and memory: those of the one above, where it has
/// none of its own.
fn fill_cpuset(above: &Path, path: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = fs::read_to_string(path.join(file)).unwrap_or_default();
        if let (true, Ok(all)) = (own.trim().is_empty(), fs::read(above.join(file))) {
            let _ = fs::write(path.join(file), all);
        }
    }
}

/// A group of a container, in a hierarchy that has one.
pub struct GroupPlace {
    /// Name of the hierarchy's directory, as `cpu,cpuacct` or `unified`.
    pub name: String,
    /// The group.
    pub path: PathBuf,
    /// It is of version 2.
    pub unified: bool,
}

/// The groups that a container has.
pub fn places(group: &str) -> Vec<GroupPlace> {
    let place = |hierarchy: &Hierarchy| {
        let path = hierarchy.root.join(group);
        let name = hierarchy.root.file_name()?.to_string_lossy().into_owned();
        let unified = hierarchy.unified;
        path.is_dir().then_some(GroupPlace {
            name,
            path,
            unified,
        })
    };
    hierarchies().iter().filter_map(place).collect()
}

/// Puts this process, and what it starts, into the groups of a container that runs: into all that it has.
pub fn join(group: &str) -> Result<()> {
    for hierarchy in hierarchies() {
        let path = hierarchy.root.join(group);
        if path.is_dir() {
            let joined = fs::write(path.join("cgroup.procs"), "0");
            joined.step("join the container's control groups")?;
        }
    }
    Ok(())
}

/// Directories of a group, the deepest first.
fn subtree(path: &Path, depth: usize, out: &mut Vec<PathBuf>) {
    // Deeper than this nothing was made by a container that could not be removed by hand.
    if depth > 64 {
        return;
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            subtree(&entry.path(), depth + 1, out);
        }
    }
    out.push(path.to_owned());
}

fn remove_tree(path: &Path) -> bool {
    let mut all = Vec::new();
    subtree(path, 0, &mut all);
    let mut done = true;
    for path in all {
        done &= fs::remove_dir(&path).is_ok() || !path.exists();
    }
    done
}

/// Removes the container's groups with all that the container made below them.
pub fn remove(group: &str) {
    let start = Instant::now();
    for hierarchy in hierarchies() {
        let path = hierarchy.root.join(group);
        // Busy for a moment after the last process.
        while path.exists() && !remove_tree(&path) && start.elapsed() < EMPTY_TIMEOUT {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Kills whatever is left in the groups of a container, and removes them.
pub fn kill_and_remove(group: &str) {
    let start = Instant::now();
    for hierarchy in hierarchies() {
        let path = hierarchy.root.join(group);
        while path.exists() && start.elapsed() < EMPTY_TIMEOUT {
            kill(&path);
            if remove_tree(&path) {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Kills all processes of a group and below it, at once where the kernel can (Linux 5.14, version 2); what is frozen
/// dies, too.
fn kill(path: &Path) {
    if fs::write(path.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let pids = processes_below(path).into_iter();
    for pid in pids.filter_map(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Removes the groups of this repository's containers for which `keep` says no; how many.
pub fn sweep(repository: &Path, keep: impl Fn(&str) -> bool) -> usize {
    let prefix = repository_prefix(repository);
    let mut groups = std::collections::BTreeSet::new();
    let above = delegated::subtree().map_or_else(String::new, |above| above + "/");
    for hierarchy in hierarchies() {
        let entries = fs::read_dir(hierarchy.root.join(&above));
        for entry in entries.into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.strip_prefix(&prefix).is_some_and(|id| !keep(id)) {
                groups.insert(format!("{above}{name}"));
            }
        }
    }
    groups.iter().for_each(|group| kill_and_remove(group));
    groups.len()
}
