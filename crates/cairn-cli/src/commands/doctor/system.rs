//! The machine: kernel, file systems, filters of system calls, control groups.

use std::path::Path;

use rustix::process::{Resource, getrlimit};

use crate::report::doctor::Finding;

const AREA: &str = "system";
/// A container with many files open, or an import of a wide tree, takes some hundreds.
const FILES_MIN: u64 = 1024;
/// File systems that views and containers are made of.
const FILE_SYSTEMS: [&str; 3] = ["overlay", "erofs", "fuse"];

/// A file of /proc or /sys, without its line end; empty where it cannot be read.
pub(super) fn read(path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.trim_end().to_owned()
}

pub(super) fn look() -> Vec<Finding> {
    vec![
        Finding::ok(AREA, "cairn", version()),
        Finding::ok(AREA, "kernel", kernel()),
        file_systems(),
        seccomp(),
        control_groups(),
        open_files(),
    ]
}

fn version() -> String {
    format!(
        "{} for {}-{}, debug assertions {}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        std::env::consts::OS,
        if cfg!(debug_assertions) { "on" } else { "off" }
    )
}

fn kernel() -> String {
    let release = read("/proc/sys/kernel/osrelease");
    format!("Linux {release}")
}

fn file_systems() -> Finding {
    let known = read("/proc/filesystems");
    let has = |name: &&str| {
        known
            .lines()
            .any(|line| line.trim_start_matches("nodev").trim() == *name)
    };
    let (there, missing): (Vec<&str>, Vec<&str>) =
        FILE_SYSTEMS.into_iter().partition(|name| has(name));
    let found = Finding::ok(AREA, "file systems", there.join(", "));
    match missing.contains(&"overlay") {
        true => found.warn("load overlayfs with \"modprobe overlay\"; without it every container takes a full copy"),
        // The others are loaded when they are first mounted.
        false => found,
    }
}

fn seccomp() -> Finding {
    match Path::new("/proc/sys/kernel/seccomp/actions_avail").exists() {
        true => Finding::ok(AREA, "seccomp", "system calls of containers are filtered"),
        false => Finding::ok(AREA, "seccomp", "the kernel has no filters for system calls")
            .problem("use a kernel with CONFIG_SECCOMP_FILTER, or run with --security-opt seccomp=unconfined"),
    }
}

fn control_groups() -> Finding {
    let mounts = read("/proc/self/mountinfo");
    let has = |kind: &str| {
        mounts
            .lines()
            .any(|line| line.contains(&format!(" - {kind} ")))
    };
    let says = match (has("cgroup"), has("cgroup2")) {
        (false, true) => "version 2",
        (true, true) => "versions 1 and 2 (hybrid)",
        (true, false) => "version 1",
        (false, false) => {
            return Finding::ok(AREA, "control groups", "none are mounted").warn(
                "mount them (\"mount -t cgroup2 none /sys/fs/cgroup\"); limits and pauses do not work without",
            );
        }
    };
    let found = Finding::ok(AREA, "control groups", says);
    match has("cgroup2") {
        true => found,
        false => found.warn("a running container can only be committed with version 2"),
    }
}

fn open_files() -> Finding {
    let limit = getrlimit(Resource::Nofile).current;
    let says = limit.map_or("no limit".to_owned(), |n| format!("{n} for a process"));
    let found = Finding::ok(AREA, "open files", says);
    match limit.is_some_and(|n| n < FILES_MIN) {
        true => found.warn(format!("raise the limit with \"ulimit -n {FILES_MIN}\"")),
        false => found,
    }
}
