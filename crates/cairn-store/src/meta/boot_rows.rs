//! `boot.rows`: rows that end with this boot of the machine, beside the journal.
//!
//! A container that goes as soon as its process has ended is not worth a sync of the journal: no process outlives
//! the machine. Its rows are here. They are seen with all others, and are void as soon as the machine has
//! been started anew; what they named is garbage then, which a collection finds.
//!
//! ```text
//! header  40  "CAIRNBOO" version:u32 zero:u32 boot: the first 24 bytes of BLAKE3(the kernel's boot id)
//! record      as in the journal                                                        (many)
//! ```
//!
//! It is written under the repository lock, never synced, and not through [`crate::Disk`]: what a crash of the
//! machine leaves of it is void, and what a kill in the middle of a write leaves is cut off by the next one.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::journal::{self, AllRows};
use super::record::{Changes, parse, record};
use crate::disk::Disk;
use crate::error::{IoContext, Result};
use crate::layout::Layout;
use crate::os::boot_id;

const MAGIC: &[u8; 8] = b"CAIRNBOO";
const VERSION: u32 = 1;
const HEADER: usize = 40;
/// A file with more bytes of history than this is written anew.
const HISTORY_BYTES_MAX: u64 = 64 << 10;

/// The rows, and the file that they are in.
#[derive(Debug)]
pub struct BootRows {
    path: PathBuf,
    /// `None` where the kernel does not tell its boots apart: then no row can be kept here.
    header: Option<[u8; HEADER]>,
    rows: AllRows,
    /// Where the next record goes; 0 where the file is none of this boot.
    end: u64,
    sequence: u64,
}

fn header() -> Option<[u8; HEADER]> {
    let boot = blake3::hash(boot_id()?.as_bytes());
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..].copy_from_slice(&boot.as_bytes()[..HEADER - 16]);
    Some(header)
}

impl BootRows {
    /// Those of the repository in `root`. The caller holds its lock.
    pub fn open(root: &Path) -> Result<Self> {
        let mut out = Self {
            path: Layout::of(root).boot_rows(),
            header: None,
            rows: AllRows::new(),
            end: 0,
            sequence: 0,
        };
        let mut bytes = Vec::new();
        match File::open(&out.path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            opened => {
                let mut file = opened.at("open", &out.path)?;
                file.read_to_end(&mut bytes).at("read", &out.path)?;
            }
        }
        if bytes.is_empty() {
            return Ok(out);
        }
        out.header = header();
        if out.header.is_none_or(|header| !bytes.starts_with(&header)) {
            return Ok(out);
        }
        let mut at = HEADER;
        while let Some((length, sequence, changes)) = parse(&bytes[at..]) {
            journal::change(&mut out.rows, changes);
            at += length;
            out.sequence = sequence;
        }
        out.end = at as u64;
        Ok(out)
    }

    /// The rows.
    pub fn rows(&self) -> &AllRows {
        &self.rows
    }

    /// True where rows can be kept here.
    pub fn can_keep(&mut self) -> bool {
        self.header = self.header.or_else(header);
        self.header.is_some()
    }

    /// Makes changes. On an error nothing is changed. A full disk's reserve is spent as for the journal.
    pub fn commit(&mut self, disk: &Disk, changes: Changes) -> Result<()> {
        let Some(header) = self.header.or_else(header) else {
            unreachable!("BUG: asked before")
        };
        let mut rows = self.rows.clone();
        let bytes = record(self.sequence + 1, &changes);
        journal::change(&mut rows, changes);
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = disk.with_room(|| options.open(&self.path));
        let file = file.at("open", &self.path)?;
        let write = |at: u64, bytes: &[u8]| {
            disk.with_room(|| {
                // Behind it there may be what a kill left of a record.
                let written = file.set_len(at).and_then(|()| file.write_all_at(bytes, at));
                written.inspect_err(|_| drop(file.set_len(at)))
            })
        };
        if self.end == 0 || (rows.is_empty() && self.end > HEADER as u64) {
            // Whatever was in it is void, or over.
            write(0, &header).at("write", &self.path)?;
            (self.end, self.sequence) = (HEADER as u64, 0);
        }
        if !rows.is_empty() {
            write(self.end, &bytes).at("write", &self.path)?;
            self.end += bytes.len() as u64;
            self.sequence += 1;
        }
        self.rows = rows;
        if self.end > HISTORY_BYTES_MAX {
            // It is only longer than need be where that fails.
            let _ = self.rewrite(&header);
        }
        Ok(())
    }

