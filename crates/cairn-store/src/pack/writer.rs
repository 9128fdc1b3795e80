//! Writes one pack.

use std::path::{Path, PathBuf};

use cairn_model::{BlobId, PackId};

use super::sync_ahead::SyncAhead;
use super::{
    Codec, DIRECTORY_ENTRY, END_MAGIC, Effort, HEADER, MAGIC, RECORD_HEADER, RECORD_MAGIC, Slot,
    TRAILER, VERSION,
};
use crate::disk::{Disk, DiskFile};
use crate::error::{IoContext, Result};

const BUFFER_BYTES: usize = 1 << 20;
const WRITEBACK_BYTES: u64 = 8 << 20;
const SYNC_BYTES: u64 = 16 << 20;

/// Appends the record of one blob to `out`.
pub fn frame(
    out: &mut Vec<u8>,
    id: &BlobId,
    (codec, effort): (Codec, Effort),
    raw: u32,
    payload: &[u8],
) {
    out.extend_from_slice(&RECORD_MAGIC.to_le_bytes());
    out.extend_from_slice(&[codec.number(), effort as u8]);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&raw.to_le_bytes());
    out.extend_from_slice(&id.as_bytes()[..4]);
    out.extend_from_slice(payload);
}

/// A pack that is being written, under a temporary name. Dropped unfinished, it stays in the lease's
/// directory, which goes when the lease does.
#[derive(Debug)]
pub struct PackWriter {
    id: PackId,
    file: DiskFile,
    buffer: Vec<u8>,
    slots: Vec<Slot>,
    flushed: u64,
    writeback: u64,
    synced: u64,
    sync_ahead: Option<SyncAhead>,
}

/// A pack whose bytes are durable, still under its temporary name.
#[derive(Debug)]
pub struct FinishedPack {
    /// Its id.
    pub id: PackId,
    /// Where it is now.
    pub path: PathBuf,
    /// What it holds, in pack order.
    pub slots: Vec<Slot>,
    /// Its length, bytes.
    pub bytes: u64,
}

impl PackWriter {
    /// Starts the pack `id` in `directory`.
    pub fn create(disk: &Disk, directory: &Path, id: PackId) -> Result<Self> {
        let file = disk.create(&directory.join(super::file_name(&id)))?;
        let mut buffer = Vec::with_capacity(BUFFER_BYTES + BUFFER_BYTES / 2);
        buffer.extend_from_slice(MAGIC);
        buffer.extend_from_slice(&VERSION.to_le_bytes());
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(id.as_bytes());
        debug_assert_eq!(buffer.len(), HEADER);
        Ok(Self {
            id,
            file,
            buffer,
            slots: Vec::new(),
            flushed: 0,
            writeback: 0,
            synced: 0,
            sync_ahead: None,
        })
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    /// True where the next record belongs into another pack.
    pub fn is_full(&self) -> bool {
        super::is_full(self.slots.len(), self.bytes())
    }

    /// Appends records made by [`frame`], in the order of `slots`; the slots' offsets are set here. Before a
    /// record whose checksum would lie in two pages a few zeros come first.
    pub fn append(&mut self, slots: &[Slot], records: &[u8]) -> Result<()> {
        let mut rest = records;
        for slot in slots {
            let (record, after) = rest.split_at(slot.record_bytes() as usize);
            rest = after;
            if slot.codec == Codec::Frame {
                let gap = super::gap(self.bytes(), slot.record_bytes());
                self.buffer.resize(self.buffer.len() + gap as usize, 0);
            }
            self.slots.push(Slot {
                offset: self.bytes() as u32,
                ..*slot
            });
            self.buffer.extend_from_slice(record);
        }
        debug_assert!(rest.is_empty(), "records of other slots");
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.buffer)?;
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
        if self.flushed - self.writeback >= WRITEBACK_BYTES {
            cairn_sys::start_writeback(
                self.file.file(),
                self.writeback,
                self.flushed - self.writeback,
            );
            self.writeback = self.flushed;
        }
        if self.flushed - self.synced >= SYNC_BYTES {
            self.synced = self.flushed;
            let ahead = match self.sync_ahead.take() {
                Some(ahead) => ahead,
                None => SyncAhead::start(self.file.file()).at("sync", self.file.path())?,
            };
            ahead.wish();
            self.sync_ahead = Some(ahead);
        }
        Ok(())
    }

    /// Writes directory and trailer and makes the pack durable. One with frames ends with a page: the kernel reads
    /// whole pages.
    pub fn finish(mut self) -> Result<FinishedPack> {
        if self.slots.iter().any(|slot| slot.codec == Codec::Frame) {
            let end = self.bytes() + (self.slots.len() * DIRECTORY_ENTRY + TRAILER) as u64;
            let zeros = end.next_multiple_of(super::PAGE) - end;
            self.buffer.resize(self.buffer.len() + zeros as usize, 0);
        }
        let directory_offset = self.bytes();
        let mut directory = Vec::with_capacity(self.slots.len() * DIRECTORY_ENTRY);
        for slot in &self.slots {
            directory.extend_from_slice(slot.id.as_bytes());
            directory.extend_from_slice(&slot.offset.to_le_bytes());
            directory.extend_from_slice(&slot.stored.to_le_bytes());
            directory.extend_from_slice(&slot.raw_and_codec().to_le_bytes());
        }
        let start = self.buffer.len() + directory.len();
        self.buffer.extend_from_slice(&directory);
        self.buffer.extend_from_slice(END_MAGIC);
        self.buffer.extend_from_slice(&VERSION.to_le_bytes());
        self.buffer
            .extend_from_slice(&(self.slots.len() as u32).to_le_bytes());
        self.buffer
            .extend_from_slice(&directory_offset.to_le_bytes());
        self.buffer
            .extend_from_slice(blake3::hash(&directory).as_bytes());
        let crc = crc32fast::hash(&self.buffer[start..]);
        self.buffer.extend_from_slice(&crc.to_le_bytes());
        self.buffer.extend_from_slice(&[0; 4]);
        debug_assert_eq!(self.buffer.len() - start, TRAILER);
        self.flush()?;
        if let Some(ahead) = self.sync_ahead {
            ahead.finish().at("sync", self.file.path())?;
        }
        self.file.sync()?;
        Ok(FinishedPack {
            id: self.id,
            path: self.file.path().to_owned(),
            slots: self.slots,
            bytes: self.flushed,
        })
    }
}

const _: () = assert!(RECORD_HEADER == 2 + 2 + 4 + 4 + 4);
