//! Other limits for a container that runs.

use super::limits::{apply, setting};
use super::{Hierarchy, hierarchies};
use crate::error::Result;
use crate::limits::{GroupSetting, Limits, Pids};

/// Puts the new limits in the place of the old ones. Where that fails the old ones are set again.
pub fn change(group: &str, old: &Limits, new: &Limits) -> Result<()> {
    let hierarchies = hierarchies();
    replace(hierarchies, group, old, new).inspect_err(|_| {
        // The first error is the one to tell.
        let _ = replace(hierarchies, group, new, old);
    })
}

fn replace(hierarchies: &[Hierarchy], group: &str, old: &Limits, new: &Limits) -> Result<()> {
    let mut all = new.clone();
    all.more.extend(lifted(old, new));
    apply(hierarchies, group, &all)
}

/// What says "no limit" where there was one.
fn lifted(old: &Limits, new: &Limits) -> Vec<GroupSetting> {
    let mut all = Vec::new();
    let mut lift = |is: bool, option, v1: (&'static str, &str), v2: (&'static str, &str)| {
        if is {
            all.push(setting(
                option,
                (v1.0, v1.1.to_owned()),
                (v2.0, v2.1.to_owned()),
            ));
        }
    };
    let gone = |old: bool, new: bool| old && !new;
    let memory = gone(old.memory_bytes.is_some(), new.memory_bytes.is_some());
    if memory {
        // Counted together in version 1; not there without swap accounting.
        lift(
            true,
            "--memory",
            ("memory.limit_in_bytes", "-1"),
            ("memory.max", "max"),
        );
    }
    lift(
        gone(
            old.memory_reservation_bytes.is_some(),
            new.memory_reservation_bytes.is_some(),
        ),
        "--memory-reservation",
        ("memory.soft_limit_in_bytes", "-1"),
        ("memory.low", "0"),
    );
    lift(
        gone(old.cpu_quota.is_some(), new.cpu_quota.is_some()),
        "--cpus",
        ("cpu.cfs_quota_us", "-1"),
        ("cpu.max", "max"),
    );
    lift(
        gone(old.cpu_shares.is_some(), new.cpu_shares.is_some()),
        "--cpu-shares",
        ("cpu.shares", "1024"),
        ("cpu.weight", "100"),
    );
    lift(
        new.pids == Pids::Unlimited && old.pids != Pids::Unlimited,
        "--pids-limit",
        ("pids.max", "max"),
        ("pids.max", "max"),
    );
    if memory {
        all.insert(
            0,
            GroupSetting {
                required: false,
                ..setting(
                    "--memory-swap",
                    ("memory.memsw.limit_in_bytes", "-1".into()),
                    ("memory.swap.max", "max".into()),
                )
            },
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::limits::Swap;

    #[test]
    fn limits_are_replaced_and_lifted() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("g");
        fs::create_dir(&group).unwrap();
        for file in [
            "memory.max",
            "memory.swap.max",
            "cpu.max",
            "cpu.weight",
            "pids.max",
        ] {
            fs::write(group.join(file), "untouched").unwrap();
        }
        let hierarchies = [Hierarchy {
            root: root.path().to_owned(),
            unified: true,
        }];
        let old = Limits {
            memory_bytes: Some(64 << 20),
            cpu_quota: Some(50_000),
            ..Limits::default()
        };
        let new = Limits {
            memory_bytes: Some(128 << 20),
            swap: Swap::Unlimited,
            pids: Pids::Unlimited,
            ..Limits::default()
        };
        replace(&hierarchies, "g", &old, &new).unwrap();
        let read = |file: &str| fs::read_to_string(group.join(file)).unwrap();
        assert_eq!(read("memory.max"), "134217728");
        assert_eq!(read("memory.swap.max"), "max");
        assert_eq!(
            (read("cpu.max"), read("pids.max")),
            ("max".into(), "max".into())
        );
        assert_eq!(read("cpu.weight"), "untouched");
        replace(&hierarchies, "g", &new, &Limits::default()).unwrap();
        assert_eq!(
            (read("memory.max"), read("pids.max")),
            ("max".into(), "4096".into())
        );
        let missing = Limits {
            blkio_weight: Some(100),
            ..Limits::default()
        };
        let e = replace(&hierarchies, "g", &old, &missing).unwrap_err();
        assert!(e.to_string().contains("--blkio-weight"));
    }
}
