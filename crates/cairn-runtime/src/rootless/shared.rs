//! Who is in a user's namespace: a file in their runtime directory, `userns`, with a line for each process: its
//! number, when it started, and the namespace's inode.
//!
//! The file is only a hint: a namespace is joined if the kernel says that the process is in it and that its
//! ids are the right ones. It is locked while somebody looks and joins, so that two commands that start at once do
//! not make two.

use std::fs::{DirBuilder, File};
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};
use rustix::fs::{FlockOperation, flock};

use super::subids::{Maps, lines};
use crate::error::{Result, Step};
use crate::state::start_ticks;

/// Longer files are not read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The list of a user, in a directory that is theirs alone and does not outlive the boot.
pub(super) fn place(uid: u32) -> Option<PathBuf> {
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let usual = PathBuf::from(format!("/run/user/{uid}"));
    let is_own = |path: &Path| {
        path.is_absolute()
            && path
                .symlink_metadata()
                .is_ok_and(|meta| meta.is_dir() && meta.uid() == uid && meta.mode() & 0o022 == 0)
    };
    let above = [given, Some(usual)]
        .into_iter()
        .flatten()
        .find(|path| is_own(path));
    let directory = match above {
        Some(above) => above.join("cairn"),
        None => std::env::temp_dir().join(format!("cairn-{uid}")),
    };
    // It may be there; whose it is counts.
    let _ = DirBuilder::new().mode(0o700).create(&directory);
    is_own(&directory).then(|| directory.join("userns"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    pid: i32,
    ticks: u64,
    namespace: u64,
}

impl Member {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let member = Self {
            pid: words.next()?.parse().ok()?,
            ticks: words.next()?.parse().ok()?,
            namespace: words.next()?.parse().ok()?,
        };
        (member.pid > 0).then_some(member)
    }

    fn lives(&self) -> bool {
        start_ticks(self.pid) == Some(self.ticks)
    }

    /// Enters the namespace it is in, if that has the ids of `maps`.
    fn join(&self, maps: &Maps) -> bool {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", self.pid));
        let same = |name: &str, wanted: &[_]| {
            read(name).is_ok_and(|text| lines(&text).is_some_and(|lines| lines == wanted))
        };
        let Ok(namespace) = File::open(format!("/proc/{}/ns/user", self.pid)) else {
            return false;
        };
        namespace
            .metadata()
            .is_ok_and(|m| m.ino() == self.namespace)
            && same("uid_map", &maps.uids)
            && same("gid_map", &maps.gids)
            && self.lives()
            && setns(namespace.as_fd(), CloneFlags::CLONE_NEWUSER).is_ok()
    }
}

/// The list, locked.
pub(super) struct List {
    file: File,
    members: Vec<Member>,
}

impl List {
    pub fn lock(place: &Path) -> Result<Self> {
        let step = || format!("open {}", place.display());
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(place)
            .step(step())?;
        flock(&file, FlockOperation::LockExclusive).step(step())?;
        let mut text = String::new();
        // A list of something else is none.
        let _ = (&mut file).take(FILE_BYTES_MAX).read_to_string(&mut text);
        let members = text.lines().filter_map(Member::parse);
        Ok(Self {
            members: members.filter(Member::lives).collect(),
            file,
        })
    }

    /// Enters a namespace with these ids, if somebody is in one.
    pub fn join(&self, maps: &Maps) -> bool {
        self.members.iter().any(|member| member.join(maps))
    }

    /// Adds a process that is in the namespace of this one, and writes the list.
    pub fn add(mut self, pid: i32) -> Result<()> {
        let step = "list this process";
        let namespace = std::fs::metadata("/proc/self/ns/user").step(step)?.ino();
        let Some(ticks) = start_ticks(pid) else {
            return Ok(());
        };
        self.members.push(Member {
            pid,
            ticks,
            namespace,
        });
        let lines = self
            .members
            .iter()
            .map(|member| format!("{} {} {}\n", member.pid, member.ticks, member.namespace));
        let text: String = lines.collect();
        self.file.rewind().step(step)?;
        self.file.set_len(0).step(step)?;
        self.file.write_all(text.as_bytes()).step(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_gone_leaves_the_list() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("userns");
        std::fs::write(&place, "999999999 1 2\nnonsense\n-5 1 1\n").unwrap();
        let pid = std::process::id() as i32;
        List::lock(&place).unwrap().add(pid).unwrap();
        let list = List::lock(&place).unwrap();
        assert_eq!(list.members.len(), 1);
        assert_eq!(list.members[0].pid, pid);
        assert!(!list.join(&Maps::single(4_000_000, 4_000_000)), "other ids");
    }
}
