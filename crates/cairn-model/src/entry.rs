//! `Entry` is the waist of Cairn: tar streams and directories become entries; export, checkout and
//! views consume them.

use serde::{Deserialize, Serialize};

use crate::{BlobId, ObjectId};

/// A moment with nanoseconds, as `struct timespec`: seconds since 1970, negative before.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp {
    /// Seconds since the epoch.
    pub secs: i64,
    /// 0 … 999 999 999, always forward from `secs`.
    pub nanos: u32,
}

/// What a file system keeps of any file beside its name, kind and content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky: 0 … 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last change of the content.
    pub mtime: Timestamp,
    /// Extended attributes: full name (`user.x`, `security.capability`) and value, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Meta {
    /// Owned by root, no time, no xattrs.
    pub fn root(mode: u32) -> Self {
        Self {
            mode,
            ..Self::default()
        }
    }

    /// Value of one extended attribute.
    pub fn xattr(&self, name: &[u8]) -> Option<&[u8]> {
        self.xattrs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_slice())
    }

    /// Adds or replaces one extended attribute, keeping the order.
    pub fn set_xattr(&mut self, name: &[u8], value: &[u8]) {
        match self
            .xattrs
            .binary_search_by(|(n, _)| n.as_slice().cmp(name))
        {
            Ok(i) => self.xattrs[i].1 = value.to_vec(),
            Err(i) => self.xattrs.insert(i, (name.to_vec(), value.to_vec())),
        }
    }
}

/// A part of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Piece {
    /// `len` bytes held by a blob.
    Data {
        /// The blob.
        id: BlobId,
        /// Its length in bytes, never 0.
        len: u32,
    },
    /// `len` zero bytes that no blob holds (a hole of a sparse file).
    Hole {
        /// Length in bytes, never 0.
        len: u64,
    },
}

/// Content of a regular file: its pieces in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Length in bytes: the sum of the pieces.
    pub size: u64,
    /// Pieces in order; none for an empty file.
    pub pieces: Vec<Piece>,
}

impl Content {
    /// Name of the whole content in the object cache. A file of one blob has that blob's id; any other
    /// the BLAKE3 of its list of pieces under a domain of its own. Equal pieces give equal names; each
    /// piece is checked against its own id when the object is assembled, so the name vouches for the
    /// bytes without hashing them twice.
    pub fn object(&self) -> ObjectId {
        if let [Piece::Data { id, .. }] = self.pieces[..] {
            return ObjectId::from_bytes(*id.as_bytes());
        }
        let mut hasher = blake3::Hasher::new_derive_key("cairn 2026 object from pieces v1");
        for piece in &self.pieces {
            match piece {
                Piece::Data { id, len } => {
                    hasher
                        .update(&[0])
                        .update(&u64::from(*len).to_le_bytes())
                        .update(id.as_bytes());
                }
                Piece::Hole { len } => {
                    hasher.update(&[1]).update(&len.to_le_bytes());
                }
            }
        }
        ObjectId::from_bytes(*hasher.finalize().as_bytes())
    }

    /// The blobs of the content, in order, with repetitions.
    pub fn blobs(&self) -> impl Iterator<Item = (BlobId, u32)> + '_ {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Data { id, len } => Some((*id, *len)),
            Piece::Hole { .. } => None,
        })
    }

    /// Bytes that blobs hold: the size without holes.
    pub fn data_bytes(&self) -> u64 {
        self.blobs().map(|(_, len)| u64::from(len)).sum()
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link to this target (any bytes).
    Symlink(Vec<u8>),
    /// Another name of an earlier entry (path from the root, no leading slash).
    Hardlink(Vec<u8>),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// The path of the lower layers is gone (`.wh.NAME` of the OCI layer format).
    Whiteout,
    /// What lower layers hold inside this directory is gone (`.wh..wh..opq`).
    Opaque,
}

/// One line of a layer manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path from the root: no leading slash, no empty, `.` or `..` part; empty for the root itself.
    pub path: Vec<u8>,
    /// Mode, owner, time, xattrs. Of no meaning for whiteouts and opaque markers.
    pub meta: Meta,
    /// What it is.
    pub kind: Kind,
}

/// A path for people: UTF-8 as it is, anything else and control characters escaped, `/` for the root.
pub fn path_display(path: &[u8]) -> String {
    if path.is_empty() {
        return "/".to_owned();
    }
    let mut out = String::new();
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if crate::is_hidden(c) {
                out.extend(c.escape_default())
            } else {
                out.push(c)
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_blob_files_are_named_by_their_blob() {
        let id = BlobId::of(b"hello");
        let content = Content {
            size: 5,
            pieces: vec![Piece::Data { id, len: 5 }],
        };
        assert_eq!(content.object().as_bytes(), id.as_bytes());
        let holed = Content {
            size: 9,
            pieces: vec![Piece::Data { id, len: 5 }, Piece::Hole { len: 4 }],
        };
        assert_ne!(holed.object(), content.object());
        assert_eq!((holed.data_bytes(), content.data_bytes()), (5, 5));
    }

    #[test]
    fn odd_paths_are_readable() {
        assert_eq!(path_display(b""), "/");
        assert_eq!(path_display(b"a\nb\xff"), "a\\nb\\xff");
    }

    #[test]
    fn xattrs_stay_sorted() {
        let mut meta = Meta::root(0o644);
        meta.set_xattr(b"user.b", b"1");
        meta.set_xattr(b"user.a", b"2");
        meta.set_xattr(b"user.b", b"3");
        assert_eq!(
            meta.xattrs,
            [
                (b"user.a".to_vec(), b"2".to_vec()),
                (b"user.b".to_vec(), b"3".to_vec())
            ]
        );
    }
}
