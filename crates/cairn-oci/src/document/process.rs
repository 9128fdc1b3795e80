//! `process` of a document, which is also a document of its own for `exec --process`.

use serde::Deserialize;

use super::or_default;

/// What runs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// With a terminal.
    #[serde(default, deserialize_with = "or_default")]
    pub terminal: bool,
    /// Size of that.
    pub console_size: Option<Size>,
    /// As whom.
    #[serde(default, deserialize_with = "or_default")]
    pub user: User,
    /// Command line.
    #[serde(default, deserialize_with = "or_default")]
    pub args: Vec<String>,
    /// Environment.
    #[serde(default, deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// Working directory.
    #[serde(default, deserialize_with = "or_default")]
    pub cwd: String,
    /// Capabilities.
    pub capabilities: Option<Capabilities>,
    /// Limits.
    #[serde(default, deserialize_with = "or_default")]
    pub rlimits: Vec<Rlimit>,
    /// It may not gain privileges.
    #[serde(default, deserialize_with = "or_default")]
    pub no_new_privileges: bool,
    /// AppArmor's profile.
    #[serde(default, deserialize_with = "or_default")]
    pub apparmor_profile: String,
    /// How soon it is killed when memory is used up.
    pub oom_score_adj: Option<i64>,
    /// SELinux's label.
    #[serde(default, deserialize_with = "or_default")]
    pub selinux_label: String,
    /// Priority of its disk accesses.
    #[serde(rename = "ioPriority")]
    pub io_priority: Option<IoPriority>,
    /// How it is scheduled.
    pub scheduler: Option<Scheduler>,
}

/// Size of a terminal.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Size {
    /// Rows.
    pub height: u64,
    /// Columns.
    pub width: u64,
}

/// As whom it runs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// User id.
    #[serde(default, deserialize_with = "or_default")]
    pub uid: u32,
    /// Group id.
    #[serde(default, deserialize_with = "or_default")]
    pub gid: u32,
    /// Mask for new files.
    pub umask: Option<u32>,
    /// Supplementary groups.
    #[serde(default, deserialize_with = "or_default")]
    pub additional_gids: Vec<u32>,
}

/// Capabilities, set by set.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Capabilities {
    /// The bounding set.
    #[serde(default, deserialize_with = "or_default")]
    pub bounding: Vec<String>,
    /// The effective set.
    #[serde(default, deserialize_with = "or_default")]
    pub effective: Vec<String>,
    /// The permitted set.
    #[serde(default, deserialize_with = "or_default")]
    pub permitted: Vec<String>,
    /// The inheritable set.
    #[serde(default, deserialize_with = "or_default")]
    pub inheritable: Vec<String>,
    /// The ambient set.
    #[serde(default, deserialize_with = "or_default")]
    pub ambient: Vec<String>,
}

/// A limit.
#[derive(Debug, Clone, Deserialize)]
pub struct Rlimit {
    /// As `RLIMIT_NOFILE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What counts.
    pub soft: u64,
    /// How far it may be raised.
    pub hard: u64,
}

/// Priority of disk accesses.
#[derive(Debug, Clone, Deserialize)]
pub struct IoPriority {
    /// As `IOPRIO_CLASS_BE`.
    pub class: String,
    /// 0 to 7.
    #[serde(default, deserialize_with = "or_default")]
    pub priority: i64,
}

/// How a process is scheduled.
#[derive(Debug, Clone, Deserialize)]
pub struct Scheduler {
    /// As `SCHED_BATCH`.
    pub policy: String,
    /// -20 to 19.
    #[serde(default, deserialize_with = "or_default")]
    pub nice: i32,
    /// 1 to 99 for the real-time policies.
    #[serde(default, deserialize_with = "or_default")]
    pub priority: u32,
    /// As `SCHED_FLAG_RESET_ON_FORK`.
    #[serde(default, deserialize_with = "or_default")]
    pub flags: Vec<String>,
    /// Nanoseconds.
    #[serde(default, deserialize_with = "or_default")]
    pub runtime: u64,
    /// Nanoseconds.
    #[serde(default, deserialize_with = "or_default")]
    pub deadline: u64,
    /// Nanoseconds.
    #[serde(default, deserialize_with = "or_default")]
    pub period: u64,
}
