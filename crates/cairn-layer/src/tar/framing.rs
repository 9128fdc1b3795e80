//! Tar framing: what is left of a layer's tar without the contents of its files.
//!
//! `"CAIRNFRM" version:u32`, then steps as bincode until the end: bytes to copy, or "the data of
//! manifest entry *n* here". Carried out in order they give the tar back byte for byte.

use cairn_model::{Entry, Kind};
use cairn_store::codec::{decode_bare, encode_bare};
use cairn_store::{Feeder, StreamRef, StreamWriter};
use serde::{Deserialize, Serialize};

use super::{CanonicalTar, SparseMap};
use crate::error::Result;

const MAGIC: &[u8; 12] = b"CAIRNFRM\x01\0\0\0";
const RAW_BYTES_MAX: usize = 64 * 1024;

/// One step of writing the tar.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepV1 {
    /// These bytes.
    Raw(Vec<u8>),
    /// What blobs hold of the content of this entry of the manifest.
    Entry(u64),
}

/// Stores a framing while the tar is read.
pub struct FramingWriter {
    stream: StreamWriter,
    raw: Vec<u8>,
}

impl FramingWriter {
    /// An empty framing.
    pub fn new(feeder: &mut Feeder) -> Result<Self> {
        let mut stream = StreamWriter::default();
        stream.write(feeder, MAGIC)?;
        Ok(Self {
            stream,
            raw: Vec::new(),
        })
    }

    /// The framing of the canonical tar, version 2, of these entries.
    pub fn canonical(feeder: &mut Feeder, entries: &[Entry]) -> Result<Self> {
        let mut framing = Self::new(feeder)?;
        let mut tar = CanonicalTar::new(Vec::new());
        for (index, entry) in entries.iter().enumerate() {
            let stored = match &entry.kind {
                Kind::File(content) => match SparseMap::of_content(content) {
                    Some(map) => {
                        tar.sparse_header(entry, &map)?;
                        map.data_bytes
                    }
                    None => {
                        tar.header(entry)?;
                        content.size
                    }
                },
                _ => {
                    tar.header(entry)?;
                    0
                }
            };
            framing.raw(feeder, &std::mem::take(tar.out()))?;
            if stored > 0 {
                framing.entry(feeder, index)?;
                tar.pad(stored)?;
            }
        }
        let end = tar.finish()?;
        framing.raw(feeder, &end)?;
        Ok(framing)
    }

    /// Bytes that are no content.
    pub fn raw(&mut self, feeder: &mut Feeder, bytes: &[u8]) -> Result<()> {
        self.raw.extend_from_slice(bytes);
        if self.raw.len() >= RAW_BYTES_MAX {
            self.flush(feeder)
        } else {
            Ok(())
        }
    }

    /// The data of a manifest entry is next.
    pub fn entry(&mut self, feeder: &mut Feeder, index: usize) -> Result<()> {
        self.flush(feeder)?;
        self.step(feeder, &StepV1::Entry(index as u64))
    }

    /// The end.
    pub fn finish(mut self, feeder: &mut Feeder) -> Result<StreamRef> {
        self.flush(feeder)?;
        Ok(self.stream.finish(feeder)?)
    }

    fn flush(&mut self, feeder: &mut Feeder) -> Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        let step = StepV1::Raw(std::mem::take(&mut self.raw));
        self.step(feeder, &step)
    }

    fn step(&mut self, feeder: &mut Feeder, step: &StepV1) -> Result<()> {
        Ok(self.stream.write(feeder, &encode_bare(step))?)
    }
}

/// The steps of a stored framing; `None` where it is not one.
pub fn decode(bytes: &[u8]) -> Option<Vec<StepV1>> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        steps.push(decode_bare(&mut rest)?);
    }
    Some(steps)
}
