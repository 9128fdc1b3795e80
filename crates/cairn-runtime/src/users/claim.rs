//! Ranges of ids that are given out: one of a pool for each container, on the whole machine.
//!
//! A range is a file below `/run/cairn/ids`, named by its first id, and belongs to whoever holds its lock: the
//! command that creates the container, then its monitor. The kernel gives the lock back when the last of them
//! ends, however it ends, so that no range stays taken. Nothing on any disk has ids of the range.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::IdRange;
use crate::error::{Error, Result, Step};

/// First id of the pool, within what systemd reserves for containers.
pub const POOL_FIRST: u32 = 0x4000_0000;
/// Last id of the pool.
pub const POOL_LAST: u32 = 0x6FFF_FFFF;
/// How many ids a container gets: all that Docker's images use.
pub const POOL_SIZE: u32 = 1 << 16;
const RANGES: u32 = (POOL_LAST - POOL_FIRST + 1) / POOL_SIZE;

const PLACE: &str = "/run/cairn/ids";

/// A range that no other container has, for as long as this or a descriptor made of it is open.
#[derive(Debug)]
#[must_use = "the range is free as soon as this is dropped"]
pub struct IdClaim(OwnedFd);

impl IdClaim {
    /// Takes a free range. Where to begin to look comes from the container's id, so that a range is seldom
    /// used again right away.
    pub fn take(container: &str) -> Result<(IdRange, Self)> {
        Self::take_in(Path::new(PLACE), container)
    }

    fn take_in(place: &Path, container: &str) -> Result<(IdRange, Self)> {
        let mut directories = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(directories.recursive(true), 0o700);
        directories
            .create(place)
            .step(format!("create {}", place.display()))?;
        let hash = blake3::hash(container.as_bytes());
        let [a, b, c, d, ..] = *hash.as_bytes();
        let start = u32::from_le_bytes([a, b, c, d]) % RANGES;
        for i in 0..RANGES {
            let first = POOL_FIRST + (start + i) % RANGES * POOL_SIZE;
            let path = place.join(first.to_string());
            let mut options = File::options();
            std::os::unix::fs::OpenOptionsExt::mode(
                options.write(true).create(true).truncate(false),
                0o600,
            );
            let file = options
                .open(&path)
                .step(format!("open {}", path.display()))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    let range = IdRange {
                        uid: first,
                        gid: first,
                        size: POOL_SIZE,
                    };
                    return Ok((range, Self(file.into())));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(e) => return Err(e).step(format!("lock {}", path.display())),
            }
        }
        Err(Error::Invalid(format!(
            "all {RANGES} id ranges of --userns auto are in use; stop a container, or name a range with --userns UID:GID:SIZE"
        )))
    }

    pub(crate) fn from_inherited(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The descriptor that holds the range, to be passed on.
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_containers_until_it_is_dropped() {
        let place = tempfile::tempdir().unwrap();
        let (first, claim) = IdClaim::take_in(place.path(), "a").unwrap();
        let (second, other) = IdClaim::take_in(place.path(), "a").unwrap();
        assert_eq!((first.size, first.uid), (POOL_SIZE, first.gid));
        assert!(first.uid.abs_diff(second.uid) >= POOL_SIZE);
        for range in [first, second] {
            assert!(range.uid >= POOL_FIRST && range.uid + (POOL_SIZE - 1) <= POOL_LAST);
        }
        drop(claim);
        let (third, _claim) = IdClaim::take_in(place.path(), "a").unwrap();
        assert_eq!(third, first, "it is free again");
        drop(other);
    }
}
