//! The append-only record of every transaction.
//!
//! Its bytes are described at the head of `record.rs`.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::record::{Changes, HEADER, MAGIC, RECORD_HEADER, VERSION, parse, parse_header, record};
use super::{mirror, salvage};
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, IoContext, Result};
use crate::pack::u32_at;

/// Unit in which bytes get lost on their way to the disk.
const SECTOR: usize = 512;

/// All rows there are.
pub type AllRows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A place in the journal: everything before it is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Mark {
    pub generation: u64,
    pub offset: u64,
    pub sequence: u64,
}

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    disk: Disk,
    path: PathBuf,
    file: DiskFile,
    generation: u64,
}

impl Journal {
    /// Opens the journal; `None` where there is none.
    pub fn open(disk: &Disk, path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let file = disk.append(path)?;
        let mut header = [0; HEADER];
        if file.len() >= HEADER as u64 {
            file.file()
                .read_exact_at(&mut header, 0)
                .at("read journal", path)?;
        }
        let generation = parse_header(&header).ok_or_else(|| no_journal(path))?;
        Ok(Some(Self {
            disk: disk.clone(),
            path: path.into(),
            file,
            generation,
        }))
    }

    /// Puts a journal in place whose one record holds all rows.
    pub fn checkpoint(disk: &Disk, path: &Path, mark: Mark, rows: Changes) -> Result<(Self, Mark)> {
        let generation = mark.generation + 1;
        let sequence = mark.sequence + 1;
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes.extend_from_slice(&record(sequence, &rows));
        disk.replace(path, &bytes)?;
        let file = disk.append(path)?;
        let mark = Mark {
            generation,
            offset: file.len(),
            sequence,
        };
        Ok((
            Self {
                disk: disk.clone(),
                path: path.into(),
                file,
                generation,
            },
            mark,
        ))
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn len(&self) -> u64 {
        self.file.len()
    }

    pub fn file(&self) -> &File {
        self.file.file()
    }

    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Reads the records after `from`, then cuts off what a crash left half written at the end.
    pub fn replay(
        &mut self,
        from: Mark,
        mut apply: impl FnMut(Changes) -> Result<()>,
    ) -> Result<Mark> {
        let mut mark = from;
        if from.generation != self.generation || from.offset < HEADER as u64 {
            mark = Mark {
                generation: self.generation,
                offset: HEADER as u64,
                sequence: 0,
            };
        }
        let mut rest = vec![0; (self.file.len() - mark.offset.min(self.file.len())) as usize];
        self.file
            .file()
            .read_exact_at(&mut rest, mark.offset)
            .at("read journal", &self.path)?;
        let mut at = 0;
        while let Some((length, sequence, changes)) = parse(&rest[at..]) {
            apply(changes)?;
            at += length;
            mark = Mark {
                offset: mark.offset + length as u64,
                sequence,
                ..mark
            };
        }
        if tail(&rest[at..], mark.offset) == Tail::Damaged
            || mirror::is_ahead(&self.path, self.generation, mark.offset)
        {
            return Err(damaged(&self.path));
        }
        if at < rest.len() {
            self.file.truncate(mark.offset)?;
            self.file.sync()?;
        }
        Ok(mark)
    }

    /// Appends one transaction and makes it durable. On an error nothing is left behind.
    pub fn append(&mut self, mark: Mark, changes: &Changes) -> Result<Mark> {
        let bytes = record(mark.sequence + 1, changes);
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync());
        if let Err(e) = written {
            // The tail is cut at the next opening if this fails too: its checksum does not match, or,
            // if the bytes did arrive whole, the transaction happened although its caller saw an error.
            let _ = self.file.truncate(mark.offset);
            return Err(e);
        }
        mirror::follow(&self.path);
        Ok(Mark {
            offset: mark.offset + bytes.len() as u64,
            sequence: mark.sequence + 1,
            ..mark
        })
    }
}

/// What a journal holds.
#[derive(Debug)]
pub struct Content {
    pub rows: AllRows,
    pub mark: Mark,
    /// What comes after the last whole record.
    pub tail: Tail,
}

/// What comes after the last whole record of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    Nothing,
    /// A record that was cut off while it was written; nobody was told that it is done.
    Torn,
    Damaged,
}

