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
    let map = |first: u32| format!("0 {first} {}", range.size);
    make_mapped(&map(range.uid), &map(range.gid), kinds)
}

/// The same with ids as uid_map and gid_map of proc(5) take them.
pub fn make_mapped(uids: &str, gids: &str, kinds: CloneFlags) -> Result<Spaces> {
    holding(kinds, None, |child, answer| {
        map(child, answer, uids, gids, kinds)
    })
}

/// Makes namespaces of `kinds` that belong to a user namespace that is there. Its ids come with them, as
/// uid_map and gid_map of proc(5) show them.
pub fn in_namespace(users: &OwnedFd, kinds: CloneFlags) -> Result<((String, String), Spaces)> {
    holding(kinds, Some(users), |child, answer| {
        let (pid, spaces) = opened(child, answer, kinds)?;
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            std::fs::read_to_string(&path).step(format!("read {path}"))
        };
        Ok(((read("uid_map")?, read("gid_map")?), spaces))
    })
}

/// Has a child make namespaces, or enter that of `users` and make the others, and hold them meanwhile.
fn holding<T>(
    kinds: CloneFlags,
    users: Option<&OwnedFd>,
    meanwhile: impl FnOnce(i32, PipeReader) -> Result<T>,
) -> Result<T> {
    let step = "create a user namespace";
    let (answer, say) = std::io::pipe().step(step)?;
    let (wait, let_go) = std::io::pipe().step(step)?;
    let Some(child) = cairn_sys::fork_alone(false).step(step)? else {
        drop((answer, let_go));
        hold(say, wait, kinds, users)
    };
    drop((say, wait));
    let made = meanwhile(child, answer);
    drop(let_go);
    let _ = waitpid(Pid::from_raw(child), None);
    made
}

/// In the child: makes the namespaces and keeps them until they were opened.
fn hold(
    mut say: PipeWriter,
    mut wait: PipeReader,
    kinds: CloneFlags,
    users: Option<&OwnedFd>,
) -> ! {
    let done = match users {
        None => unshare(CloneFlags::CLONE_NEWUSER | kinds),
        Some(users) => setns(users, CloneFlags::CLONE_NEWUSER).and_then(|()| unshare(kinds)),
    };
    let code = done.err().map_or(0, |e| e as i32);
    // Where nobody listens any more there is nothing to hold.
    let _ = say.write_all(&code.to_ne_bytes());
    let _ = wait.read(&mut [0]);
    std::process::exit(0)
}

fn map(
    child: i32,
    answer: PipeReader,
    uids: &str,
    gids: &str,
    kinds: CloneFlags,
) -> Result<Spaces> {
    let (pid, spaces) = opened(child, answer, kinds)?;
    for (file, ids) in [("uid_map", uids), ("gid_map", gids)] {
        std::fs::write(format!("/proc/{pid}/{file}"), ids)
            .step(format!("write {file} of the user namespace"))?;
    }
    Ok(spaces)
}

/// The namespaces once the child has made them, and the child's number as `/proc` has it.
fn opened(child: i32, mut answer: PipeReader, kinds: CloneFlags) -> Result<(i32, Spaces)> {
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
    let user = open("user")?;
    Ok((pid, Spaces { user, owned }))
}
