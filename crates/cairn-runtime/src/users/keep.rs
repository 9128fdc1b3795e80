//! `--userns keep-id`: the user who starts a container keeps their own ids inside.
//!
//! The namespace around the container has that user as root, so root and the user change places inside: a program
//! runs as the user and owns what they own, files of theirs in volumes and files of the image's root alike.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The ids of the caller, and how many there are around the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptId {
    /// The caller's user id.
    pub uid: u32,
    /// The caller's group id.
    pub gid: u32,
    /// Users of the namespace around, from 0 on.
    pub uids: u32,
    /// Groups of it.
    pub gids: u32,
}

/// The id around the container for one inside.
fn around(own: u32, count: u32, id: u32) -> Option<u32> {
    match id {
        _ if id == own => Some(0),
        0 => Some(own).filter(|own| *own < count),
        _ => Some(id).filter(|id| *id < count),
    }
}

/// The lines of a map: first id inside, first around, how many.
fn lines(own: u32, count: u32) -> String {
    let swapped = own < count;
    let parts = [
        (0, own, u32::from(swapped)),
        (1, 1, own.min(count).saturating_sub(1)),
        (own, 0, 1),
        (
            own.saturating_add(1),
            own.saturating_add(1),
            count.saturating_sub(own.saturating_add(1)),
        ),
    ];
    let mut text = String::new();
    for (inside, around, many) in parts.into_iter().filter(|part| part.2 > 0) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{inside} {around} {many}");
    }
    text
}

impl KeptId {
    /// The caller of a command that is in the namespace of an ordinary user.
    pub fn of_caller() -> Option<Self> {
        let read = |name: &str| {
            let text = std::fs::read_to_string(format!("/proc/self/{name}")).ok()?;
            let numbers: Vec<Vec<u32>> = text
                .lines()
                .map(|line| {
                    line.split_whitespace()
                        .filter_map(|n| n.parse().ok())
                        .collect()
                })
                .collect();
            let own = *numbers.first()?.get(1)?;
            let count = numbers.iter().filter_map(|line| line.get(2));
            Some((own, count.fold(0_u32, |sum, n| sum.saturating_add(*n))))
        };
        let ((uid, uids), (gid, gids)) = (read("uid_map")?, read("gid_map")?);
        Some(Self {
            uid,
            gid,
            uids,
            gids,
        })
    }

    /// Maps for a namespace within the one around: users, and groups.
    pub(crate) fn maps(&self) -> (String, String) {
        (lines(self.uid, self.uids), lines(self.gid, self.gids))
    }

    /// The owner, as the namespace around has it, of what a user and group of the container own.
    pub(crate) fn owner(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        Some((
            around(self.uid, self.uids, uid)?,
            around(self.gid, self.gids, gid)?,
        ))
    }

    /// Refuses ids that the container does not have.
    pub(crate) fn check(&self, uid: u32, gid: u32, groups: &[u32]) -> Result<()> {
        let groups = [gid].into_iter().chain(groups.iter().copied());
        let known = groups
            .map(|gid| self.owner(uid, gid))
            .all(|owner| owner.is_some());
        known.then_some(()).ok_or_else(|| {
            Error::Invalid(format!(
                "user {uid} with its groups is not among the ids of this user namespace; choose another with -u, or see \"cairn driver\""
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_and_root_change_places() {
        assert_eq!(
            lines(1000, 65537),
            "0 1000 1\n1 1 999\n1000 0 1\n1001 1001 64536\n"
        );
        assert_eq!(lines(1000, 1), "1000 0 1\n");
        assert_eq!(lines(70_000, 65537), "1 1 65536\n70000 0 1\n");
        assert_eq!(lines(1, 3), "0 1 1\n1 0 1\n2 2 1\n");
        let kept = KeptId {
            uid: 1000,
            gid: 100,
            uids: 65537,
            gids: 65537,
        };
        assert_eq!(kept.owner(1000, 100), Some((0, 0)));
        assert_eq!(kept.owner(0, 0), Some((1000, 100)));
        assert_eq!(kept.owner(33, 33), Some((33, 33)));
        assert!(kept.check(1000, 100, &[33]).is_ok());
        assert!(kept.check(1000, 100, &[70_000]).is_err());
        let single = KeptId {
            uids: 1,
            gids: 1,
            ..kept
        };
        assert!(single.check(1000, 100, &[]).is_ok());
        assert!(single.check(0, 0, &[]).is_err());
    }
}
