//! The stored form of a list of entries.
//!
//! `"CAIRNLAY" version:u32 count:u64`, then each entry as bincode of [`EntryV1`]. A path is written as
//! the number of bytes it shares with the one before it and the rest, so that a manifest stays small
//! even before compression.

use cairn_model::{BlobId, Content, Entry, Kind, Meta, Piece, Timestamp};
use cairn_store::codec::{decode_bare, encode_bare};
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"CAIRNLAY";
const VERSION: u32 = 1;
const HEADER: usize = 20;

#[derive(Serialize, Deserialize)]
struct EntryV1 {
    shared: u32,
    rest: Vec<u8>,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime_secs: i64,
    mtime_nanos: u32,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    kind: KindV1,
}

#[derive(Serialize, Deserialize)]
enum KindV1 {
    Directory,
    File { size: u64, pieces: Vec<PieceV1> },
    Symlink(Vec<u8>),
    Hardlink(Vec<u8>),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
    Whiteout,
    Opaque,
}

#[derive(Serialize, Deserialize)]
enum PieceV1 {
    Data([u8; 32], u32),
    Hole(u64),
}

/// Manifest of these entries.
pub fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * 96);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(entries.len() as u64).to_le_bytes());
    let mut previous: &[u8] = b"";
    for entry in entries {
        let shared = previous
            .iter()
            .zip(&entry.path)
            .take_while(|(a, b)| a == b)
            .count();
        out.extend_from_slice(&encode_bare(&EntryV1 {
            shared: shared as u32,
            rest: entry.path[shared..].to_vec(),
            mode: entry.meta.mode,
            uid: entry.meta.uid,
            gid: entry.meta.gid,
            mtime_secs: entry.meta.mtime.secs,
            mtime_nanos: entry.meta.mtime.nanos,
            xattrs: entry.meta.xattrs.clone(),
            kind: kind_out(&entry.kind),
        }));
        previous = &entry.path;
    }
    out
}

/// The entries of a manifest; `None` where it is not one, to the last byte.
pub fn decode(bytes: &[u8]) -> Option<Vec<Entry>> {
    let (header, mut rest) = bytes.split_at_checked(HEADER)?;
    if header[..8] != *MAGIC || header[8..12] != VERSION.to_le_bytes() {
        return None;
    }
    let count = u64::from_le_bytes(header[12..20].try_into().ok()?);
    let mut entries: Vec<Entry> = Vec::with_capacity(count.min(rest.len() as u64 / 8) as usize);
    for _ in 0..count {
        let wire: EntryV1 = decode_bare(&mut rest)?;
        let previous = entries.last().map_or(&b""[..], |e| &e.path);
        let mut path = previous.get(..wire.shared as usize)?.to_vec();
        path.extend_from_slice(&wire.rest);
        let mtime = Timestamp {
            secs: wire.mtime_secs,
            nanos: wire.mtime_nanos,
        };
        let meta = Meta {
            mode: wire.mode,
            uid: wire.uid,
            gid: wire.gid,
            mtime,
            xattrs: wire.xattrs,
        };
        entries.push(Entry {
            path,
            meta,
            kind: kind_in(wire.kind),
        });
    }
    rest.is_empty().then_some(entries)
}

fn kind_out(kind: &Kind) -> KindV1 {
    match kind {
        Kind::Directory => KindV1::Directory,
        Kind::File(content) => {
            let piece = |p: &Piece| match p {
                Piece::Data { id, len } => PieceV1::Data(*id.as_bytes(), *len),
                Piece::Hole { len } => PieceV1::Hole(*len),
            };
            KindV1::File {
                size: content.size,
                pieces: content.pieces.iter().map(piece).collect(),
            }
        }
        Kind::Symlink(target) => KindV1::Symlink(target.clone()),
        Kind::Hardlink(target) => KindV1::Hardlink(target.clone()),
        Kind::CharDevice { major, minor } => KindV1::CharDevice(*major, *minor),
        Kind::BlockDevice { major, minor } => KindV1::BlockDevice(*major, *minor),
        Kind::Fifo => KindV1::Fifo,
        Kind::Whiteout => KindV1::Whiteout,
        Kind::Opaque => KindV1::Opaque,
    }
}

fn kind_in(kind: KindV1) -> Kind {
    match kind {
        KindV1::Directory => Kind::Directory,
        KindV1::File { size, pieces } => {
            let piece = |p| match p {
                PieceV1::Data(id, len) => Piece::Data {
                    id: BlobId::from_bytes(id),
                    len,
                },
                PieceV1::Hole(len) => Piece::Hole { len },
            };
            Kind::File(Content {
                size,
                pieces: pieces.into_iter().map(piece).collect(),
            })
        }
        KindV1::Symlink(target) => Kind::Symlink(target),
        KindV1::Hardlink(target) => Kind::Hardlink(target),
        KindV1::CharDevice(major, minor) => Kind::CharDevice { major, minor },
        KindV1::BlockDevice(major, minor) => Kind::BlockDevice { major, minor },
        KindV1::Fifo => Kind::Fifo,
        KindV1::Whiteout => Kind::Whiteout,
        KindV1::Opaque => Kind::Opaque,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Entry> {
        let content = Content {
            size: 12,
            pieces: vec![
                Piece::Data {
                    id: BlobId::of(b"x"),
                    len: 2,
                },
                Piece::Hole { len: 10 },
            ],
        };
        let mut meta = Meta::root(0o4755);
        meta.set_xattr(b"user.x", b"y\0z");
        meta.mtime = Timestamp {
            secs: -5,
            nanos: 999_999_999,
        };
        let kinds = [
            (&b"usr"[..], Kind::Directory),
            (b"usr/a", Kind::File(content)),
            (b"usr/b", Kind::Symlink(b"\xff".to_vec())),
            (b"usr/c", Kind::Hardlink(b"usr/a".to_vec())),
            (b"usr/d", Kind::CharDevice { major: 1, minor: 3 }),
            (b"v", Kind::Whiteout),
        ];
        kinds
            .into_iter()
            .map(|(path, kind)| Entry {
                path: path.to_vec(),
                meta: meta.clone(),
                kind,
            })
            .collect()
    }

    #[test]
    fn manifests_round_trip_and_cuts_are_refused() {
        let bytes = encode(&sample());
        assert_eq!(decode(&bytes).unwrap(), sample());
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_none(), "cut at {len}");
        }
    }

    #[test]
    fn golden_bytes() {
        let id = BlobId::of(&encode(&sample()));
        assert_eq!(id.short(), "a4f92ab48190");
    }
}
