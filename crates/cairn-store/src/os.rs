//! What the system is asked for, beside files.

use std::path::Path;
use std::sync::OnceLock;

use crate::error::{IoContext, Result};

/// Nice value of threads that give way.
const LOWERED_PRIORITY: i32 = 10;

/// Random bytes from the kernel, for names that never collide.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut out = [0; N];
    rustix::rand::getrandom(&mut out[..], rustix::rand::GetRandomFlags::empty())
        .at("read", Path::new("/dev/urandom"))?;
    Ok(out)
}

/// The kernel's own name for this run of the machine (random(4)), which no process outlives.
pub fn boot_id() -> Option<String> {
    static READ: OnceLock<Option<String>> = OnceLock::new();
    let read = || {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    READ.get_or_init(read).clone()
}

/// Lets every other thread of the machine go first (setpriority(2), which on Linux is for one thread): for what nobody
/// waits for. Where nobody else wants the processor nothing changes.
pub fn lower_priority() {
    // Advice: without it things are only less smooth.
    let _ = rustix::process::setpriority_process(None, LOWERED_PRIORITY);
}
