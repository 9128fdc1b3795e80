//! What a container of a bundle is, as data. Whoever reads a bundle's document has checked it: paths are
//! absolute, numbers in their range, and no text has a NUL.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::hook::{Hook, HookState};
use super::ids::IdMaps;
use crate::capability::Capabilities;
use crate::limits::{DeviceNode, DeviceRule, Limits};
use crate::seccomp::Filter;
use crate::ulimit::Ulimit;

/// All that a container of a bundle needs to be created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BundleSpec {
    /// What hooks are told.
    pub state: HookState,
    /// Name of its control groups: a path below each hierarchy, without `..`.
    pub group: String,
    /// Its root directory, on the host.
    pub root: PathBuf,
    /// The root file system cannot be written.
    pub read_only: bool,
    /// How mounts of the host's reach it, and its own the host.
    pub propagation: Propagation,
    /// The root is moved over the host's instead of taking its place, for a host whose root is a ramfs.
    pub no_pivot: bool,
    /// Namespaces.
    pub spaces: Spaces,
    /// Host name inside.
    pub hostname: Option<String>,
    /// NIS domain name inside.
    pub domainname: Option<String>,
    /// What is mounted, in this order.
    pub mounts: Vec<BundleMount>,
    /// Device nodes beside the usual ones; their paths are absolute.
    pub nodes: Vec<DeviceNode>,
    /// Devices it may use; all where there is no list.
    pub devices: Option<Vec<DeviceRule>>,
    /// What it may use.
    pub limits: Limits,
    /// Kernel parameters of its namespaces: paths below `/proc/sys` with their values.
    pub sysctls: Vec<(String, String)>,
    /// What reads as empty inside.
    pub masked: Vec<String>,
    /// What cannot be written inside.
    pub read_only_paths: Vec<String>,
    /// Run in the container's namespaces before its root is entered.
    pub on_create: Vec<Hook>,
    /// Run inside right before its process begins.
    pub on_start: Vec<Hook>,
    /// Personality of its programs (personality(2)).
    pub personality: Option<u64>,
    /// Its process.
    pub process: BundleProcess,
}

/// How mounts reach other namespaces, for a whole tree of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propagation {
    /// In which direction.
    pub way: PropagationWay,
    /// For all mounts below, too.
    pub recursive: bool,
}

/// In which direction mounts go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PropagationWay {
    /// Both.
    Shared,
    /// From the host to the container.
    Slave,
    /// None.
    Private,
    /// None, and it cannot be mounted elsewhere.
    Unbindable,
}

/// A namespace of a kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BundleSpace {
    /// That of whoever creates the container.
    #[default]
    Caller,
    /// Its own.
    New,
    /// One that is there.
    Path(PathBuf),
}

/// Namespaces. That of mounts is always its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spaces {
    /// Processes.
    pub pid: BundleSpace,
    /// Network.
    pub network: BundleSpace,
    /// System V objects and message queues.
    pub ipc: BundleSpace,
    /// Host name.
    pub uts: BundleSpace,
    /// Control groups.
    pub cgroup: BundleSpace,
    /// Clocks.
    pub time: BundleSpace,
    /// Offsets of clocks of a new time namespace, as timens_offsets of proc(5) takes them.
    pub time_offsets: String,
    /// Users and groups.
    pub user: BundleSpace,
    /// Ids of a new user namespace.
    pub ids: Option<IdMaps>,
}

/// Something mounted inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleMount {
    /// In the container, absolute.
    pub target: String,
    /// What is mounted there.
    pub what: BundleMountKind,
    /// Attributes that are set and cleared, `MOUNT_ATTR_*` of mount_setattr(2).
    pub set: u64,
    /// See `set`.
    pub clear: u64,
    /// The same for all mounts below it.
    pub set_below: u64,
    /// See `set_below`.
    pub clear_below: u64,
    /// How mounts go to and from it, one after the other.
    pub propagation: Vec<Propagation>,
    /// A tmpfs begins with what the root has at this place.
    pub copy_up: bool,
    /// Its ids are shown as this says; with `true`, those of all mounts below it, too.
    pub ids: Option<(IdMaps, bool)>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BundleMountKind {
    /// A file or directory of the host.
    Bind {
        /// On the host, absolute.
        source: PathBuf,
        /// With all that is mounted below it.
        recursive: bool,
    },
    /// The container's own control groups.
    Groups {
        /// Of version 2 only.
        unified: bool,
    },
    /// A file system.
    FileSystem {
        /// Its type.
        kind: String,
        /// Its device, where it has one.
        source: Option<String>,
        /// Its options, each `key=value` or a flag.
        options: Vec<String>,
    },
}

/// Capabilities of a process, set by set (capabilities(7)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySets {
    /// What it and its children can have at most.
    pub bounding: Capabilities,
    /// What counts now.
    pub effective: Capabilities,
    /// What it can take into effect.
    pub permitted: Capabilities,
    /// What programs with capabilities of their own may keep.
    pub inheritable: Capabilities,
    /// What programs without capabilities of their own keep.
    pub ambient: Capabilities,
}

/// A process of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BundleProcess {
    /// It has a terminal of its own.
    pub terminal: bool,
    /// Rows and columns of that.
    pub size: Option<(u16, u16)>,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Mask for new files.
    pub umask: u32,
    /// Command line, not empty.
    pub args: Vec<String>,
    /// Environment, each `NAME=value`; of two with a name the last counts.
    pub env: Vec<String>,
    /// Working directory, absolute; made where it is missing.
    pub cwd: String,
    /// Capabilities.
    pub capabilities: CapabilitySets,
    /// Limits.
    pub ulimits: Vec<Ulimit>,
    /// It may not gain privileges.
    pub no_new_privileges: bool,
    /// How soon it is killed when memory is used up, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Security label of the program: what is written, and to which file of `/proc/self/attr`.
    pub label: Option<(String, String)>,
    /// Which system calls it may make.
    pub seccomp: Option<Filter>,
    /// Class and level of its disk accesses (ioprio_set(2)).
    pub io_priority: Option<u16>,
    /// How it is scheduled.
    pub scheduler: Option<Scheduler>,
    /// It has a session keyring of its own.
    pub keyring: bool,
    /// Descriptors from 3 on that it inherits.
    pub preserved: u32,
}

/// How a process is scheduled (sched_setattr(2)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduler {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For the usual policies, -20 to 19.
    pub nice: i32,
    /// For the real-time policies, 1 to 99.
    pub priority: u32,
    /// For deadlines, nanoseconds.
    pub runtime: u64,
    /// For deadlines, nanoseconds.
    pub deadline: u64,
    /// For deadlines, nanoseconds.
    pub period: u64,
}
