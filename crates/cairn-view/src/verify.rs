//! Whether a file of the cache still holds what it should, and when that is asked.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::str::FromStr;

use cairn_model::{BlobId, Content, Piece};
use rustix::io::Errno;
use serde::Serialize;

/// When the objects of a view are hashed. Within a boot a view that was found whole is believed until
/// something in it came, went or was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// The first time after each boot, and whenever a file came, went or was replaced since.
    #[default]
    Boot,
    /// At each mount.
    Always,
    /// Never: only that they are there and have the right length. For a file system that checks its
    /// data itself.
    Never,
}

impl std::fmt::Display for Verify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Boot => "boot",
            Self::Always => "always",
            Self::Never => "never",
        })
    }
}

impl FromStr for Verify {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "boot" => Ok(Self::Boot),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err(format!("{text:?} is not one of boot, always and never")),
        }
    }
}

/// What changes when a file is written to or replaced. The kernel sets ctime by itself, so a file whose
/// mtime was set back is told too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Fingerprint {
    pub inode: u64,
    pub size: u64,
    pub ctime: (i64, u32),
    pub mtime: (i64, u32),
}

impl From<&std::fs::Metadata> for Fingerprint {
    fn from(meta: &std::fs::Metadata) -> Self {
        Self {
            inode: meta.ino(),
            size: meta.len(),
            ctime: (meta.ctime(), meta.ctime_nsec() as u32),
            mtime: (meta.mtime(), meta.mtime_nsec() as u32),
        }
    }
}

impl From<&rustix::fs::Stat> for Fingerprint {
    fn from(stat: &rustix::fs::Stat) -> Self {
        Self {
            inode: stat.st_ino,
            size: stat.st_size as u64,
            ctime: (stat.st_ctime, stat.st_ctime_nsec as u32),
            mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
        }
    }
}

/// True where `file` holds just `content`. Each piece is held against its own id, so this works for any
/// content whatever its object is named by. `spent` is told of the bytes read, piece by piece.
pub(crate) fn holds(file: &File, content: &Content, spent: &dyn Fn(u64)) -> io::Result<bool> {
    if file.metadata()?.len() != content.size {
        return Ok(false);
    }
    let mut at = 0;
    let mut buffer = Vec::new();
    for piece in &content.pieces {
        match piece {
            Piece::Data { id, len } => {
                buffer.resize(*len as usize, 0);
                match file.read_exact_at(&mut buffer, at) {
                    Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                    done => done?,
                }
                if BlobId::of(&buffer) != *id {
                    return Ok(false);
                }
                spent(u64::from(*len));
                at += u64::from(*len);
            }
            Piece::Hole { len } => {
                if !is_zero(file, at, at + len, &mut buffer, spent)? {
                    return Ok(false);
                }
                at += len;
            }
        }
    }
    // Content whose pieces do not come to its size is in no sound manifest.
    Ok(at == content.size)
}

/// Bytes read at once where zeros are looked for.
const ZEROS_BYTES: u64 = 1 << 18;

/// True where `from..to` reads as zeros. What the file system knows to be a hole is not read.
fn is_zero(
    file: &File,
    from: u64,
    to: u64,
    buffer: &mut Vec<u8>,
    spent: &dyn Fn(u64),
) -> io::Result<bool> {
    let mut at = from;
    while at < to {
        at = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) if data < to => data.max(at),
            Ok(_) | Err(Errno::NXIO) => break,
            // Not every file system knows; then all of it is read.
            Err(_) => at,
        };
        let part = (to - at).min(ZEROS_BYTES);
        buffer.resize(part as usize, 0);
        match file.read_exact_at(buffer, at) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            done => done?,
        }
        if buffer.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        spent(part);
        at += part;
    }
    Ok(true)
}

/// BLAKE3 and length of a whole file.
pub(crate) fn hash(file: &mut File) -> io::Result<([u8; 32], u64)> {
    let mut hasher = blake3::Hasher::new();
    let bytes = io::copy(file, &mut hasher)?;
    Ok((*hasher.finalize().as_bytes(), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn content(parts: &[&[u8]], hole: u64) -> Content {
        let mut pieces: Vec<Piece> = Vec::new();
        for part in parts {
            let (id, len) = (BlobId::of(part), part.len() as u32);
            pieces.push(Piece::Data { id, len });
            pieces.push(Piece::Hole { len: hole });
        }
        let size = parts.iter().map(|p| p.len() as u64 + hole).sum();
        Content { size, pieces }
    }

    #[test]
    fn every_bit_of_content_with_holes_counts() {
        let wanted = content(&[b"first", b"second"], 100_000);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"first").unwrap();
        file.write_all_at(b"second", 100_005).unwrap();
        file.set_len(wanted.size).unwrap();
        assert!(holds(&file, &wanted, &|_| ()).unwrap());
        for at in [0, 4, 5, 50_000, 100_004, 100_010, 100_011, wanted.size - 1] {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
            assert!(!holds(&file, &wanted, &|_| ()).unwrap(), "a bit at {at}");
            file.write_all_at(&byte, at).unwrap();
        }
        assert!(holds(&file, &wanted, &|_| ()).unwrap());
        file.set_len(wanted.size - 1).unwrap();
        assert!(!holds(&file, &wanted, &|_| ()).unwrap());
    }
}
