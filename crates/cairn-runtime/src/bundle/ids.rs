//! Ids of a user namespace of any shape, and the namespace itself.

use std::fs::File;
use std::os::fd::OwnedFd;

use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};

use super::spec::{BundleSpace, Spaces};
use crate::error::{Error, Result, Step};
use crate::users::{self, IdRange};

/// A run of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// The first as the container numbers it.
    pub inside: u32,
    /// The first as the host does.
    pub outside: u32,
    /// How many.
    pub size: u32,
}

/// Which ids of the host a namespace's own stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMaps {
    /// Users.
    pub uids: Vec<IdMap>,
    /// Groups.
    pub gids: Vec<IdMap>,
}

fn host(maps: &[IdMap], id: u32) -> Option<u32> {
    maps.iter().find_map(|map| {
        let offset = id.checked_sub(map.inside).filter(|o| *o < map.size)?;
        map.outside.checked_add(offset)
    })
}

/// As uid_map and gid_map of proc(5) take it.
fn text(maps: &[IdMap]) -> String {
    let lines = maps
        .iter()
        .map(|m| format!("{} {} {}\n", m.inside, m.outside, m.size));
    lines.collect()
}

fn runs(text: &str) -> Option<Vec<IdMap>> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(|n| n.parse::<u32>().ok());
        Some(IdMap {
            inside: numbers.next()??,
            outside: numbers.next()??,
            size: numbers.next()??,
        })
    };
    text.lines().map(line).collect()
}

impl IdMaps {
    /// As uid_map and gid_map of proc(5) show them.
    pub fn read(uids: &str, gids: &str) -> Result<Self> {
        let none = || Error::Invalid("the user namespace has no ids".into());
        Ok(Self {
            uids: runs(uids).ok_or_else(none)?,
            gids: runs(gids).ok_or_else(none)?,
        })
    }

    /// The host's numbers for a user and a group of the container.
    pub fn owner(&self, uid: u32, gid: u32) -> Result<(u32, u32)> {
        let outside = |what: &str, id: u32| {
            Error::Invalid(format!("{what} {id} is not mapped in the user namespace"))
        };
        Ok((
            host(&self.uids, uid).ok_or_else(|| outside("user", uid))?,
            host(&self.gids, gid).ok_or_else(|| outside("group", gid))?,
        ))
    }

    /// Its root, for what needs no more than that.
    pub fn root(&self) -> Result<IdRange> {
        let (uid, gid) = self.owner(0, 0)?;
        Ok(IdRange { uid, gid, size: 1 })
    }

    /// Refuses ids that the container does not have.
    pub fn check(&self, uid: u32, gid: u32, groups: &[u32]) -> Result<()> {
        self.owner(uid, gid)?;
        groups
            .iter()
            .try_for_each(|group| self.owner(uid, *group).map(drop))
    }

    /// An option of a file system: ids in it are the container's.
    pub fn option(&self, option: &str) -> Result<String> {
        let bad = || Error::Invalid(format!("{option}: not an id"));
        Ok(match option.split_once('=') {
            Some(("uid", id)) => {
                format!("uid={}", self.owner(id.parse().map_err(|_| bad())?, 0)?.0)
            }
            Some(("gid", id)) => {
                format!("gid={}", self.owner(0, id.parse().map_err(|_| bad())?)?.1)
            }
            _ => option.to_owned(),
        })
    }
}

/// A user namespace to be entered last, and its ids.
pub struct Users {
    /// The namespace.
    pub namespace: OwnedFd,
    /// Its ids.
    pub ids: IdMaps,
}

/// Makes or opens the user namespace, and namespaces of `kinds` that belong to it, which are joined; `None`
/// where the container has none of its own, and `kinds` are left to the caller.
pub fn enter(spaces: &Spaces, kinds: CloneFlags) -> Result<Option<Users>> {
    match &spaces.user {
        BundleSpace::Caller => Ok(None),
        BundleSpace::New => {
            let ids = spaces.ids.clone().unwrap_or_default();
            let made = users::make_mapped(&text(&ids.uids), &text(&ids.gids), kinds)?;
            made.join()?;
            Ok(Some(Users {
                namespace: made.user,
                ids,
            }))
        }
        BundleSpace::Path(path) => {
            let named = format!("open the user namespace {}", path.display());
            let namespace = OwnedFd::from(File::open(path).step(named)?);
            let (ids, made) = users::in_namespace(&namespace, kinds)?;
            made.join()?;
            let ids = IdMaps::read(&ids.0, &ids.1)?;
            Ok(Some(Users { namespace, ids }))
        }
    }
}

/// A user namespace with these ids, for mounts that show them.
pub fn for_mounts(ids: &IdMaps) -> Result<OwnedFd> {
    let made = users::make_mapped(&text(&ids.uids), &text(&ids.gids), CloneFlags::empty())?;
    Ok(made.user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_several_runs_are_found_and_no_others() {
        let run = |inside, outside, size| IdMap {
            inside,
            outside,
            size,
        };
        let maps = IdMaps {
            uids: vec![run(0, 1000, 1), run(1, 5000, 10)],
            gids: vec![run(0, 7000, u32::MAX)],
        };
        assert_eq!(maps.owner(0, 2).unwrap(), (1000, 7002));
        assert_eq!(maps.owner(10, 0).unwrap(), (5009, 7000));
        assert!(maps.owner(11, 0).is_err());
        assert!(maps.owner(0, u32::MAX - 1).is_err(), "no number wraps");
        assert!(maps.check(0, 0, &[3, u32::MAX]).is_err());
        assert_eq!(maps.option("uid=1").unwrap(), "uid=5000");
        assert_eq!(maps.option("size=1m").unwrap(), "size=1m");
        assert!(maps.option("gid=x").is_err());
        assert_eq!(
            IdMaps::read(&text(&maps.uids), &text(&maps.gids)).unwrap(),
            maps
        );
        assert_eq!(runs("1 2"), None);
    }
}
