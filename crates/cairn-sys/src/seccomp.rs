//! Seccomp filters (seccomp(2)).

use std::io;

/// An instruction of a classic BPF program (linux/filter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BpfInstruction {
    /// What it does.
    pub code: u16,
    /// Instructions to jump over where a test is true.
    pub jt: u8,
    /// Instructions to jump over where it is false.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// Puts the calling thread under a filter for good. The kernel checks the program, and wants no_new_privs or
/// CAP_SYS_ADMIN.
pub fn install_seccomp_filter(program: &[BpfInstruction], flags: u32) -> io::Result<()> {
    let mut filter: Vec<libc::sock_filter> = program
        .iter()
        .map(|i| libc::sock_filter {
            code: i.code,
            jt: i.jt,
            jf: i.jf,
            k: i.k,
        })
        .collect();
    let len =
        u16::try_from(filter.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog {
        len,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: `program` and the `len` instructions it points to live across the call; the kernel copies them.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
