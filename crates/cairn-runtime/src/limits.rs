//! What a container may use: memory, processors, processes, devices.

use serde::{Deserialize, Serialize};

/// Limits of a container's control groups; none where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Memory, bytes.
    pub memory_bytes: Option<u64>,
    /// Memory and swap together.
    pub swap: Swap,
    /// Memory that is taken away last when the host runs short, bytes.
    pub memory_reservation_bytes: Option<u64>,
    /// Processor time, in thousandths of a percent of one processor.
    pub cpu_quota: Option<u64>,
    /// Share of processor time beside others, 2 to 262144; 1024 is usual.
    pub cpu_shares: Option<u64>,
    /// Processors it runs on, as `0-3,6`.
    pub cpuset: Option<String>,
    /// Processes and threads.
    pub pids: Pids,
    /// Share of disk time beside others, 10 to 1000.
    pub blkio_weight: Option<u64>,
    /// What a bundle asks for beside or instead of these.
    pub more: Vec<GroupSetting>,
}

/// A value for control groups, by the files that take it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSetting {
    /// Who asks for it, for people.
    pub name: String,
    /// Where there is no such file, that is an error.
    pub required: bool,
    /// The value is written to the first of these files that is there.
    pub files: Vec<GroupFile>,
}

/// A file of control groups, and what is written there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupFile {
    /// It is one of version 2.
    pub unified: bool,
    /// Its name.
    pub name: String,
    /// What it takes.
    pub value: String,
}

/// Memory and swap together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Swap {
    /// As much swap again as memory, where swap can be limited.
    #[default]
    Usual,
    /// Any amount of swap.
    Unlimited,
    /// This much of both together, bytes.
    Bytes(u64),
}

/// How many processes and threads a container may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pids {
    /// [`PIDS_USUAL`], where processes can be limited.
    #[default]
    Usual,
    /// Any number.
    Unlimited,
    /// This many.
    Most(u64),
}

/// Enough for large services; few enough that a fork bomb leaves the host its process numbers.
pub const PIDS_USUAL: u64 = 4096;

/// What the kernel has numbers for at most.
pub const PIDS_MAX: u64 = 4_194_304;

/// Devices that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Which kind; both where none is said.
    pub kind: Option<DeviceKind>,
    /// Major number; all where none is said.
    pub major: Option<u32>,
    /// Minor number; all where none is said.
    pub minor: Option<u32>,
    /// It may be read.
    pub read: bool,
    /// It may be written.
    pub write: bool,
    /// Nodes of it may be made.
    pub make: bool,
}

/// Which kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// A block device.
    Block,
    /// A character device.
    Character,
}

/// A device node in a container's `/dev`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Below `/dev`, as `snd/timer`.
    pub path: String,
    /// Which kind.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

const fn usual(kind: Option<DeviceKind>, major: u32, minor: Option<u32>) -> DeviceRule {
    DeviceRule {
        kind,
        major: Some(major),
        minor,
        read: true,
        write: true,
        make: true,
    }
}

impl DeviceRule {
    /// What every container may use: nodes of any device may be made, and those of `/dev` be used.
    pub fn usual() -> Vec<Self> {
        let character = Some(DeviceKind::Character);
        let nodes = [
            (1, Some(3)),
            (1, Some(5)),
            (1, Some(7)),
            (1, Some(8)),
            (1, Some(9)),
            (5, Some(0)),
            (5, Some(2)),
            // Terminals.
            (136, None),
        ];
        let make = Self {
            kind: None,
            major: None,
            minor: None,
            read: false,
            write: false,
            make: true,
        };
        let nodes = nodes.map(|(major, minor)| usual(character, major, minor));
        std::iter::once(make).chain(nodes).collect()
    }
}
