//! The making of a user namespace, and of those that belong to it, by a process that stays outside.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};

use super::IdRange;
use crate::error::{Error, Result, Step};

/// Namespaces by the kinds that can belong to a user namespace here, and the names of their files.
const KINDS: [(CloneFlags, &str); 3] = [
    (CloneFlags::CLONE_NEWNET, "net"),
    (CloneFlags::CLONE_NEWIPC, "ipc"),
    (CloneFlags::CLONE_NEWUTS, "uts"),
];

/// A user namespace, and namespaces that its root rules.
pub struct Spaces {
    /// The user namespace.
    pub user: OwnedFd,
    owned: Vec<(CloneFlags, OwnedFd)>,
}

impl Spaces {
    /// Enters those that belong to the user namespace, which itself is left for later.
    pub fn join(&self) -> Result<()> {
        for (kind, namespace) in &self.owned {
            setns(namespace.as_fd(), *kind).step("join a namespace of the container")?;
        }
        Ok(())
    }
}

/// Makes a user namespace with the ids of `range`, and namespaces of `kinds` that belong to it. A child makes
/// them, because whoever creates a user namespace is in it and has no more power outside.
pub fn make(range: &IdRange, kinds: CloneFlags) -> Result<Spaces> {
    let step = "create a user namespace";
    let (answer, say) = std::io::pipe().step(step)?;
    let (wait, let_go) = std::io::pipe().step(step)?;
    let Some(child) = cairn_sys::fork_alone(false).step(step)? else {
        drop((answer, let_go));
        hold(say, wait, kinds)
    };
    drop((say, wait));
    let made = map(child, answer, range, kinds);
    drop(let_go);
    let _ = waitpid(Pid::from_raw(child), None);
    made
}

/// In the child: makes the namespaces and keeps them until they were opened.
fn hold(mut say: PipeWriter, mut wait: PipeReader, kinds: CloneFlags) -> ! {
    let done = unshare(CloneFlags::CLONE_NEWUSER | kinds);
    let code = done.err().map_or(0, |e| e as i32);
    // Where nobody listens any more there is nothing to hold.
    let _ = say.write_all(&code.to_ne_bytes());
    let _ = wait.read(&mut [0]);
    std::process::exit(0)
}

fn map(child: i32, mut answer: PipeReader, range: &IdRange, kinds: CloneFlags) -> Result<Spaces> {
    let step = "create a user namespace (they may be disabled on this system)";
    let mut code = [0; 4];
    answer.read_exact(&mut code).step(step)?;
    match i32::from_ne_bytes(code) {
        0 => {}
        code => return Err(std::io::Error::from_raw_os_error(code)).step(step),
    }
    let pid = rustix::process::Pid::from_raw(child)
        .ok_or_else(|| Error::Invalid("the user namespace's process has no number".into()))?;
    let process = pidfd_open(pid, PidfdFlags::empty()).step(step)?;
    // As `/proc` numbers it, which is that of another namespace than ours.
    let pid = crate::monitor::pid_of(&process)?;
    for (file, first) in [("uid_map", range.uid), ("gid_map", range.gid)] {
        std::fs::write(
            format!("/proc/{pid}/{file}"),
            format!("0 {first} {}", range.size),
        )
        .step(format!("write {file} of the user namespace"))?;
    }
    let open = |name: &str| {
        let path = format!("/proc/{pid}/ns/{name}");
        File::open(&path)
            .map(OwnedFd::from)
            .step(format!("open {path}"))
    };
    let mut owned = Vec::new();
    for (kind, name) in KINDS {
        if kinds.contains(kind) {
            owned.push((kind, open(name)?));
        }
    }
    Ok(Spaces {
        user: open("user")?,
        owned,
    })
}
