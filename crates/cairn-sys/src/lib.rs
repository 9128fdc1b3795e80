//! The one crate that holds `unsafe` code, so that every other crate can forbid it.
//!
//! Promises: each function here is safe to call with any argument. Nothing here knows what Cairn is.
//!
//! ```
//! let doubled = cairn_sys::threads::map(2, &[1, 2, 3], |n| Ok::<_, ()>(n * 2));
//! assert_eq!(doubled, Ok(vec![2, 4, 6]));
//! ```

mod ebpf;
mod ids;
mod namespace;
mod seccomp;
pub mod threads;

pub use ebpf::{EbpfInstruction, attach_device_program, load_device_program};
pub use ids::IdMap;
pub use namespace::user_namespace;
pub use seccomp::{BpfInstruction, install_seccomp_filter};

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Marks every descriptor from `first` upwards close-on-exec (close_range(2), Linux 5.11), so that a
/// process launched next inherits none by accident.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
    // SAFETY: close_range with CLOSE_RANGE_CLOEXEC only changes descriptor flags; no memory is passed.
    let rc = unsafe { libc::close_range(first, u32::MAX, flags) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Asks the kernel to start writing the range back, without waiting (sync_file_range(2)). A later
/// fsync then finds little left to do. Advice only: errors are of no consequence and not reported.
pub fn start_writeback(file: &File, offset: u64, len: u64) {
    // SAFETY: the call takes a valid descriptor and two integers and touches no memory of ours.
    unsafe {
        libc::sync_file_range(
            file.as_raw_fd(),
            offset as libc::off64_t,
            len as libc::off64_t,
            libc::SYNC_FILE_RANGE_WRITE,
        );
    }
}

/// Makes a mount read-only by its descriptor, attached or not (mount_setattr(2), Linux 5.12); with
/// `recursive`, all mounts below it too.
pub fn mount_read_only(mount: &impl AsRawFd, recursive: bool) -> io::Result<()> {
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    set_mount_attribute(mount, libc::MOUNT_ATTR_RDONLY, flags)
}

/// Lets no device node of a mount be opened (mount_setattr(2), Linux 5.12).
pub fn mount_no_devices(mount: &impl AsRawFd) -> io::Result<()> {
    set_mount_attribute(mount, libc::MOUNT_ATTR_NODEV, 0)
}

/// Lets no program of a mount be executed, none of its set-user-id bits count and no device node be opened
/// (mount_setattr(2), Linux 5.12).
pub fn mount_quiet(mount: &impl AsRawFd) -> io::Result<()> {
    let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    set_mount_attribute(mount, attributes, 0)
}

/// Lets no program of a mount gain privileges by its mode or capabilities (mount_setattr(2), Linux 5.12).
pub fn mount_no_setuid(mount: &impl AsRawFd) -> io::Result<()> {
    set_mount_attribute(mount, libc::MOUNT_ATTR_NOSUID, 0)
}

/// Shows the ids of a mount as the user namespace `users` maps them (mount_setattr(2), Linux 5.12); with
/// `recursive`, those of all mounts below it too. The mount is detached, and its ids are not mapped yet.
pub fn mount_map_ids(
    mount: &impl AsRawFd,
    users: &impl AsRawFd,
    recursive: bool,
) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: users.as_raw_fd() as u64,
    };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    set_mount_attributes(mount, &attributes, flags)
}

/// Sets and clears attributes of a mount (`MOUNT_ATTR_*` of mount_setattr(2), Linux 5.12), and gives it the
/// propagation `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE` where that is not 0; with `recursive`,
/// all mounts below it too.
pub fn mount_change(
    mount: &impl AsRawFd,
    set: u64,
    clear: u64,
    propagation: u64,
    recursive: bool,
) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: clear,
        propagation,
        userns_fd: 0,
    };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    set_mount_attributes(mount, &attributes, flags)
}

fn set_mount_attribute(mount: &impl AsRawFd, attribute: u64, flags: i32) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: attribute,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    set_mount_attributes(mount, &attributes, flags)
}

