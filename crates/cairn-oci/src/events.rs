//! Figures of a container from its control groups, in the form that runc prints.

use std::path::PathBuf;

use cairn_runtime::{GroupPlace, group_places};
use serde::Serialize;

use crate::container::Container;

/// What a container has used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Processors.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Processes.
    pub pids: Pids,
}

/// Processor time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// Nanoseconds.
    pub usage: CpuUsage,
    /// How often it had to wait.
    pub throttling: Throttling,
}

/// Processor time, nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CpuUsage {
    /// All.
    pub total: u64,
    /// In the kernel.
    pub kernel: u64,
    /// Outside of it.
    pub user: u64,
}

/// How often a container had to wait for its next period.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods that there were.
    pub periods: u64,
    /// Those in which it had to wait.
    pub throttled_periods: u64,
    /// Nanoseconds.
    pub throttled_time: u64,
}

/// Memory, bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// All.
    pub usage: MemoryUsage,
    /// How often the kernel killed a process because it was used up.
    #[serde(rename = "oomKills")]
    pub oom_kills: u64,
}

/// Memory, bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MemoryUsage {
    /// At most.
    pub limit: u64,
    /// Now.
    pub usage: u64,
    /// The most there ever was; 0 where the kernel does not say.
    pub max: u64,
}

/// Processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pids {
    /// Now.
    pub current: u64,
    /// At most; 0 where there is no limit.
    pub limit: u64,
}

struct Groups(Vec<GroupPlace>);

impl Groups {
    fn file(&self, unified: bool, name: &str) -> Option<PathBuf> {
        let of_version = self.0.iter().filter(|place| place.unified == unified);
        of_version
            .map(|place| place.path.join(name))
            .find(|path| path.exists())
    }

    fn text(&self, v1: &str, v2: &str) -> Option<String> {
        let path = self.file(false, v1).or_else(|| self.file(true, v2))?;
        std::fs::read_to_string(path).ok()
    }

    /// A number; 0 for none and for `max`.
    fn number(&self, v1: &str, v2: &str) -> u64 {
        let text = self.text(v1, v2).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// A number behind a word.
    fn entry(&self, (v1, v1_key): (&str, &str), (v2, v2_key): (&str, &str)) -> u64 {
        let (path, key) = match self.file(false, v1) {
            Some(path) => (Some(path), v1_key),
            None => (self.file(true, v2), v2_key),
        };
        let text = path.and_then(|path| std::fs::read_to_string(path).ok());
        let text = text.unwrap_or_default();
        let mut found = text.lines().filter_map(|line| {
            let (word, number) = line.split_once(' ')?;
            (word == key).then(|| number.trim().parse().ok())?
        });
        found.next().unwrap_or(0)
    }
}

/// What a container has used so far.
pub fn figures(container: &Container) -> Figures {
    let groups = Groups(group_places(container.group()));
    let is_v1 = groups.file(false, "cpuacct.usage").is_some();
    // Version 2 counts microseconds.
    let micro = |key: &str| groups.entry(("none", ""), ("cpu.stat", key)) * 1000;
    let usage = match is_v1 {
        true => CpuUsage {
            total: groups.number("cpuacct.usage", ""),
            kernel: groups.number("cpuacct.usage_sys", ""),
            user: groups.number("cpuacct.usage_user", ""),
        },
        false => CpuUsage {
            total: micro("usage_usec"),
            kernel: micro("system_usec"),
            user: micro("user_usec"),
        },
    };
    let stat = |key: &str| groups.entry(("cpu.stat", key), ("cpu.stat", key));
    Figures {
        cpu: Cpu {
            usage,
            throttling: Throttling {
                periods: stat("nr_periods"),
                throttled_periods: stat("nr_throttled"),
                throttled_time: stat("throttled_time").max(stat("throttled_usec") * 1000),
            },
        },
        memory: Memory {
            usage: MemoryUsage {
                limit: groups.number("memory.limit_in_bytes", "memory.max"),
                usage: groups.number("memory.usage_in_bytes", "memory.current"),
                max: groups.number("memory.max_usage_in_bytes", "memory.peak"),
            },
            oom_kills: groups.entry(
                ("memory.oom_control", "oom_kill"),
                ("memory.events", "oom_kill"),
            ),
        },
        pids: Pids {
            current: groups.number("pids.current", "pids.current"),
            limit: groups.number("pids.max", "pids.max"),
        },
    }
}