/// Reads the journal at `path`; changes nothing.
pub fn read(path: &Path) -> Result<Content> {
    let bytes = match std::fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::corrupt(
                format!("journal {}", path.display()),
                "it is missing",
            ));
        }
        done => done.at("read journal", path)?,
    };
    let generation = parse_header(&bytes).ok_or_else(|| no_journal(path))?;
    let mut mark = Mark {
        generation,
        offset: HEADER as u64,
        sequence: 0,
    };
    let mut rows = BTreeMap::new();
    while let Some((length, sequence, changes)) = parse(&bytes[mark.offset as usize..]) {
        change(&mut rows, changes);
        mark.offset += length as u64;
        mark.sequence = sequence;
    }
    let tail = match tail(&bytes[mark.offset as usize..], mark.offset) {
        _ if mirror::is_ahead(path, generation, mark.offset) => Tail::Damaged,
        tail => tail,
    };
    Ok(Content { rows, mark, tail })
}

/// Makes changes to rows.
pub fn change(rows: &mut AllRows, changes: Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        };
    }
}

/// All rows that the journal file at `path` comes to; changes nothing.
///
/// # Errors
/// [`Error::Corrupt`] where it is not a whole journal.
pub fn journal_rows(path: &Path) -> Result<AllRows> {
    let content = read(path)?;
    match content.tail {
        Tail::Nothing => Ok(content.rows),
        _ => Err(damaged(path)),
    }
}

/// True where the file at `path` starts as a journal does.
pub fn is_journal(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|bytes| parse_header(&bytes).is_some())
}

/// True for a journal with more in it than that of a new repository.
pub fn is_worth_keeping(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.len() > (HEADER + RECORD_HEADER + 1) as u64)
}

fn no_journal(path: &Path) -> Error {
    Error::corrupt(
        format!("journal {}", path.display()),
        "its header is not that of a journal",
    )
}

pub fn damaged(path: &Path) -> Error {
    Error::corrupt(
        format!("journal {}", path.display()),
        "a record of it is damaged",
    )
}

/// Tells a record that a crash cut off from one that was whole once. A checkpoint is put in place whole, so
/// its record is never a torn one; behind a torn record there is nothing; and what is torn ends early or
/// lacks whole sectors. Anything else is damage, and cutting it off would make it worse.
fn tail(rest: &[u8], offset: u64) -> Tail {
    if rest.is_empty() {
        return Tail::Nothing;
    }
    if offset == HEADER as u64
        || salvage::corrected(rest).is_some()
        || (1..rest.len()).any(|later| parse(&rest[later..]).is_some())
    {
        return Tail::Damaged;
    }
    let ends_early =
        rest.len() < RECORD_HEADER || rest.len() - RECORD_HEADER < u32_at(rest, 0) as usize;
    let first = SECTOR - offset as usize % SECTOR;
    let (head, sectors) = rest.split_at(first.min(rest.len()));
    let is_hole = |part: &[u8]| !part.is_empty() && part.iter().all(|byte| *byte == 0);
    if ends_early || is_hole(head) || sectors.chunks(SECTOR).any(is_hole) {
        Tail::Torn
    } else {
        Tail::Damaged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(i: u8) -> Changes {
        vec![(vec![i], Some(vec![i; 40])), (vec![i, 0], None)]
    }

    #[test]
    fn a_torn_tail_is_dropped_and_whole_records_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let disk = Disk::default();
        let (mut journal, mut mark) =
            Journal::checkpoint(&disk, &path, Mark::default(), change(0)).unwrap();
        let mut ends = vec![mark.offset];
        for i in 1..4 {
            mark = journal.append(mark, &change(i)).unwrap();
            ends.push(mark.offset);
        }
        let whole = std::fs::read(&path).unwrap();
        // A crash never leaves the copy ahead of the journal.
        std::fs::remove_file(mirror::path_of(&path)).unwrap();
        for len in ends[0] as usize..=whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            let mut seen = Vec::new();
            let mut journal = Journal::open(&disk, &path).unwrap().unwrap();
            journal
                .replay(Mark::default(), |c| {
                    seen.push(c);
                    Ok(())
                })
                .unwrap();
            let expected = ends.iter().filter(|end| **end <= len as u64).count();
            assert_eq!(seen.len(), expected, "cut at {len}");
            assert_eq!(seen, (0..expected as u8).map(change).collect::<Vec<_>>());
        }
    }
}
