//! `linux` of a document. `linux.resources` is also a document of its own for `update`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::or_default;

/// What only Linux has.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Linux {
    /// Users of a new user namespace.
    #[serde(default, deserialize_with = "or_default")]
    pub uid_mappings: Vec<IdMapping>,
    /// Groups of it.
    #[serde(default, deserialize_with = "or_default")]
    pub gid_mappings: Vec<IdMapping>,
    /// Kernel parameters.
    #[serde(default, deserialize_with = "or_default")]
    pub sysctl: BTreeMap<String, String>,
    /// Limits of its control groups.
    pub resources: Option<Resources>,
    /// Place of its control groups.
    #[serde(default, deserialize_with = "or_default")]
    pub cgroups_path: String,
    /// Namespaces.
    #[serde(default, deserialize_with = "or_default")]
    pub namespaces: Vec<Namespace>,
    /// Device nodes.
    #[serde(default, deserialize_with = "or_default")]
    pub devices: Vec<Device>,
    /// System calls; read by the filter's own reader.
    pub seccomp: Option<serde_json::Value>,
    /// How mounts go between host and container.
    #[serde(default, deserialize_with = "or_default")]
    pub rootfs_propagation: String,
    /// What reads as empty.
    #[serde(default, deserialize_with = "or_default")]
    pub masked_paths: Vec<String>,
    /// What cannot be written.
    #[serde(default, deserialize_with = "or_default")]
    pub readonly_paths: Vec<String>,
    /// Cache and bandwidth of processors.
    pub intel_rdt: Option<serde_json::Value>,
    /// Personality of programs.
    pub personality: Option<Personality>,
    /// Offsets of clocks.
    #[serde(default, deserialize_with = "or_default")]
    pub time_offsets: BTreeMap<String, TimeOffset>,
}

/// A run of ids.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdMapping {
    /// First inside.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// First on the host.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

/// A namespace.
#[derive(Debug, Clone, Deserialize)]
pub struct Namespace {
    /// As `network`.
    #[serde(rename = "type")]
    pub kind: String,
    /// One that is there.
    #[serde(default, deserialize_with = "or_default")]
    pub path: String,
}

/// A device node.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Absolute.
    pub path: String,
    /// `b`, `c`, `u` or `p`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Major number.
    #[serde(default, deserialize_with = "or_default")]
    pub major: i64,
    /// Minor number.
    #[serde(default, deserialize_with = "or_default")]
    pub minor: i64,
    /// Permissions.
    pub file_mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

/// Personality of programs.
#[derive(Debug, Clone, Deserialize)]
pub struct Personality {
    /// `LINUX` or `LINUX32`.
    pub domain: String,
    /// None is defined yet.
    #[serde(default, deserialize_with = "or_default")]
    pub flags: Vec<String>,
}

/// Offset of a clock.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct TimeOffset {
    /// Seconds.
    #[serde(default, deserialize_with = "or_default")]
    pub secs: i64,
    /// Nanoseconds.
    #[serde(default, deserialize_with = "or_default")]
    pub nanosecs: u32,
}

/// Limits of control groups.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// Devices, one rule after the other.
    #[serde(default, deserialize_with = "or_default")]
    pub devices: Vec<DeviceAccess>,
    /// Memory.
    #[serde(default, deserialize_with = "or_default")]
    pub memory: Memory,
    /// Processors.
    #[serde(default, deserialize_with = "or_default")]
    pub cpu: Cpu,
    /// Processes.
    #[serde(default, deserialize_with = "or_default")]
    pub pids: Pids,
    /// Disks.
    #[serde(default, rename = "blockIO", deserialize_with = "or_default")]
    pub block_io: BlockIo,
    /// Huge pages.
    #[serde(default, deserialize_with = "or_default")]
    pub hugepage_limits: Vec<HugePages>,
    /// Marks of packets.
    #[serde(default, deserialize_with = "or_default")]
    pub network: Network,
    /// Adapters for remote memory.
    #[serde(default, deserialize_with = "or_default")]
    pub rdma: BTreeMap<String, Rdma>,
    /// Files of version 2.
    #[serde(default, deserialize_with = "or_default")]
    pub unified: BTreeMap<String, String>,
}

