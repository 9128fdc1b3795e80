//! Limits, as the files of version 1 and version 2 have them.
//!
//! What the user asked for and cannot be had stops the start; what is only usual is left out.

use std::fs;
use std::path::Path;

use super::Hierarchy;
use crate::error::{Error, Result, Step};
use crate::limits::{GroupFile, GroupSetting, Limits, PIDS_USUAL, Pids, Swap};

const PERIOD_US: u64 = 100_000;
/// Version 2 has them in subdirectories only where the directory above says so.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

fn file(unified: bool, name: &str, value: String) -> GroupFile {
    GroupFile {
        unified,
        name: name.to_owned(),
        value,
    }
}

pub(super) fn setting(option: &str, v1: (&str, String), v2: (&str, String)) -> GroupSetting {
    GroupSetting {
        name: option.to_owned(),
        required: true,
        files: vec![file(false, v1.0, v1.1), file(true, v2.0, v2.1)],
    }
}

fn settings(limits: &Limits) -> Vec<GroupSetting> {
    let mut all = of_memory(limits);
    all.extend(of_the_rest(limits));
    all
}

fn of_memory(limits: &Limits) -> Vec<GroupSetting> {
    let mut all = Vec::new();
    if let Some(bytes) = limits.memory_bytes {
        let text = bytes.to_string();
        all.push(setting(
            "--memory",
            ("memory.limit_in_bytes", text.clone()),
            ("memory.max", text),
        ));
        // Version 1 counts memory and swap together, version 2 swap alone.
        let (required, both, swap) = match limits.swap {
            Swap::Usual => (false, (bytes * 2).to_string(), bytes.to_string()),
            Swap::Unlimited => (false, "-1".into(), "max".into()),
            Swap::Bytes(both) => (true, both.to_string(), (both - bytes.min(both)).to_string()),
        };
        all.push(GroupSetting {
            required,
            ..setting(
                "--memory-swap",
                ("memory.memsw.limit_in_bytes", both),
                ("memory.swap.max", swap),
            )
        });
    }
    if let Some(bytes) = limits.memory_reservation_bytes {
        let text = bytes.to_string();
        all.push(setting(
            "--memory-reservation",
            ("memory.soft_limit_in_bytes", text.clone()),
            ("memory.low", text),
        ));
    }
    all
}

/// Processors, processes and disks.
fn of_the_rest(limits: &Limits) -> Vec<GroupSetting> {
    let mut all = Vec::new();
    if let Some(quota) = limits.cpu_quota {
        all.push(setting(
            "--cpus",
            ("cpu.cfs_quota_us", quota.to_string()),
            ("cpu.max", format!("{quota} {PERIOD_US}")),
        ));
    }
    if let Some(shares) = limits.cpu_shares {
        // 2 to 262144 becomes 1 to 10000 (the conversion that all runtimes use).
        let weight = 1 + (shares.saturating_sub(2) * 9999) / 262_142;
        all.push(setting(
            "--cpu-shares",
            ("cpu.shares", shares.to_string()),
            ("cpu.weight", weight.to_string()),
        ));
    }
    if let Some(list) = &limits.cpuset {
        all.push(setting(
            "--cpuset-cpus",
            ("cpuset.cpus", list.clone()),
            ("cpuset.cpus", list.clone()),
        ));
    }
    let pids = match limits.pids {
        Pids::Usual => Some((false, PIDS_USUAL)),
        Pids::Most(most) => Some((true, most)),
        Pids::Unlimited => None,
    };
    if let Some((required, most)) = pids {
        let text = most.to_string();
        all.push(GroupSetting {
            required,
            ..setting(
                "--pids-limit",
                ("pids.max", text.clone()),
                ("pids.max", text),
            )
        });
    }
    if let Some(weight) = limits.blkio_weight {
        // 10 to 1000 becomes 1 to 10000.
        let wide = 1 + (weight.saturating_sub(10) * 9999) / 990;
        all.push(GroupSetting {
            name: "--blkio-weight".into(),
            required: true,
            files: vec![
                file(false, "blkio.weight", weight.to_string()),
                file(false, "blkio.bfq.weight", weight.to_string()),
                file(true, "io.bfq.weight", weight.to_string()),
                file(true, "io.weight", wide.to_string()),
            ],
        });
    }
    all
}

/// Lets groups below the root of version 2 have controllers. Those that the kernel has for version 1 are not
/// there.
pub(super) fn enable_controllers(root: &Path) {
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    let (there, on) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    for controller in CONTROLLERS {
        let among = |list: &str| list.split_whitespace().any(|c| c == controller);
        if among(&there) && !among(&on) {
            // Whoever asks for a limit finds out.
            let _ = fs::write(
                root.join("cgroup.subtree_control"),
                format!("+{controller}"),
            );
        }
    }
}

/// Sets the limits of a container's groups.
pub(super) fn apply(hierarchies: &[Hierarchy], group: &str, limits: &Limits) -> Result<()> {
    let mut all = settings(limits);
    all.extend(limits.more.iter().cloned());
    let refused = |setting: &GroupSetting| write(hierarchies, group, setting).is_err();
    all.retain(refused);
    // Some take a value only once another has changed (memory, and memory with swap), so that the order that is
    // right for more is wrong for less.
    all.iter()
        .try_for_each(|setting| write(hierarchies, group, setting))
}

