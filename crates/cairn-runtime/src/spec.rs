//! The launch spec: everything init and monitor have to know, as data.

use std::path::{Path, PathBuf};

use cairn_model::MountPlan;
use serde::{Deserialize, Serialize};

use crate::capability::Capabilities;
use crate::error::{Error, Result, Step};
use crate::limits::{DeviceNode, DeviceRule, Limits};
use crate::log::LogLimits;
use crate::network::UserNetwork;
use crate::notify::Notify;
use crate::seccomp::Filter;
use crate::secret::Secret;
use crate::text::Text;
use crate::ulimit::Ulimit;
use crate::users::{IdRange, KeptId, own};

/// Something mounted on the root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// In the container, absolute. Links in it are followed inside the container; what is missing is made,
    /// in the file system that is mounted above it.
    pub target: Text,
    /// What is mounted there.
    pub what: MountKind,
    /// Without write access.
    pub read_only: bool,
    /// Who wants it: of two mounts on one place the stronger one counts.
    pub origin: Origin,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// On the host, absolute.
        source: PathBuf,
    },
    /// The same without what is mounted below it.
    FlatBind {
        /// On the host, absolute.
        source: PathBuf,
    },
    /// What an image shows, never writable.
    Image {
        /// The snapshot that keeps it.
        snapshot: String,
        /// How to mount it.
        plan: MountPlan,
    },
    /// A file with a secret, in memory.
    Secret(Secret),
    /// A file system in memory.
    Tmpfs {
        /// Options of the file system, as `size=64m,mode=1777`.
        options: String,
        /// Programs in it may be executed.
        exec: bool,
        /// The set-user-id bits of programs in it count.
        suid: bool,
        /// Device nodes in it open devices.
        dev: bool,
    },
}

/// Who wants a mount, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Origin {
    /// Every container has it (`/etc/hosts` and its like). It may be missing where the user mounted
    /// something read-only around it.
    Generated,
    /// A volume that the image declares.
    Image,
    /// The user named it.
    User,
}

/// Which network the process sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// That of the host.
    Host,
    /// Its own, with loopback only.
    None,
    /// A network namespace that somebody else has set up.
    Namespace(PathBuf),
    /// Its own, connected by a helper that needs no privilege.
    User(UserNetwork),
    /// That of another container, which runs.
    Container {
        /// Id of the container.
        id: String,
        /// Its process 1.
        pid: i32,
        /// When that started, in clock ticks.
        ticks: u64,
    },
}

/// Whose namespace of a kind the process is in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Space {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// That of another container.
    Container {
        /// Its process 1, as the host numbers it.
        pid: i32,
        /// When that started, in clock ticks.
        ticks: u64,
        /// Id of the container, by which it is found again; the first versions did not write it down.
        #[serde(default)]
        id: String,
    },
}

/// The size of `/dev/shm` unless told otherwise, as Docker has it.
const SHM_BYTES: u64 = 64 << 20;

fn shm_bytes() -> u64 {
    SHM_BYTES
}

/// All that a launch needs. Holds environment values, so it is stored readable by its owner only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchSpec {
    /// Name of the container's control groups.
    pub group: String,
    /// How to mount the root file system.
    pub plan: MountPlan,
    /// Command line, not empty.
    pub args: Vec<Text>,
    /// Environment, `NAME=value`.
    pub env: Vec<Text>,
    /// Working directory, absolute.
    pub cwd: Text,
    /// `user[:group]` by name or number, looked up in the container; empty for root.
    pub user: String,
    /// Host name inside.
    pub hostname: String,
    /// The root file system cannot be written.
    pub read_only: bool,
    /// What is mounted on it, in no particular order.
    pub mounts: Vec<Mount>,
    /// The network.
    pub network: Network,
    /// The process gets a terminal of its own.
    pub terminal: bool,
    /// Standard input is connected.
    pub interactive: bool,
    /// The monitor works in the background.
    pub detach: bool,
    /// How much of its output is kept; none where nothing is.
    #[serde(default)]
    pub log: Option<LogLimits>,
    /// A small init stays process 1 and reaps.
    pub init: bool,
    /// The process and its children may not gain privileges, as through set-user-id programs.
    pub no_new_privileges: bool,
    /// What the process may do at most.
    pub capabilities: Capabilities,
    /// What it keeps when its user is not root.
    #[serde(default)]
    pub ambient: Capabilities,
    /// Which system calls it may make; all where there is none.
    #[serde(default)]
    pub seccomp: Option<Filter>,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// Devices it may use; all where there is no list.
    #[serde(default)]
    pub devices: Option<Vec<DeviceRule>>,
    /// Nodes in its `/dev` beside the usual ones.
    #[serde(default)]
    pub nodes: Vec<DeviceNode>,
    /// Nothing of `/proc` and `/sys` is hidden or protected.
    #[serde(default)]
    pub privileged: bool,
    /// Limits of the process.
    #[serde(default)]
    pub ulimits: Vec<Ulimit>,
    /// Kernel parameters of its namespaces: paths below `/proc/sys` with their values.
    #[serde(default)]
    pub sysctls: Vec<(String, String)>,
    /// Size of `/dev/shm`.
    #[serde(default = "shm_bytes")]
    pub shm_bytes: u64,
    /// Its System V objects and message queues.
    #[serde(default)]
    pub ipc: Space,
    /// Its host name.
    #[serde(default)]
    pub uts: Space,
    /// The processes that it sees.
    #[serde(default)]
    pub pid: Space,
    /// Ids of the host that its own stand for; without, they are the host's.
    #[serde(default)]
    pub ids: Option<IdRange>,
    /// The caller's own ids, where they are an ordinary user and keep them inside.
    #[serde(default)]
    pub kept: Option<KeptId>,
    /// Who tells the service manager that the container is ready.
    #[serde(default)]
    pub notify: Option<Notify>,
    /// Another OCI runtime that makes the container, by its program.
    #[serde(default)]
    pub runtime: Option<PathBuf>,
    /// Labels, for people and programs.
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
    /// Seconds between the stop signal and the end.
    #[serde(default)]
    pub stop_timeout_secs: Option<u64>,
    /// Number of the signal that asks the process to end.
    pub stop_signal: i32,
    /// Program and arguments that the monitor runs when the process has ended (removal, for `--rm`).
    pub after: Vec<Text>,
}

