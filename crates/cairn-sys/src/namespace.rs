//! A user namespace that nobody is in, for mounts that show its ids.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Makes a user namespace with these ids, as uid_map and gid_map of proc(5) take them. Other than a fork this works in
/// a process with any number of threads: the child that the kernel wants for it does nothing but wait for its end.
pub fn user_namespace(uids: &str, gids: &str) -> io::Result<OwnedFd> {
    // Both ends are closed by an exec, and the child makes none. It ends when this process does.
    let (wait, alive) = io::pipe()?;
    let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
    // SAFETY: no stack, thread area or address is passed, so this is fork(2) into a new user namespace. With other
    // threads around the child may only do what needs none of their locks, see `hold`.
    let child = match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => return Err(io::Error::last_os_error()),
        0 => hold(wait.as_raw_fd(), alive.as_raw_fd()),
        // A number of a process fits.
        child => Child(child as i32),
    };
    std::fs::write(format!("/proc/{}/uid_map", child.0), uids)?;
    std::fs::write(format!("/proc/{}/gid_map", child.0), gids)?;
    File::open(format!("/proc/{}/ns/user", child.0)).map(OwnedFd::from)
}

/// In the child: waits. Only system calls, which take no lock and allocate nothing.
fn hold(wait: i32, alive: i32) -> ! {
    let mut byte = 0_u8;
    // SAFETY: the descriptors are this process's own, `byte` is one byte long, and nothing of this process is used
    // afterwards.
    unsafe {
        libc::syscall(libc::SYS_close, alive);
        libc::syscall(libc::SYS_read, wait, std::ptr::from_mut(&mut byte), 1);
        loop {
            libc::syscall(libc::SYS_exit_group, 0);
        }
    }
}

/// The child; it is ended and taken from the kernel's list when this goes.
struct Child(i32);

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: it is a child of this process that nobody else waits for, so the number is still its own.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_made_beside_other_threads() {
        // SAFETY: no arguments.
        if unsafe { libc::geteuid() } != 0 {
            return;
        }
        let all: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| user_namespace("0 100000 10\n", "0 100000 10\n")))
            .collect();
        for made in all {
            made.join().unwrap().unwrap();
        }
        assert!(user_namespace("no map", "0 0 1\n").is_err());
    }
}
