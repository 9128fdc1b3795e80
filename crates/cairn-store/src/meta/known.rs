//! Rows that this process had before: a later use reads no more of the journal than came since.
//!
//! A journal is only ever appended to; one that is written anew is another file of another generation. So what was read
//! of a file stays right as long as it is that file. Whatever else is found (another file, a torn or damaged record) is
//! left to an opening from the beginning.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::journal::{self, AllRows, Content, Mark, Tail};
use super::mirror;
use super::record::{HEADER, parse, parse_header};

/// Rows of a longer journal are not kept in memory, bytes.
pub const KNOWN_BYTES_MAX: u64 = 32 << 20;

/// All rows, as a journal had them.
pub struct Known {
    pub rows: AllRows,
    pub mark: Mark,
    /// Device and inode of the journal.
    file: (u64, u64),
}

fn identity(file: &File) -> Option<(u64, u64)> {
    let meta = file.metadata().ok()?;
    Some((meta.dev(), meta.ino()))
}

impl Known {
    /// Rows of the journal `file`, all of which were applied.
    pub fn of(rows: AllRows, mark: Mark, file: &File) -> Option<Self> {
        let file = identity(file).filter(|_| mark.offset <= KNOWN_BYTES_MAX)?;
        Some(Self { rows, mark, file })
    }

    /// The same with what came since; none where that cannot be told. The caller holds the repository lock.
    pub fn caught_up(mut self, path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let length = file.metadata().ok()?.len();
        if identity(&file)? != self.file || length < self.mark.offset || length > KNOWN_BYTES_MAX {
            return None;
        }
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0).ok()?;
        if parse_header(&header)? != self.mark.generation {
            return None;
        }
        let mut news = vec![0; usize::try_from(length - self.mark.offset).ok()?];
        file.read_exact_at(&mut news, self.mark.offset).ok()?;
        let mut rest = &news[..];
        while let Some((length, sequence, changes)) = parse(rest) {
            journal::change(&mut self.rows, changes);
            rest = &rest[length..];
            self.mark.offset += length as u64;
            self.mark.sequence = sequence;
        }
        let is_whole =
            rest.is_empty() && !mirror::is_ahead(path, self.mark.generation, self.mark.offset);
        is_whole.then_some(self)
    }

    /// All rows of a journal that is whole and has no more than `bytes_max`.
    ///
    /// # Errors
    /// Where the system refuses to read it. One that is missing or damaged is none.
    pub fn read(path: &Path, bytes_max: u64) -> crate::error::Result<Option<Self>> {
        if !std::fs::metadata(path).is_ok_and(|meta| meta.len() <= bytes_max) {
            return Ok(None);
        }
        match journal::read(path) {
            Ok(Content {
                rows,
                mark,
                tail: Tail::Nothing,
            }) => Ok(File::open(path)
                .ok()
                .and_then(|file| Self::of(rows, mark, &file))),
            // A torn tail, or damage: opening the database deals with both.
            Ok(_) | Err(crate::error::Error::Corrupt { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::journal::Journal;
    use super::*;
    use crate::disk::Disk;

    fn put(n: u8) -> super::super::record::Changes {
        vec![(vec![n], Some(vec![n; 40]))]
    }

    #[test]
    fn what_came_since_is_added_and_another_journal_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, disk) = (dir.path().join("journal"), Disk::default());
        let (mut journal, mut mark) =
            Journal::checkpoint(&disk, &path, Mark::default(), put(0)).unwrap();
        let known = || Known::read(&path, KNOWN_BYTES_MAX).unwrap();
        let (first, damaged, replaced) = (known().unwrap(), known().unwrap(), known().unwrap());
        for n in 1..4 {
            mark = journal.append(mark, &put(n)).unwrap();
        }
        journal.append(mark, &vec![(vec![2], None)]).unwrap();
        let now = first.caught_up(&path).unwrap();
        assert_eq!(
            now.rows.keys().flatten().copied().collect::<Vec<_>>(),
            [0, 1, 3]
        );
        let again = known().unwrap();
        assert_eq!((&now.rows, now.mark), (&again.rows, again.mark));
        // A record that is not whole, at the end or before it.
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(damaged.caught_up(&path).is_none());
        assert!(now.caught_up(&path).is_none(), "it is shorter than it was");
        assert!(known().is_none());
        // Its copy has more than it.
        std::fs::write(&path, &whole).unwrap();
        let now = known().unwrap();
        let (journal, mark) = (Journal::open(&disk, &path).unwrap().unwrap(), now.mark);
        { journal }.append(mark, &put(9)).unwrap();
        std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_len(whole.len() as u64))
            .unwrap();
        assert!(now.caught_up(&path).is_none());
        // The same bytes in another file.
        let other = dir.path().join("other");
        std::fs::write(&other, &whole).unwrap();
        std::fs::rename(&other, &path).unwrap();
        std::fs::remove_file(mirror::path_of(&path)).unwrap();
        assert!(replaced.caught_up(&path).is_none());
        assert!(
            Known::read(&path, whole.len() as u64 - 1)
                .unwrap()
                .is_none()
        );
    }
}
