//! Hides and write-protects what `/proc` and `/sys` show of the host.

use std::os::fd::OwnedFd;

use rustix::mount::MountAttrFlags;

use super::Dev;
use crate::detached::{attach, clone_fd, filesystem, open_exact};
use crate::error::{Result, Step};

/// What tells too much; it reads as empty.
const MASKED_PROC: [&str; 10] = [
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "timer_list",
    "timer_stats",
    "sched_debug",
    "scsi",
];
const MASKED_SYS: [&str; 2] = ["firmware", "devices/virtual/powercap"];
/// What steers the kernel; it can be read.
const READ_ONLY_PROC: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Covers parts of the mounts `proc` and `sys`, which were made for this container just now. What a kernel
/// does not have needs no cover; a cover that cannot be put on is an error.
pub fn apply(proc: &OwnedFd, sys: &OwnedFd, dev: &Dev) -> Result<()> {
    for name in READ_ONLY_PROC {
        if let Some(target) = open_exact(proc, name)? {
            let same = clone_fd(&target, false)?;
            cairn_sys::mount_read_only(&same, true).step(format!("make /proc/{name} read-only"))?;
            attach(&same, &target, name)?;
        }
    }
    let masked = MASKED_PROC.iter().map(|name| (proc, name));
    for (mount, name) in masked.chain(MASKED_SYS.iter().map(|name| (sys, name))) {
        if let Some(target) = open_exact(mount, name)? {
            mask(&target, name, dev)?;
        }
    }
    // One for each processor; they tell how hot the host is.
    for number in 0.. {
        let processor = format!("devices/system/cpu/cpu{number}");
        if open_exact(sys, &processor)?.is_none() {
            break;
        }
        let name = format!("{processor}/thermal_throttle");
        if let Some(target) = open_exact(sys, &name)? {
            mask(&target, &name, dev)?;
        }
    }
    Ok(())
}

/// The same as paths, for whoever covers them otherwise: what reads as empty, and what cannot be written.
pub fn hidden_paths() -> (Vec<String>, Vec<String>) {
    let processor = |number: usize| format!("/sys/devices/system/cpu/cpu{number}");
    let processors = (0..)
        .map(processor)
        .take_while(|path| std::path::Path::new(path).exists());
    let hidden = MASKED_PROC
        .iter()
        .map(|name| format!("/proc/{name}"))
        .chain(MASKED_SYS.iter().map(|name| format!("/sys/{name}")))
        .chain(processors.map(|path| format!("{path}/thermal_throttle")));
    let closed = READ_ONLY_PROC.iter().map(|name| format!("/proc/{name}"));
    (hidden.collect(), closed.collect())
}

fn mask(target: &OwnedFd, name: &str, dev: &Dev) -> Result<()> {
    mask_with(target, name, &dev.null()?)
}

/// Covers a directory with an empty one, and anything else with this `/dev/null`.
pub fn mask_with(target: &OwnedFd, name: &str, null: &OwnedFd) -> Result<()> {
    let stat = rustix::fs::fstat(target).step(format!("read {name}"))?;
    let cover = if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
        let read_only = MountAttrFlags::MOUNT_ATTR_RDONLY;
        filesystem("tmpfs", "size=0,mode=555", read_only)?
    } else {
        // The container's own, and not to be changed: never an inode of the host's.
        let null = clone_fd(null, false)?;
        cairn_sys::mount_read_only(&null, false).step("make a mask read-only")?;
        null
    };
    attach(&cover, target, name)
}
