//! Owners and attributes where a file system gives this process only some of them: in a user namespace, or
//! to a user who may give files to nobody.
//!
//! What a checkout could not have is not lost: the tree it was made of knows it. A commit takes it from there
//! for every file that was in that tree.

use std::sync::atomic::{AtomicU64, Ordering};

use cairn_model::{MappedIds, Meta};
use cairn_sys::IdMap;

/// Which owners and attributes files can have.
#[derive(Debug)]
pub struct Owners {
    ids: IdMap,
    /// Files can be given to others at all.
    gives: bool,
    /// Files whose owner there is not.
    strangers: AtomicU64,
    /// Whoever wrote was in a user namespace, and the files have the host's ids.
    mapped: Option<MappedIds>,
}

impl Owners {
    /// Those that this process can give.
    pub fn of_this_process() -> Self {
        let gives = rustix::process::geteuid().is_root();
        Self::new(IdMap::of_this_process(), gives)
    }

    /// Those that whoever wrote a directory could give, with these ids in its namespace.
    pub fn of_ids(ids: IdMap) -> Self {
        Self::new(ids, true)
    }

    /// Those of a container with a user namespace, whose files have ids of the host.
    pub fn of_host(mapped: MappedIds) -> Self {
        Self {
            mapped: Some(mapped),
            ..Self::new(IdMap::full(), true)
        }
    }

    fn new(ids: IdMap, gives: bool) -> Self {
        Self {
            ids,
            gives,
            strangers: AtomicU64::new(0),
            mapped: None,
        }
    }

    /// True where files have whatever owner and attributes they should.
    pub fn are_all(&self) -> bool {
        self.gives && self.ids.is_full()
    }

    /// The owner that a file of the tree has on the disk: root in place of a user or group that is not there.
    /// `None` where it is whoever makes it.
    pub fn on_disk(&self, meta: &Meta) -> Option<(u32, u32)> {
        let known = |has: bool, id| if has { id } else { 0 };
        self.gives.then(|| {
            (
                known(self.ids.has_uid(meta.uid), meta.uid),
                known(self.ids.has_gid(meta.gid), meta.gid),
            )
        })
    }

    /// The same for a file that is being made; others than its own are counted.
    pub fn give(&self, meta: &Meta) -> Option<(u32, u32)> {
        let given = self.on_disk(meta);
        if given.is_some_and(|given| given != (meta.uid, meta.gid)) {
            self.strangers.fetch_add(1, Ordering::Relaxed);
        }
        given
    }

    /// What is to be said of the files that did not get their owner.
    pub fn words(&self) -> Option<String> {
        let count = self.strangers.load(Ordering::Relaxed);
        (count > 0).then(|| {
            format!(
                "{count} files belong to users that this user namespace does not have: inside they are root's, commits and exports keep their owners; see \"cairn driver\""
            )
        })
    }

    /// Makes of what the disk says what is meant. `old` is the file as the parent's tree has it.
    pub fn restore(&self, meta: &mut Meta, old: Option<&Meta>) {
        if let Some(mapped) = &self.mapped {
            return super::mapped::restore(mapped, meta);
        }
        if self.are_all() {
            return;
        }
        let ids = &self.ids;
        let own = |found, old: Option<(u32, bool)>| match old {
            // It stands for an owner that is not there.
            Some((id, false)) if found == 0 => id,
            _ => found,
        };
        (meta.uid, meta.gid) = if self.gives {
            (
                own(meta.uid, old.map(|old| (old.uid, ids.has_uid(old.uid)))),
                own(meta.gid, old.map(|old| (old.gid, ids.has_gid(old.gid)))),
            )
        } else {
            old.map_or((0, 0), |old| (old.uid, old.gid))
        };
        meta.xattrs
            .retain(|(name, _)| self.held(name) || self.gives && name.starts_with(ACL));
        for (name, value) in old.into_iter().flat_map(|old| &old.xattrs) {
            if !self.held(name) && meta.xattr(name).is_none() {
                meta.set_xattr(name, value);
            }
        }
    }

    /// True for an attribute whose absence says that somebody took it away.
    fn held(&self, name: &[u8]) -> bool {
        name.starts_with(b"user.") || self.gives && name == b"security.capability"
    }
}

/// Access lists name ids, some of which may not be there.
const ACL: &[u8] = b"system.posix_acl_";

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(uid: u32, gid: u32) -> Meta {
        Meta {
            uid,
            gid,
            ..Meta::root(0o644)
        }
    }

    #[test]
    fn an_owner_that_is_not_there_is_root_on_the_disk_and_itself_in_a_commit() {
        let owners = Owners::of_ids("0+100/0+100".parse().unwrap());
        assert_eq!(owners.give(&meta(33, 4000)), Some((33, 0)));
        assert_eq!(owners.give(&meta(33, 33)), Some((33, 33)));
        assert!(owners.words().unwrap().starts_with("1 files"));
        let restored = |found: (u32, u32), old: Option<Meta>| {
            let mut now = meta(found.0, found.1);
            owners.restore(&mut now, old.as_ref());
            (now.uid, now.gid)
        };
        assert_eq!(restored((33, 0), Some(meta(33, 4000))), (33, 4000));
        assert_eq!(
            restored((0, 5), Some(meta(33, 4000))),
            (0, 5),
            "it was given away"
        );
        assert_eq!(restored((0, 0), None), (0, 0));
    }

    #[test]
    fn attributes_that_cannot_be_there_are_those_of_before() {
        let owners = Owners::of_ids("0+1/0+1".parse().unwrap());
        let mut old = meta(0, 0);
        for name in [&b"trusted.note"[..], b"user.gone", b"security.capability"] {
            old.set_xattr(name, b"old");
        }
        let mut now = meta(0, 0);
        now.set_xattr(b"user.new", b"new");
        owners.restore(&mut now, Some(&old));
        let names: Vec<&[u8]> = now.xattrs.iter().map(|(name, _)| &name[..]).collect();
        assert_eq!(names, [&b"trusted.note"[..], b"user.new"]);
        assert_eq!((now.uid, now.gid), (0, 0));
    }
}