    /// Leaves out history where it is most of the file.
    fn rewrite(&mut self, header: &[u8]) -> std::io::Result<()> {
        let all: Changes = self
            .rows
            .iter()
            .map(|(key, row)| (key.clone(), Some(row.clone())))
            .collect();
        let bytes = [header, &record(1, &all)].concat();
        if bytes.len() as u64 * 2 > self.end {
            return Ok(());
        }
        let new = self.path.with_extension("new");
        std::fs::write(&new, &bytes).and_then(|()| std::fs::rename(&new, &self.path))?;
        (self.end, self.sequence) = (bytes.len() as u64, 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(n: u8) -> Changes {
        vec![(vec![b'x', n], Some(vec![n; 2000]))]
    }

    fn keys(root: &Path) -> Vec<u8> {
        let rows = BootRows::open(root).unwrap();
        rows.rows().keys().map(|key| key[1]).collect()
    }

    #[test]
    fn rows_last_until_they_are_removed_or_the_machine_starts_anew() {
        let root = tempfile::tempdir().unwrap();
        let path = Layout::of(root.path()).boot_rows();
        assert!(keys(root.path()).is_empty());
        for n in 1..4 {
            BootRows::open(root.path())
                .unwrap()
                .commit(&Disk::default(), put(n))
                .unwrap();
        }
        let mut rows = BootRows::open(root.path()).unwrap();
        rows.commit(&Disk::default(), vec![(vec![b'x', 2], None)])
            .unwrap();
        assert_eq!(keys(root.path()), [1, 3]);
        // A kill in the middle of a write.
        let whole = std::fs::read(&path).unwrap();
        rows.commit(&Disk::default(), put(4)).unwrap();
        let cut = whole.len() as u64 + 1000;
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_len(cut))
            .unwrap();
        assert_eq!(keys(root.path()), [1, 3]);
        BootRows::open(root.path())
            .unwrap()
            .commit(&Disk::default(), put(5))
            .unwrap();
        assert_eq!(keys(root.path()), [1, 3, 5]);
        let mut other = std::fs::read(&path).unwrap();
        other[20] ^= 1;
        std::fs::write(&path, other).unwrap();
        assert!(keys(root.path()).is_empty(), "of another boot");
        BootRows::open(root.path())
            .unwrap()
            .commit(&Disk::default(), put(6))
            .unwrap();
        assert_eq!(keys(root.path()), [6]);
        let mut rows = BootRows::open(root.path()).unwrap();
        rows.commit(&Disk::default(), vec![(vec![b'x', 6], None)])
            .unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), HEADER as u64);
    }

    #[test]
    fn history_does_not_pile_up() {
        let root = tempfile::tempdir().unwrap();
        let mut rows = BootRows::open(root.path()).unwrap();
        rows.commit(&Disk::default(), put(0)).unwrap();
        for _ in 0..200 {
            rows.commit(&Disk::default(), put(1)).unwrap();
            rows.commit(&Disk::default(), vec![(vec![b'x', 1], None)])
                .unwrap();
        }
        let path = Layout::of(root.path()).boot_rows();
        assert!(std::fs::metadata(&path).unwrap().len() < 2 * HISTORY_BYTES_MAX);
        assert_eq!(keys(root.path()), [0]);
    }
}
