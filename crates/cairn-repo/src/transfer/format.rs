//! The bytes of a file of images.

use std::io::{self, Read};

use cairn_model::BlobId;
use cairn_store::codec::{decode_bare, encode_bare};
use cairn_store::{BLOB_BYTES_MAX, Codec, Packed};
use serde::{Deserialize, Serialize};

use crate::chunks::RecipeV1;

/// What a file begins with.
pub const MAGIC: &[u8; 16] = b"CAIRNXFR\x01\0\0\0\0\0\0\0";
const HEAD_BYTES_MAX: u64 = 64 << 20;
const RECORD_HEADER: usize = 40;
/// A zstd frame is no longer than its content but for so much.
const FRAME_BYTES_MAX: u32 = 1024;

/// What the file has.
#[derive(Serialize, Deserialize)]
pub struct HeadV1 {
    pub images: Vec<ImageV1>,
    /// The layers of all images, each once.
    pub layers: Vec<RecipeV1>,
    /// Number of records.
    pub blobs: u64,
}

/// An image in a file.
#[derive(Serialize, Deserialize)]
pub struct ImageV1 {
    pub document: Vec<u8>,
    pub names: Vec<String>,
}

/// Header and head of a file.
pub fn encode_head(head: &HeadV1) -> Vec<u8> {
    let head = encode_bare(head);
    let len = (head.len() as u64).to_le_bytes();
    [&MAGIC[..], &len, &head].concat()
}

/// The record of a blob.
pub fn encode_record(id: &BlobId, blob: &Packed) -> Vec<u8> {
    let mut out = Vec::with_capacity(RECORD_HEADER + blob.payload.len());
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(&(blob.payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&(blob.raw | u32::from(blob.codec.number()) << 24).to_le_bytes());
    out.extend_from_slice(&blob.payload);
    out
}

/// Reads header and head.
pub fn read_head(from: &mut impl Read) -> io::Result<HeadV1> {
    let mut header = [0; MAGIC.len()];
    from.read_exact(&mut header).map_err(cut)?;
    if header[..8] != MAGIC[..8] {
        return Err(wrong("it is no file of images"));
    }
    if header != *MAGIC {
        return Err(wrong("it is of a version that this program does not know"));
    }
    let mut len = [0; 8];
    from.read_exact(&mut len).map_err(cut)?;
    let len = u64::from_le_bytes(len);
    if len > HEAD_BYTES_MAX {
        return Err(wrong("its head is longer than it may be"));
    }
    let mut head = Vec::new();
    from.take(len).read_to_end(&mut head)?;
    if (head.len() as u64) < len {
        return Err(cut(io::ErrorKind::UnexpectedEof.into()));
    }
    let mut rest = &head[..];
    let head = decode_bare(&mut rest).filter(|_| rest.is_empty());
    head.ok_or_else(|| wrong("its head is damaged"))
}

/// Reads the record of a blob, which has the content that it is named by.
pub fn read_record(from: &mut impl Read) -> io::Result<(BlobId, Vec<u8>)> {
    let mut header = [0; RECORD_HEADER];
    from.read_exact(&mut header).map_err(cut)?;
    let (id, numbers) = header.split_at(32);
    let mut name = [0; 32];
    name.copy_from_slice(id);
    let id = BlobId::from_bytes(name);
    let word = |at: usize| {
        let bytes = &numbers[at..at + 4];
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    };
    let (stored, raw) = (word(0), word(4) & 0xff_ffff);
    // Frames are a matter of packs.
    let codec = Codec::of(numbers[7]).filter(|codec| *codec != Codec::Frame);
    let codec = codec.ok_or_else(|| wrong("a blob is stored in an unknown way"))?;
    if raw as usize > BLOB_BYTES_MAX || stored > raw.saturating_add(FRAME_BYTES_MAX) {
        return Err(wrong("the lengths of a blob cannot be right"));
    }
    let mut payload = vec![0; stored as usize];
    from.read_exact(&mut payload).map_err(cut)?;
    let packed = Packed {
        codec,
        raw,
        payload,
    };
    let content = packed.open(&id);
    let content = content.ok_or_else(|| wrong(&format!("blob {id} is damaged")))?;
    Ok((id, content))
}

/// The bytes are not what they should be.
pub fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

/// The end came too early, if that is what happened.
pub fn cut(e: io::Error) -> io::Error {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => wrong("it is truncated"),
        _ => e,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let content = b"content content content".to_vec();
        let head = HeadV1 {
            images: vec![ImageV1 {
                document: b"{}".to_vec(),
                names: vec!["a:1".to_owned()],
            }],
            layers: Vec::new(),
            blobs: 1,
        };
        let packed = Packed {
            codec: Codec::Plain,
            raw: content.len() as u32,
            payload: content.clone(),
        };
        [
            encode_head(&head),
            encode_record(&BlobId::of(&content), &packed),
        ]
        .concat()
    }

    fn read(mut bytes: &[u8]) -> io::Result<(HeadV1, Vec<u8>)> {
        let head = read_head(&mut bytes)?;
        Ok((head, read_record(&mut bytes)?.1))
    }

    #[test]
    fn files_come_back_and_cuts_and_changes_are_found() {
        let bytes = sample();
        let (head, content) = read(&bytes).unwrap();
        assert_eq!(
            (head.blobs, &head.images[0].names[..]),
            (1, &["a:1".to_owned()][..])
        );
        assert_eq!(content, b"content content content");
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "cut at {len}");
        }
        // Of the head only what the hash at the file's end covers may change unseen.
        let record = bytes.len() - RECORD_HEADER - content.len();
        for at in (0..MAGIC.len()).chain(record..bytes.len()) {
            let mut bad = bytes.clone();
            bad[at] ^= 0x81;
            assert!(read(&bad).is_err(), "byte {at}");
        }
    }

    #[test]
    fn lengths_without_end_take_no_memory() {
        let long = [&MAGIC[..], &u64::MAX.to_le_bytes(), b"x"].concat();
        assert!(read_head(&mut &long[..]).is_err());
        let long = [&MAGIC[..], &HEAD_BYTES_MAX.to_le_bytes(), b"x"].concat();
        assert!(read_head(&mut &long[..]).is_err());
        let record = [&[0; 32][..], &[255; 8]].concat();
        assert!(read_record(&mut &record[..]).is_err());
    }
}