fn write(hierarchies: &[Hierarchy], group: &str, setting: &GroupSetting) -> Result<()> {
    let mut places = setting.files.iter().flat_map(|file| {
        let of_version = hierarchies.iter().filter(|h| h.unified == file.unified);
        of_version.map(|h| (h.root.join(group).join(&file.name), &file.value))
    });
    match places.find(|(path, _)| path.exists()) {
        Some((path, value)) => {
            let what = || format!("{}: write {value} to {}", setting.name, path.display());
            fs::write(&path, value).step(what())
        }
        None if setting.required => {
            let why = if crate::rootless::has_all_ids() {
                "this host has no control group for it"
            } else {
                "it needs a control group with that controller, which was not given to this user (systemd-run --user --scope -p Delegate=yes cairn run …)"
            };
            Err(Error::Invalid(format!(
                "{} is not available: {why}; omit it",
                setting.name
            )))
        }
        None => Ok(()),
    }
}

/// True where the kernel killed a process of the group because its memory was used up.
pub(super) fn ran_out_of_memory(hierarchies: &[Hierarchy], group: &str) -> bool {
    hierarchies.iter().any(|hierarchy| {
        let path = hierarchy.root.join(group);
        let file = if hierarchy.unified {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        let text = fs::read_to_string(path.join(file)).unwrap_or_default();
        let mut counts = text.lines().filter_map(|l| l.strip_prefix("oom_kill "));
        counts.any(|count| count.trim() != "0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that looks like a group of this version.
    fn fake(unified: bool, files: &[&str]) -> (tempfile::TempDir, Hierarchy) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("g")).unwrap();
        for file in files {
            fs::write(root.path().join("g").join(file), "").unwrap();
        }
        let hierarchy = Hierarchy {
            root: root.path().to_owned(),
            unified,
        };
        (root, hierarchy)
    }

    fn limits() -> Limits {
        Limits {
            memory_bytes: Some(64 << 20),
            swap: Swap::Bytes(96 << 20),
            memory_reservation_bytes: Some(32 << 20),
            cpu_quota: Some(150_000),
            cpu_shares: Some(512),
            cpuset: Some("0-1".into()),
            pids: Pids::Most(100),
            blkio_weight: Some(500),
            more: Vec::new(),
        }
    }

    #[test]
    fn version_2_has_its_own_files_and_units() {
        let names = [
            "memory.max",
            "memory.swap.max",
            "memory.low",
            "cpu.max",
            "cpu.weight",
            "cpuset.cpus",
            "pids.max",
            "io.weight",
        ];
        let (dir, hierarchy) = fake(true, &names);
        apply(&[hierarchy], "g", &limits()).unwrap();
        let read = |file: &str| fs::read_to_string(dir.path().join("g").join(file)).unwrap();
        let written: Vec<String> = names.iter().map(|file| read(file)).collect();
        let expected = [
            "67108864",
            "33554432",
            "33554432",
            "150000 100000",
            "20",
            "0-1",
            "100",
            "4950",
        ];
        assert_eq!(written, expected);
    }

    #[test]
    fn version_1_counts_memory_and_swap_together() {
        let (dir, hierarchy) = fake(
            false,
            &[
                "memory.limit_in_bytes",
                "memory.memsw.limit_in_bytes",
                "pids.max",
            ],
        );
        let read = |file: &str| fs::read_to_string(dir.path().join("g").join(file)).unwrap();
        let only = Limits {
            memory_bytes: Some(64 << 20),
            ..Limits::default()
        };
        apply(&[hierarchy], "g", &only).unwrap();
        assert_eq!(read("memory.limit_in_bytes"), "67108864");
        assert_eq!(read("memory.memsw.limit_in_bytes"), "134217728");
        assert_eq!(read("pids.max"), PIDS_USUAL.to_string());
    }

    #[test]
    fn what_was_asked_for_and_is_not_there_is_an_error() {
        let (_dir, hierarchy) = fake(true, &["memory.max"]);
        let e = apply(&[hierarchy], "g", &limits()).unwrap_err().to_string();
        assert!(e.starts_with("--memory-swap is not available"), "{e}");
        // What is usual is left out.
        let (_dir, hierarchy) = fake(true, &[]);
        apply(&[hierarchy], "g", &Limits::default()).unwrap();
    }

    #[test]
    fn a_kill_for_memory_is_found_in_either_version() {
        for (unified, file) in [(true, "memory.events"), (false, "memory.oom_control")] {
            let (dir, hierarchy) = fake(unified, &[file]);
            let hierarchies = [hierarchy];
            fs::write(
                dir.path().join("g").join(file),
                "low 0\noom 3\noom_kill 0\n",
            )
            .unwrap();
            assert!(!ran_out_of_memory(&hierarchies, "g"));
            fs::write(dir.path().join("g").join(file), "oom 3\noom_kill 2\n").unwrap();
            assert!(ran_out_of_memory(&hierarchies, "g"));
        }
    }
}
