//! `journal.copy`: a second copy of the journal, for repairs.
//!
//! It follows the journal with each opening and each transaction, without being synced and without going
//! through [`crate::Disk`]: nothing depends on it, so a crash may leave it short or torn. What it makes
//! good is damage to the journal while sled has nothing either.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::record::{HEADER, parse, parse_header};

/// Where the copy of the journal at `path` is.
pub fn path_of(journal: &Path) -> PathBuf {
    journal.with_extension("copy")
}

/// True where the copy has a record that would come at `offset`, where the journal at `path` ends. The copy
/// gets a record after the journal has it for good, so this journal was cut: it is not torn by a crash.
pub fn is_ahead(journal: &Path, generation: u64, offset: u64) -> bool {
    let path = path_of(journal);
    if !std::fs::metadata(&path).is_ok_and(|meta| meta.len() > offset) {
        return false;
    }
    let bytes = std::fs::read(&path).unwrap_or_default();
    let rest = bytes.get(offset as usize..).unwrap_or_default();
    parse_header(&bytes) == Some(generation) && parse(rest).is_some()
}

/// Adds to the copy what it lacks of the journal. What cannot be done now is done next time.
pub fn follow(journal: &Path) {
    let _ = try_follow(journal);
}

fn try_follow(journal: &Path) -> std::io::Result<()> {
    let path = path_of(journal);
    let source = File::open(journal)?;
    let mut copy = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)?;
    let (length, mut have) = (source.metadata()?.len(), copy.metadata()?.len());
    let header = |file: &File| {
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0).map(|()| header)
    };
    if have > length || header(&source)? != header(&copy).unwrap_or_default() {
        copy.set_len(0)?;
        have = 0;
    }
    if have < length {
        let mut news = vec![0; (length - have) as usize];
        source.read_exact_at(&mut news, have)?;
        copy.write_all(&news)?;
    }
    Ok(())
}
