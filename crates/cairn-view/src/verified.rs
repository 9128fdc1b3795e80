//! What was found whole, and when: `verified`, a file of fixed records that processes append to.
//!
//! ```text
//! record 108  object:32 inode:u64 size:u64 ctime:i64,u32 mtime:i64,u32 boot:8 at:u64 blake3(all before)[..16]
//! ```
//!
//! A record that does not match its own hash (torn, or damaged) is passed over: the object is then
//! hashed once more, which is all that can come of losing one.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cairn_model::ObjectId;

use crate::checked::open_regular;
use crate::error::{At, Result};
use crate::verify::Fingerprint;

const RECORD: usize = 108;
const HASHED: usize = RECORD - 16;
/// Records kept in memory before they are appended.
const PENDING_BYTES_MAX: usize = 1000 * RECORD;

type Boot = [u8; 8];

#[derive(Clone, Copy)]
struct Seen {
    print: Fingerprint,
    boot: Boot,
    at: u64,
}

/// The records as they were when it was opened, and those that came since.
pub(crate) struct Verified {
    path: PathBuf,
    boot: Option<Boot>,
    known: HashMap<ObjectId, Seen>,
    pending: Mutex<Vec<u8>>,
}

impl Verified {
    pub fn load(directory: &Path) -> Self {
        let path = directory.join("verified");
        let mut bytes = Vec::new();
        if let Ok(mut file) = open_regular(&path) {
            // What cannot be read is as good as absent.
            let _ = std::io::Read::read_to_end(&mut file, &mut bytes);
        }
        let known = bytes
            .chunks_exact(RECORD)
            .filter_map(|r| decode(r.try_into().ok()?));
        Self {
            path,
            boot: boot(),
            known: known.collect(),
            pending: Mutex::default(),
        }
    }

    /// True where this very file was found whole since the machine was started.
    pub fn in_this_boot(&self, id: &ObjectId, print: &Fingerprint) -> bool {
        let seen = self.known.get(id).filter(|seen| seen.print == *print);
        seen.is_some_and(|seen| Some(seen.boot) == self.boot)
    }

    /// When this very file was last found whole, seconds since 1970; 0 for never.
    pub fn when(&self, id: &ObjectId, print: &Fingerprint) -> u64 {
        let seen = self.known.get(id).filter(|seen| seen.print == *print);
        seen.map_or(0, |seen| seen.at)
    }

    pub fn remember(&self, id: &ObjectId, print: Fingerprint) -> Result<()> {
        // Without a name for this boot nothing can be said of it later.
        let Some(boot) = self.boot else { return Ok(()) };
        let at = cairn_model::clock::secs();
        let record = encode(id, &Seen { print, boot, at });
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.extend_from_slice(&record);
        if pending.len() >= PENDING_BYTES_MAX {
            return self.append(&mut pending);
        }
        Ok(())
    }

    pub fn save(&self) -> Result<()> {
        self.append(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One write at the end of the file: records of several processes stay whole.
    fn append(&self, pending: &mut Vec<u8>) -> Result<()> {
        if pending.is_empty() {
            return Ok(());
        }
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.path)
            .at("open", &self.path)?;
        file.lock().at("lock", &self.path)?;
        // What a crash or a full disk cut in the middle of a record would shift all that follow.
        let torn = file.metadata().at("stat", &self.path)?.len() as usize % RECORD;
        let mut bytes = vec![0; (RECORD - torn) % RECORD];
        bytes.append(pending);
        file.write_all(&bytes).at("write", &self.path)
    }

    /// Writes only the newest record of each object that `keep` wants, while no one else writes.
    pub fn compact(&self, keep: &dyn Fn(&ObjectId) -> bool) -> Result<()> {
        let mut bytes = Vec::new();
        for (id, seen) in self.known.iter().filter(|(id, _)| keep(id)) {
            bytes.extend_from_slice(&encode(id, seen));
        }
        let length = self.path.symlink_metadata().map_or(0, |meta| meta.len());
        if length == bytes.len() as u64 {
            return Ok(());
        }
        let new = self.path.with_extension("new");
        std::fs::write(&new, &bytes).at("write", &new)?;
        std::fs::rename(&new, &self.path).at("put in place", &self.path)
    }
}

/// A name for this run of the machine.
fn boot() -> Option<Boot> {
    let text = boot_id()?;
    blake3::hash(text.as_bytes()).as_bytes()[..8]
        .try_into()
        .ok()
}

pub(crate) use cairn_store::boot_id;

fn encode(id: &ObjectId, seen: &Seen) -> [u8; RECORD] {
    let mut out = [0; RECORD];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        out[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(id.as_bytes());
    put(&seen.print.inode.to_le_bytes());
    put(&seen.print.size.to_le_bytes());
    for (secs, nanos) in [seen.print.ctime, seen.print.mtime] {
        put(&secs.to_le_bytes());
        put(&nanos.to_le_bytes());
    }
    put(&seen.boot);
    put(&seen.at.to_le_bytes());
    let hash = blake3::hash(&out[..HASHED]);
    out[HASHED..].copy_from_slice(&hash.as_bytes()[..16]);
    out
}

fn decode(record: &[u8; RECORD]) -> Option<(ObjectId, Seen)> {
    if record[HASHED..] != blake3::hash(&record[..HASHED]).as_bytes()[..16] {
        return None;
    }
    let mut rest = &record[..];
    let id = ObjectId::from_bytes(*take(&mut rest)?);
    let mut number = || take(&mut rest).map(|bytes| u64::from_le_bytes(*bytes));
    let (inode, size) = (number()?, number()?);
    let mut time = || {
        let secs = i64::from_le_bytes(*take(&mut rest)?);
        Some((secs, u32::from_le_bytes(*take(&mut rest)?)))
    };
    let (ctime, mtime) = (time()?, time()?);
    let boot = *take(&mut rest)?;
    let at = u64::from_le_bytes(*take(&mut rest)?);
    let print = Fingerprint {
        inode,
        size,
        ctime,
        mtime,
    };
    Some((id, Seen { print, boot, at }))
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_or_damaged_record_is_passed_over_and_the_others_count() {
        let place = tempfile::tempdir().unwrap();
        let print = |inode| Fingerprint {
            inode,
            size: 5,
            ctime: (6, 7),
            mtime: (-8, 9),
        };
        let id = |n| ObjectId::from_bytes([n; 32]);
        let table = Verified::load(place.path());
        for n in 1..4 {
            table.remember(&id(n), print(n.into())).unwrap();
        }
        table.save().unwrap();
        let path = place.path().join("verified");
        let mut bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 3 * RECORD);
        bytes[RECORD + 40] ^= 1;
        bytes.extend_from_slice(&[1; 50]);
        std::fs::write(&path, &bytes).unwrap();
        let table = Verified::load(place.path());
        table.remember(&id(4), print(4)).unwrap();
        table.save().unwrap();
        let table = Verified::load(place.path());
        let seen = |n: u8| table.in_this_boot(&id(n), &print(n.into()));
        assert_eq!([1, 2, 3, 4].map(seen), [true, false, true, true]);
        assert!(!table.in_this_boot(&id(1), &print(2)));
        table.compact(&|known| *known == id(3)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), RECORD as u64);
    }
}