fn set_mount_attributes(
    mount: &impl AsRawFd,
    attributes: &libc::mount_attr,
    flags: i32,
) -> io::Result<()> {
    // SAFETY: the path is a NUL-terminated literal, `attributes` lives across the call and its true size
    // is passed; the kernel only reads both.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | flags,
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Closes every descriptor from `first` upwards, whoever owns it (close_range(2), Linux 5.9): for a process
/// that will not use any of them again. What still owns one finds it closed, which is an error and no more.
pub fn close_all_from(first: u32) -> io::Result<()> {
    // SAFETY: no memory is passed; descriptors that are closed twice give EBADF.
    let rc = unsafe { libc::close_range(first, u32::MAX, 0) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Brings the loopback interface of this network namespace up (netdevice(7)).
pub fn loopback_up() -> io::Result<()> {
    // SAFETY: plain socket(2); the descriptor is owned by `socket` right below.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just opened here and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: an all-zero ifreq is a valid value of that plain C struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which lives across the call.
    let rc = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Takes over a descriptor that the process that started this one left open for it.
///
/// The number must have come from that process (an argument of the command line), and must be taken
/// over once, before anything else could have opened files.
pub fn inherited(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD on any number only says whether it is open.
    if fd < 3 || unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the inherited descriptor is not open",
        ));
    }
    // SAFETY: it is open, and by the contract above it belongs to nobody else in this process.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Forks (clone(2) without a stack) while this process has one thread, as after an exec: `None` in the child,
/// the child's number in the parent. With `new_pid_namespace` the child is process 1 of a new one, while this
/// process's own children stay where they would be (unlike after unshare(2), it can still start threads).
/// With more threads the child could find locks taken that nobody will ever give back, so that is refused.
pub fn fork_alone(new_pid_namespace: bool) -> io::Result<Option<i32>> {
    let flags = match new_pid_namespace {
        true => libc::CLONE_NEWPID as u64,
        false => 0,
    };
    fork(flags, None)
}

/// The same; the child begins in the control group (of version 2) whose directory this is (Linux 5.7). A process
/// that is moved there later has the kernel wait for all processors.
pub fn fork_into(group: &OwnedFd) -> io::Result<Option<i32>> {
    /// `CLONE_INTO_CGROUP` of linux/sched.h.
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    fork(INTO_CGROUP, Some(group))
}

fn fork(flags: u64, group: Option<&OwnedFd>) -> io::Result<Option<i32>> {
    let alone = match std::fs::read_dir("/proc/self/task") {
        Ok(threads) => threads.count() == 1,
        // Where this process is not in the /proc that it sees.
        // SAFETY: no memory is passed. With one thread the flag has no effect, with more it is refused
        // (unshare(2)).
        Err(_) => unsafe { libc::unshare(libc::CLONE_THREAD) == 0 },
    };
    if !alone {
        return Err(io::Error::other(
            "a process with several threads cannot be forked",
        ));
    }
    let Some(group) = group else {
        let flags = libc::SIGCHLD | flags as i32;
        // SAFETY: no stack, thread area or address is passed, so this is fork(2) with a namespace. This thread is
        // the only one (nobody else could start another), so the child's memory is as consistent as the parent's.
        return forked(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) });
    };
    // SAFETY: an all-zero clone_args is a valid value of that plain C struct.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags;
    args.exit_signal = libc::SIGCHLD as u64;
    args.cgroup = std::os::fd::AsRawFd::as_raw_fd(group) as u64;
    // SAFETY: as above; the kernel reads `args`, whose length is passed with it.
    forked(unsafe { libc::syscall(libc::SYS_clone3, &args, size_of::<libc::clone_args>()) })
}

fn forked(pid: i64) -> io::Result<Option<i32>> {
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        // A number of a process fits.
        pid => Ok(Some(pid as i32)),
    }
}

/// Gives every signal its default effect, those included that libc keeps for itself and passes on to children
/// as it found them.
pub fn default_signals() {
    /// The kernel's own structure, which is not libc's (include/uapi/asm-generic/signal.h): handler, flags,
    /// restorer and mask, all zero; longer than any architecture's.
    const DEFAULT: [u64; 8] = [0; 8];
    const MASK_BYTES: usize = 8;
    for signal in 1..=64 {
        // SAFETY: the kernel reads the structure, which is static and zero: SIG_DFL installs no handler, and
        // the old action is not asked for. SIGKILL and SIGSTOP answer EINVAL.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT.as_ptr(),
                std::ptr::null::<u64>(),
                MASK_BYTES,
            )
        };
    }
}

/// Joins a new anonymous session keyring (keyctl(2)), so that keys of whoever started this process cannot be
/// used by what it becomes.
pub fn new_session_keyring() -> io::Result<()> {
    // SAFETY: the name is NULL (an anonymous keyring); no memory is passed.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    };
    if rc >= 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sends a signal, real-time ones included, to the very process that a descriptor stands for
/// (pidfd_send_signal(2), Linux 5.1); signal 0 only asks whether it may be sent.
pub fn send_signal(process: &impl AsRawFd, signal: i32) -> io::Result<()> {
    // SAFETY: the information is NULL, as for kill(2); no memory is passed.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Waits for one of all the signals that this thread blocks (sigwaitinfo(2)), real-time ones included; its
/// number. Needs no descriptor.
pub fn wait_for_blocked_signal() -> io::Result<i32> {
    // SAFETY: an all-zero set is a valid value of that plain C structure.
    let mut blocked: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the new set is NULL, so nothing changes; the old one is written to `blocked`.
    let rc = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut blocked) };
    if rc != 0 {
        return Err(io::Error::from_raw_os_error(rc));
    }
    // SAFETY: the set lives across the call, and no information is asked for.
    match unsafe { libc::sigwaitinfo(&raw const blocked, std::ptr::null_mut()) } {
        -1 => Err(io::Error::last_os_error()),
        signal => Ok(signal),
    }
}

