//! Reads packs: a blob at a slot, the directory, or whatever can be saved of a damaged one.

use std::fs::File;
use std::path::{Path, PathBuf};

use cairn_model::{BlobId, PackId};

use super::{
    Codec, DIRECTORY_ENTRY, END_MAGIC, Effort, HEADER, MAGIC, PackBytes, RECORD_HEADER,
    RECORD_MAGIC, REFERENCE, Slot, TRAILER, VERSION, array_at, decompress, u32_at, u64_at,
};
use crate::compress::Compressor;
use crate::error::{Error, IoContext, Result};

/// Gives the content of a blob.
pub type ContentOf<'a> = &'a dyn Fn(&BlobId) -> Result<Vec<u8>>;

/// A pack's directory: what it holds, in pack order.
#[derive(Debug, Clone)]
pub struct Directory {
    /// The pack's id, from its header.
    pub id: PackId,
    /// Its blobs.
    pub slots: Vec<Slot>,
    /// Length of the pack, bytes.
    pub bytes: u64,
}

/// An open pack.
#[derive(Debug)]
pub struct PackReader {
    path: PathBuf,
    bytes: Box<dyn PackBytes>,
}

impl PackReader {
    /// Opens the pack at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).at("open pack", path)?;
        Ok(Self::new(path, file))
    }

    /// A pack of these bytes; `path` names it in messages.
    pub fn new(path: &Path, bytes: impl PackBytes + 'static) -> Self {
        Self {
            path: path.to_owned(),
            bytes: Box::new(bytes),
        }
    }

    /// Its length, bytes.
    pub fn size(&self) -> Result<u64> {
        self.bytes.size().at("stat pack", &self.path)
    }

    pub(super) fn read(&self, out: &mut [u8], offset: u64) -> Result<()> {
        self.bytes
            .read_exact_at(out, offset)
            .at("read pack", &self.path)
    }

    fn corrupt(&self, why: impl Into<String>) -> Error {
        Error::corrupt(format!("pack {}", self.path.display()), why)
    }

    /// The blob's record as it lies in the pack, header and payload, after checking that the header
    /// is that of `slot`.
    pub fn record(&self, slot: &Slot, out: &mut Vec<u8>) -> Result<()> {
        // A record is no longer than what it holds, but for a few bytes of frame.
        if slot.stored > slot.raw.saturating_add(1024) {
            return Err(self.corrupt(format!("blob {} is longer packed than plain", slot.id)));
        }
        out.resize(slot.record_bytes() as usize, 0);
        if let Err(e) = self.bytes.read_exact_at(out, u64::from(slot.offset)) {
            if e.kind() == std::io::ErrorKind::UnexpectedEof {
                return Err(self.corrupt(format!("it ends inside blob {}", slot.id)));
            }
            return Err(e).at("read pack", &self.path);
        }
        let header = &out[..RECORD_HEADER];
        let same = header[..2] == RECORD_MAGIC.to_le_bytes()
            && Effort::of_record(header).is_some()
            && header[2] == slot.codec.number()
            && u32_at(header, 4) == slot.stored
            && u32_at(header, 8) == slot.raw
            && header[12..16] == slot.id.as_bytes()[..4];
        if same {
            Ok(())
        } else {
            Err(self.corrupt(format!("the record header of blob {} is wrong", slot.id)))
        }
    }

    /// The blob's content, checked against its id. `content_of` is asked for that of the blob that it is stored as
    /// a difference from, if it is.
    pub fn blob(
        &self,
        slot: &Slot,
        scratch: &mut Vec<u8>,
        content_of: ContentOf<'_>,
    ) -> Result<Vec<u8>> {
        self.record(slot, scratch)?;
        self.content(slot, &scratch[RECORD_HEADER..], content_of)
    }

    /// The content of a blob that others are differences from, so that it is none itself.
    pub(crate) fn reference_blob(&self, slot: &Slot) -> Result<Vec<u8>> {
        if let Some(other) = slot.codec.reference() {
            return Err(Error::corrupt(
                format!("blob {}", slot.id),
                format!("others are differences from it, and it is one from {other}"),
            ));
        }
        self.blob(slot, &mut Vec::new(), &|other| {
            Err(Error::MissingBlob(*other))
        })
    }

    /// The content of a record's payload.
    pub(crate) fn content(
        &self,
        slot: &Slot,
        payload: &[u8],
        content_of: ContentOf<'_>,
    ) -> Result<Vec<u8>> {
        let reference = slot.codec.reference().map(|id| match content_of(&id) {
            Err(Error::MissingBlob(_)) => Err(self.corrupt(format!(
                "blob {} is stored as a difference from blob {id}, which is in no pack",
                slot.id
            ))),
            done => done,
        });
        let reference = reference.transpose()?;
        let content = decompress(slot, payload, reference.as_deref())
            .ok_or_else(|| self.corrupt(format!("blob {} does not decompress", slot.id)))?;
        if BlobId::of(&content) != slot.id {
            return Err(self.corrupt(format!("the content of blob {} has another hash", slot.id)));
        }
        Ok(content)
    }

    /// The blob as it is stored, its content checked against its id. A frame is given as what programs that
    /// know no frames can read: it is zstd all the same, or plain content where that is no longer. A difference is
    /// compressed anew.
    pub(crate) fn packed(&self, slot: &Slot, content_of: ContentOf<'_>) -> Result<Packed> {
        let mut record = Vec::new();
        let content = self.blob(slot, &mut record, content_of)?;
        let raw = slot.raw;
        let (codec, payload) = match slot.codec {
            Codec::Delta(_) => {
                let mut compressor = Compressor::default();
                let (codec, payload) = compressor.pack(&content)?;
                (codec, payload.to_vec())
            }
            Codec::Frame if slot.stored >= raw => (Codec::Plain, content),
            codec => {
                record.drain(..RECORD_HEADER);
                let codec = match codec {
                    Codec::Frame => Codec::Zstd,
                    codec => codec,
                };
                (codec, record)
            }
        };
        Ok(Packed {
            codec,
            raw,
            payload,
        })
    }

    /// The blob that the one at this place is the difference from.
    fn reference(&self, record: u64) -> Result<BlobId> {
        let mut id = [0; REFERENCE];
        self.read(&mut id, record + RECORD_HEADER as u64)?;
        Ok(BlobId::from_bytes(id))
    }

    /// The id in the pack's header.
    pub fn id(&self) -> Result<PackId> {
        let mut header = [0; HEADER];
        self.read(&mut header, 0)?;
        if header[..8] != *MAGIC || u32_at(&header, 8) != VERSION {
            return Err(self.corrupt("its header is not that of a pack"));
        }
        Ok(PackId::from_bytes(array_at(&header, 16)))
    }

    /// The directory at the pack's end.
    pub fn directory(&self) -> Result<Directory> {
        let bytes = self.size()?;
        if bytes < (HEADER + TRAILER) as u64 {
            return Err(self.corrupt("it is shorter than an empty pack"));
        }
        let id = self.id()?;
        let mut trailer = [0; TRAILER];
        self.read(&mut trailer, bytes - TRAILER as u64)?;
        if trailer[..8] != *END_MAGIC || u32_at(&trailer, 56) != crc32fast::hash(&trailer[..56]) {
            return Err(self.corrupt("its trailer is missing or wrong"));
        }
        let (count, offset) = (u32_at(&trailer, 12) as usize, u64_at(&trailer, 16));
        let length = bytes - TRAILER as u64 - offset.min(bytes - TRAILER as u64);
        if offset < HEADER as u64 || length != (count * DIRECTORY_ENTRY) as u64 {
            return Err(self.corrupt("its trailer and its length disagree"));
        }
        let mut directory = vec![0; length as usize];
        self.read(&mut directory, offset)?;
        if *blake3::hash(&directory).as_bytes() != array_at::<32>(&trailer, 24) {
            return Err(self.corrupt("its directory has another hash than its trailer says"));
        }
        let is_within = |e: &[u8]| {
            let end = u64::from(u32_at(e, 32)) + RECORD_HEADER as u64 + u64::from(u32_at(e, 36));
            end <= offset
        };
        if !directory.chunks_exact(DIRECTORY_ENTRY).all(is_within) {
            return Err(self.corrupt("its directory points outside its records"));
        }
        let entry = |e: &[u8]| {
            let at = u32_at(e, 32);
            Slot::from_parts(
                BlobId::from_bytes(array_at(e, 0)),
                at,
                u32_at(e, 36),
                u32_at(e, 40),
                || self.reference(u64::from(at)),
            )
        };
        let slots = directory
            .chunks_exact(DIRECTORY_ENTRY)
            .map(entry)
            .collect::<Result<Vec<_>>>()?;
        Ok(Directory { id, slots, bytes })
    }
}