/// Who may use a device.
#[derive(Debug, Clone, Deserialize)]
pub struct DeviceAccess {
    /// Allowed or denied.
    #[serde(default, deserialize_with = "or_default")]
    pub allow: bool,
    /// `a`, `b` or `c`; all where there is none.
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// Major number; all where there is none, or -1.
    pub major: Option<i64>,
    /// Minor number.
    pub minor: Option<i64>,
    /// Of `rwm`; all where there is none.
    #[serde(default, deserialize_with = "or_default")]
    pub access: String,
}

/// Memory, bytes; -1 is unlimited.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// At most.
    pub limit: Option<i64>,
    /// What is taken away last.
    pub reservation: Option<i64>,
    /// Memory and swap together.
    pub swap: Option<i64>,
    /// Of TCP buffers.
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: Option<i64>,
    /// 0 to 100.
    pub swappiness: Option<u64>,
    /// Nothing is killed when it is used up.
    #[serde(rename = "disableOOMKiller")]
    pub disable_oom_killer: Option<bool>,
    /// A limit below what is used is refused.
    pub check_before_update: Option<bool>,
}

/// Processors.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    /// Share beside others.
    pub shares: Option<u64>,
    /// Microseconds of each period.
    pub quota: Option<i64>,
    /// Microseconds that may be saved up.
    pub burst: Option<u64>,
    /// Microseconds.
    pub period: Option<u64>,
    /// Microseconds of each real-time period.
    pub realtime_runtime: Option<i64>,
    /// Microseconds.
    pub realtime_period: Option<u64>,
    /// Which processors.
    #[serde(default, deserialize_with = "or_default")]
    pub cpus: String,
    /// Which memory nodes.
    #[serde(default, deserialize_with = "or_default")]
    pub mems: String,
    /// Only when nothing else runs.
    pub idle: Option<i64>,
}

/// Processes.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Pids {
    /// At most; 0 or less is unlimited.
    pub limit: Option<i64>,
}

/// Disks.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockIo {
    /// Share beside others, 10 to 1000.
    pub weight: Option<u16>,
    /// By device.
    #[serde(default, deserialize_with = "or_default")]
    pub weight_device: Vec<Weight>,
    /// Bytes a second.
    #[serde(default, deserialize_with = "or_default")]
    pub throttle_read_bps_device: Vec<Throttle>,
    /// Bytes a second.
    #[serde(default, deserialize_with = "or_default")]
    pub throttle_write_bps_device: Vec<Throttle>,
    /// Requests a second.
    #[serde(
        default,
        rename = "throttleReadIOPSDevice",
        deserialize_with = "or_default"
    )]
    pub throttle_read_iops_device: Vec<Throttle>,
    /// Requests a second.
    #[serde(
        default,
        rename = "throttleWriteIOPSDevice",
        deserialize_with = "or_default"
    )]
    pub throttle_write_iops_device: Vec<Throttle>,
}

/// Share of a disk.
#[derive(Debug, Clone, Deserialize)]
pub struct Weight {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Share beside others.
    pub weight: Option<u16>,
}

/// Rate of a disk.
#[derive(Debug, Clone, Deserialize)]
pub struct Throttle {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// A second.
    pub rate: u64,
}

/// Huge pages of a size.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HugePages {
    /// As `2MB`.
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}

/// Marks of packets.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Network {
    /// Class of net_cls.
    #[serde(rename = "classID")]
    pub class_id: Option<u32>,
    /// Priorities by interface.
    #[serde(default, deserialize_with = "or_default")]
    pub priorities: Vec<Priority>,
}

/// Priority on an interface.
#[derive(Debug, Clone, Deserialize)]
pub struct Priority {
    /// The interface.
    pub name: String,
    /// Its priority.
    pub priority: u32,
}

/// What an adapter may be used for.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rdma {
    /// Handles.
    pub hca_handles: Option<u32>,
    /// Objects.
    pub hca_objects: Option<u32>,
}
