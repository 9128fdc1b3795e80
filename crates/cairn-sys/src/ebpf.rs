//! Programs that decide over devices of a control group (bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// An instruction of an extended BPF program (linux/bpf.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct EbpfInstruction {
    /// What it does.
    pub code: u8,
    /// The register it reads, times 16, and the one it writes.
    pub registers: u8,
    /// Distance of a jump, or offset of a load.
    pub offset: i16,
    /// A number.
    pub number: i32,
}

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// Programs of others stay in force beside it.
const ALLOW_MULTI: u32 = 2;

/// The beginning of `union bpf_attr` for loading; what follows is zero.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_long> {
    // SAFETY: `attributes` lives across the call and its true size is passed; pointers in it are those of the
    // callers below, to memory that lives across the call, too, and is only read.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    if rc < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(rc)
    }
}

/// Loads a program that decides over devices. The kernel verifies it.
pub fn load_device_program(program: &[EbpfInstruction]) -> io::Result<OwnedFd> {
    let count = u32::try_from(program.len()).map_err(io::Error::other)?;
    let license = c"Apache-2.0";
    let attributes = Load {
        kind: TYPE_CGROUP_DEVICE,
        count,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    let fd = bpf(PROG_LOAD, &attributes)?;
    // SAFETY: the kernel just returned this descriptor, close-on-exec; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches such a program to a control group of version 2, for as long as the group exists.
pub fn attach_device_program(group: &impl AsRawFd, program: &OwnedFd) -> io::Result<()> {
    let attributes = Attach {
        target: group.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    bpf(PROG_ATTACH, &attributes).map(drop)
}