/// Sends a signal, real-time ones included, to a child of this process that it has not waited for yet, so that
/// the number is still the child's (kill(2)).
pub fn signal_child(child: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no memory is passed.
    if unsafe { libc::kill(child, signal) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Numbers of the first and last real-time signal that programs may use (signal(7)).
pub fn realtime_signals() -> (i32, i32) {
    (libc::SIGRTMIN(), libc::SIGRTMAX())
}

/// Makes writing to a closed pipe an error instead of the end of the process.
pub fn ignore_broken_pipe() {
    // SAFETY: SIG_IGN installs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Lets writing to a closed pipe end the process quietly, as command line programs do; Rust ignores the
/// signal by default.
pub fn end_on_broken_pipe() {
    // SAFETY: SIG_DFL installs no handler, so no code of ours runs in a signal's context.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Where the address space is limited (`ulimit -v`), lets all threads allocate from one arena. glibc's malloc
/// otherwise reserves 64 MiB for each of them (mallopt(3), `M_ARENA_MAX`), and stacks no longer find room.
pub fn spare_address_space() {
    #[cfg(target_env = "gnu")]
    {
        let mut limit = libc::rlimit {
            rlim_cur: libc::RLIM_INFINITY,
            rlim_max: libc::RLIM_INFINITY,
        };
        // SAFETY: the call writes one `rlimit` where it is told to; mallopt takes integers.
        unsafe {
            libc::getrlimit(libc::RLIMIT_AS, &raw mut limit);
            if limit.rlim_cur != libc::RLIM_INFINITY {
                libc::mallopt(libc::M_ARENA_MAX, 1);
            }
        }
    }
}

/// `_IOWR('f', 134, struct fsverity_digest)` of linux/fsverity.h.
const FS_IOC_MEASURE_VERITY: u32 = 0xC004_6686;
/// Room for the longest digest there is, bytes.
const VERITY_DIGEST_BYTES_MAX: u16 = 64;

#[repr(C)]
struct VerityDigest {
    algorithm: u16,
    size: u16,
    digest: [u8; VERITY_DIGEST_BYTES_MAX as usize],
}

/// True where the file system that `file` is on can seal files by fs-verity, whether or not this file is
/// sealed. An answer that says neither is an error.
pub fn has_fs_verity(file: &File) -> io::Result<bool> {
    let mut digest = VerityDigest {
        algorithm: 0,
        size: VERITY_DIGEST_BYTES_MAX,
        digest: [0; VERITY_DIGEST_BYTES_MAX as usize],
    };
    // SAFETY: the kernel writes the two numbers and at most `size` bytes behind them, which `digest` has;
    // it outlives the call. The descriptor is open while `file` is borrowed.
    let rc = unsafe {
        libc::ioctl(
            file.as_raw_fd(),
            FS_IOC_MEASURE_VERITY as _,
            &raw mut digest,
        )
    };
    if rc == 0 {
        return Ok(true);
    }
    let e = io::Error::last_os_error();
    match e.raw_os_error() {
        Some(libc::ENODATA) => Ok(true),
        Some(libc::EOPNOTSUPP | libc::ENOTTY) => Ok(false),
        _ => Err(e),
    }
}

/// How a thread is scheduled (sched_setattr(2)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For the usual policies.
    pub nice: i32,
    /// For the real-time policies.
    pub priority: u32,
    /// For deadlines, nanoseconds.
    pub runtime: u64,
    /// For deadlines, nanoseconds.
    pub deadline: u64,
    /// For deadlines, nanoseconds.
    pub period: u64,
}

/// The kernel's own structure of that (include/uapi/linux/sched/types.h), in its first version.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Schedules this thread, and what it becomes, in that way.
pub fn set_scheduling(wanted: &Scheduling) -> io::Result<()> {
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy: wanted.policy,
        flags: wanted.flags,
        nice: wanted.nice,
        priority: wanted.priority,
        runtime: wanted.runtime,
        deadline: wanted.deadline,
        period: wanted.period,
    };
    // SAFETY: the structure lives across the call and says its own size; the kernel only reads it.
    let rc = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Gives this thread, and what it becomes, a class and level for its disk accesses (ioprio_set(2)).
pub fn set_io_priority(priority: u16) -> io::Result<()> {
    const PROCESS: i32 = 1;
    // SAFETY: no memory is passed.
    let rc = unsafe { libc::syscall(libc::SYS_ioprio_set, PROCESS, 0, i32::from(priority)) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