/// A blob as it is stored, away from its pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// How its content is stored.
    pub codec: Codec,
    /// Length of its content, bytes.
    pub raw: u32,
    /// What is stored.
    pub payload: Vec<u8>,
}

impl Packed {
    /// The content, where it is that of the blob `id`. It takes no more memory than `raw` says.
    pub fn open(&self, id: &BlobId) -> Option<Vec<u8>> {
        let slot = Slot {
            id: *id,
            offset: 0,
            stored: u32::try_from(self.payload.len()).ok()?,
            raw: self.raw,
            codec: self.codec,
        };
        decompress(&slot, &self.payload, None).filter(|content| BlobId::of(content) == *id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PackWriter, frame, salvage};
    use super::*;
    use crate::disk::Disk;

    const NOTHING: ContentOf<'_> = &|id| Err(Error::MissingBlob(*id));

    fn sample(dir: &Path) -> (PathBuf, Vec<Vec<u8>>) {
        let contents: Vec<Vec<u8>> = (0..20_usize).map(|i| vec![i as u8; 10 + i * 997]).collect();
        let mut writer =
            PackWriter::create(&Disk::default(), dir, PackId::from_bytes([9; 16])).unwrap();
        for content in &contents {
            let packed = zstd::bulk::compress(content, 3).unwrap();
            let mut records = Vec::new();
            let id = BlobId::of(content);
            frame(
                &mut records,
                &id,
                (Codec::Zstd, Effort::Quick),
                content.len() as u32,
                &packed,
            );
            let slot = Slot {
                id,
                offset: 0,
                stored: packed.len() as u32,
                raw: content.len() as u32,
                codec: Codec::Zstd,
            };
            writer.append(&[slot], &records).unwrap();
        }
        let pack = writer.finish().unwrap();
        assert_eq!(pack.bytes, std::fs::metadata(&pack.path).unwrap().len());
        (pack.path, contents)
    }

    #[test]
    fn blobs_come_back_through_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let (path, contents) = sample(dir.path());
        let pack = PackReader::open(&path).unwrap();
        let directory = pack.directory().unwrap();
        assert_eq!(directory.id, PackId::from_bytes([9; 16]));
        let records: u64 = directory.slots.iter().map(Slot::record_bytes).sum();
        assert_eq!(super::super::pack_bytes(20, records), directory.bytes);
        for (slot, content) in directory.slots.iter().zip(&contents) {
            assert_eq!(&pack.blob(slot, &mut Vec::new(), NOTHING).unwrap(), content);
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found_and_the_rest_is_saved() {
        let dir = tempfile::tempdir().unwrap();
        let (path, contents) = sample(dir.path());
        let good = std::fs::read(&path).unwrap();
        let slots = PackReader::open(&path).unwrap().directory().unwrap().slots;
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            let pack = PackReader::open(&path).unwrap();
            let whole = slots
                .iter()
                .filter(|slot| pack.blob(slot, &mut Vec::new(), NOTHING).is_ok())
                .count();
            let noticed = pack.directory().is_err() || whole == 19;
            // The header's reserved word, the id in it and the trailer's padding carry no promise.
            let slack = at < HEADER || at >= good.len() - 4;
            assert!(noticed || slack, "byte {at}");
            let mut saved = 0;
            salvage::<Error>(&pack, NOTHING, |_| {
                saved += 1;
                Ok(())
            })
            .unwrap();
            assert!(saved >= contents.len() - 1, "byte {at}");
        }
        for len in (0..good.len()).step_by(13) {
            std::fs::write(&path, &good[..len]).unwrap();
            assert!(
                PackReader::open(&path).unwrap().directory().is_err(),
                "cut at {len}"
            );
        }
    }
}
