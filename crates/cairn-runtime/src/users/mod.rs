//! User namespaces: ids of a container that are none of the host's.
//!
//! Process 1 of the host's ids builds the root with its privileges and enters the namespace last, so that the
//! container has no power over its mounts. Files keep their ids on the disk: every mount shows them as the
//! namespace maps them. The namespaces whose objects the container's root rules (network, System V, host name)
//! belong to the user namespace.

mod claim;
mod keep;
mod namespace;
pub(crate) mod own;

use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};

pub use claim::{IdClaim, POOL_FIRST, POOL_LAST, POOL_SIZE};
pub use keep::KeptId;
pub use namespace::{in_namespace, make, make_mapped};

use crate::error::{Error, Result, Step};

/// Ids of the host that a container's own stand for: its ids 0, 1, … are these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The host's user id for root of the container.
    pub uid: u32,
    /// The host's group id for group 0 of the container.
    pub gid: u32,
    /// How many ids there are.
    pub size: u32,
}

impl IdRange {
    /// The host's user and group for a user and group of the container; none for those outside of the range.
    pub fn owner(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        Some((self.host(self.uid, uid)?, self.host(self.gid, gid)?))
    }

    fn host(&self, first: u32, id: u32) -> Option<u32> {
        first.checked_add(id).filter(|_| id < self.size)
    }

    /// Options of a file system in memory: ids in it are the container's.
    pub(crate) fn options(&self, options: &str) -> Result<String> {
        let host = |option: &str| {
            let (key, first) = match option.split_once('=') {
                Some(("uid", id)) => (("uid", id), self.uid),
                Some(("gid", id)) => (("gid", id), self.gid),
                _ => return Ok(option.to_owned()),
            };
            let id = key.1.parse().ok().and_then(|id| self.host(first, id));
            let id = id.ok_or_else(|| self.outside(option))?;
            Ok(format!("{}={id}", key.0))
        };
        let all: Result<Vec<String>> = options.split(',').map(host).collect();
        Ok(all?.join(","))
    }

    /// Refuses ids that the container does not have.
    pub(crate) fn check(&self, uid: u32, gid: u32, groups: &[u32]) -> Result<()> {
        let ids = [uid, gid].into_iter().chain(groups.iter().copied());
        match ids.into_iter().find(|id| *id >= self.size) {
            Some(id) => Err(self.outside(&id.to_string())),
            None => Ok(()),
        }
    }

    fn outside(&self, what: &str) -> Error {
        Error::Invalid(format!(
            "{what}: the container has the ids 0 to {}; choose a larger range with --userns UID:GID:SIZE",
            self.size - 1
        ))
    }

    /// From here on files that this process makes belong to root of the container; what it may do stays.
    pub(crate) fn own_new_files(&self) -> Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        nix::unistd::setfsgid(gid);
        nix::unistd::setfsuid(uid);
        // They return what was before, whether or not they changed it.
        if nix::unistd::setfsuid(uid) != uid || nix::unistd::setfsgid(gid) != gid {
            return Err(Error::Invalid(format!(
                "could not make files as user {uid} and group {gid} of the host"
            )));
        }
        // The kernel took those of files out of effect.
        let failed = |e: caps::errors::CapsError| std::io::Error::other(e.to_string());
        let permitted = caps::read(None, caps::CapSet::Permitted).map_err(failed);
        permitted
            .and_then(|set| caps::set(None, caps::CapSet::Effective, &set).map_err(failed))
            .step("keep capabilities")
    }

    /// Does something as a user of the host that root of the container is.
    pub(crate) fn as_root<T>(&self, act: impl FnOnce() -> T) -> Result<T> {
        nix::unistd::seteuid(Uid::from_raw(self.uid)).step("become root of the container")?;
        let done = act();
        nix::unistd::seteuid(Uid::from_raw(0)).step("become root again")?;
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: IdRange = IdRange {
        uid: 100_000,
        gid: 200_000,
        size: 10,
    };

    #[test]
    fn ids_inside_are_counted_from_the_first_of_the_range_and_no_further() {
        assert_eq!(RANGE.owner(0, 9), Some((100_000, 200_009)));
        assert_eq!(RANGE.owner(0, 10), None);
        assert_eq!(RANGE.owner(10, 0), None);
        let last = IdRange {
            uid: u32::MAX - 1,
            ..RANGE
        };
        assert_eq!(last.owner(5, 0), None);
        assert!(RANGE.check(9, 0, &[3]).is_ok());
        for (uid, gid, groups) in [(10, 0, &[][..]), (0, 10, &[]), (0, 0, &[1, 10])] {
            let e = RANGE.check(uid, gid, groups).unwrap_err().to_string();
            assert!(e.contains("ids 0 to 9"), "{e}");
        }
    }

    #[test]
    fn options_of_file_systems_name_ids_of_the_container() {
        let options = |text: &str| RANGE.options(text).ok();
        assert_eq!(
            options("mode=755,uid=3,gid=4,size=1m").as_deref(),
            Some("mode=755,uid=100003,gid=200004,size=1m")
        );
        assert_eq!(options("").as_deref(), Some(""));
        assert_eq!(options("uid=10"), None);
        assert_eq!(options("gid=x"), None);
    }
}