impl LaunchSpec {
    /// Who owns, around the container, what a user and group of it own; none where ids are the same.
    pub(crate) fn owner(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        match (&self.ids, &self.kept) {
            (Some(range), _) => range.owner(uid, gid),
            (None, Some(kept)) => kept.owner(uid, gid),
            (None, None) => None,
        }
    }

    /// The kernel ends no process of it by itself: its PID namespace is not its own.
    pub(crate) fn shares_processes(&self) -> bool {
        self.pid != Space::Private
    }

    /// The secrets that it mounts, in the order of its mounts.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.mounts.iter().filter_map(|mount| match &mount.what {
            MountKind::Secret(secret) => Some(secret),
            _ => None,
        })
    }

    /// Refuses a user, or groups, that the container does not have.
    pub(crate) fn check_user(&self, user: &crate::init::user::User) -> Result<()> {
        match (&self.ids, &self.kept) {
            (Some(range), _) => range.check(user.uid, user.gid, &user.groups),
            (None, Some(kept)) => kept.check(user.uid, user.gid, &user.groups),
            (None, None) => own::check(user.uid, user.gid, &user.groups),
        }
    }

    fn path(directory: &Path) -> PathBuf {
        directory.join("spec.json")
    }

    /// Writes the spec into the container's directory.
    pub fn save(&self, directory: &Path) -> Result<()> {
        let path = Self::path(directory);
        let written = Written {
            version: VERSION,
            spec: self,
        };
        let bytes = serde_json::to_vec(&written)
            .map_err(std::io::Error::other)
            .step("encode the launch spec")?;
        let temporary = directory.join("spec.json.new");
        let mut options = std::fs::File::options();
        std::os::unix::fs::OpenOptionsExt::mode(
            options.write(true).create(true).truncate(true),
            0o600,
        );
        // Others read it meanwhile: it is whole or as it was.
        let written = options.open(&temporary).and_then(|mut file| {
            std::io::Write::write_all(&mut file, &bytes)?;
            std::fs::rename(&temporary, &path)
        });
        written.step(format!("write {}", path.display()))
    }

    /// Reads the spec of the container in `directory`.
    pub fn load(directory: &Path) -> Result<Self> {
        let path = Self::path(directory);
        let bytes = std::fs::read(&path).step(format!("read {}", path.display()))?;
        let read = serde_json::from_slice::<Version>(&bytes);
        let broken = |e| Error::Invalid(format!("{} is not a launch spec: {e}", path.display()));
        let version = read.map_err(broken)?.version;
        if version > VERSION {
            return Err(Error::Invalid(format!(
                "{} is a launch spec of version {version}, and this program knows none after {VERSION}; use the newer cairn that created the container",
                path.display()
            )));
        }
        serde_json::from_slice(&bytes).map_err(broken)
    }
}

/// The newest form of a launch spec that this program knows. A field that older programs may pass over is no
/// reason for another.
const VERSION: u32 = 1;

/// A launch spec as it is in its file.
#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    #[serde(flatten)]
    spec: &'a LaunchSpec,
}

/// What is read of it first.
#[derive(Deserialize)]
struct Version {
    /// The first ones did not say.
    #[serde(default = "first_version")]
    version: u32,
}

fn first_version() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_without_an_id_is_read_as_it_was_written() {
        let read = serde_json::from_str::<Space>(r#"{"Container": [5, 77]}"#).unwrap();
        let neighbour = |id: &str| Space::Container {
            pid: 5,
            ticks: 77,
            id: id.into(),
        };
        assert_eq!(read, neighbour(""));
        let written = serde_json::to_string(&neighbour("ab")).unwrap();
        assert_eq!(
            serde_json::from_str::<Space>(&written).unwrap(),
            neighbour("ab")
        );
    }

    #[test]
    fn a_spec_of_a_newer_version_is_refused_with_the_next_step() {
        let directory = tempfile::tempdir().unwrap();
        let path = LaunchSpec::path(directory.path());
        std::fs::write(&path, r#"{"version": 2, "plan": {"warp": []}}"#).unwrap();
        let said = LaunchSpec::load(directory.path()).unwrap_err().to_string();
        assert!(
            said.contains("version 2") && said.contains("newer cairn"),
            "{said}"
        );
        std::fs::write(&path, r#"{"plan": {"warp": []}}"#).unwrap();
        let said = LaunchSpec::load(directory.path()).unwrap_err().to_string();
        assert!(said.contains("is not a launch spec"), "{said}");
    }
}
