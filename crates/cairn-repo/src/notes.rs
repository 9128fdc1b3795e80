//! Notes of a repository: small JSON files beside its rows, of what was done last. Nothing depends on one, and a disk
//! that takes no note is no reason to fail.

use std::io::{self, Read, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A longer file is none of ours.
const BYTES_MAX: u64 = 64 << 10;

/// Writes a note at the top of a repository, all of it or nothing.
pub(crate) fn write(path: &Path, note: &impl Serialize) {
    if let Err(e) = try_write(path, note) {
        tracing::debug!(error = %e, path = %path.display(), "the note is not kept");
    }
}

fn try_write(path: &Path, note: &impl Serialize) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let text = serde_json::to_string(note)? + "\n";
    let mut new = tempfile::NamedTempFile::new_in(directory.join("tmp"))?;
    new.write_all(text.as_bytes())?;
    new.persist(path)?;
    Ok(())
}

/// Reads a note; none where there is none, or one that does not read.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}
