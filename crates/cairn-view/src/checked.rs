//! Small files of the cache that vouch for themselves: 32 bytes of BLAKE3 over what follows, then that.
//!
//! Nothing in the cache is synced, so a crash may leave any bytes under any name. A file that does not
//! match its own hash counts as absent, and whoever needs it makes it again.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::{At, Result};

const HASH: usize = 32;

/// What is in a file, if it is a regular file of at most `bytes_max` and matches its hash.
pub fn read_checked(path: &Path, bytes_max: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = open_regular(path).ok()?;
    file.take(bytes_max.saturating_add(HASH as u64) + 1)
        .read_to_end(&mut bytes)
        .ok()?;
    if bytes.len() < HASH || bytes.len() as u64 > bytes_max.saturating_add(HASH as u64) {
        return None;
    }
    let content = bytes.split_off(HASH);
    (bytes == *blake3::hash(&content).as_bytes()).then_some(content)
}

/// Puts `content` and its hash in place of whatever is there.
pub fn write_checked(path: &Path, content: &[u8]) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory).at("create directory", directory)?;
    let mut file =
        tempfile::NamedTempFile::new_in(directory).at("make a temporary file in", directory)?;
    file.write_all(blake3::hash(content).as_bytes())
        .and_then(|()| file.write_all(content))
        .at("write", path)?;
    remove_other_than_file(path)?;
    file.persist(path)
        .map_err(|e| e.error)
        .at("put in place", path)?;
    Ok(())
}

/// Opens a regular file and nothing else: no link is followed, no fifo is waited for.
pub(crate) fn open_regular(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(std::io::Error::other("it is not a regular file"))
    }
}

/// Takes away a directory that stands where a file has to go; a rename replaces anything else.
pub(crate) fn remove_other_than_file(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path).at("remove", path),
        _ => Ok(()),
    }
}
