//! Writes a layer as a tar: the imported one again from its framing, or a canonical one.

use std::io::{self, Write};

use cairn_model::{Digest, Entry, Kind};
use cairn_store::Store;

use super::hash::HashSink;
use super::{CanonicalTar, StepV1, decode_framing};
use crate::content::read_content;
use crate::error::{Error, Result};
use crate::layer::Layer;

const FRAMING_BYTES_MAX: u64 = 4 << 30;

/// Writes the layer's tar to `out` and returns its SHA-256 and length. Where the diff id is known, the
/// bytes are the ones that were imported, or the export fails.
pub fn export_layer(store: &Store, layer: &Layer, out: &mut dyn Write) -> Result<(Digest, u64)> {
    let entries = layer.read_entries(store)?;
    let mut out = HashWriter {
        out,
        hash: HashSink::start(),
    };
    match &layer.framing {
        Some(framing) => {
            let damaged = || Error::Damaged {
                what: "the tar framing",
                layer: layer.id,
            };
            let bytes = store.read_stream(framing, FRAMING_BYTES_MAX)?;
            for step in decode_framing(&bytes).ok_or_else(damaged)? {
                replay(store, &entries, step, &mut out)?.ok_or_else(damaged)?;
            }
        }
        None => {
            let mut tar = CanonicalTar::new(&mut out);
            for entry in &entries {
                tar.header(entry)?;
                if let Kind::File(content) = &entry.kind {
                    read_content(store, content, tar.out())?;
                    tar.pad(content.size)?;
                }
            }
            tar.finish()?;
        }
    }
    let (digest, bytes) = out.hash.finish().map_err(Error::Write)?;
    match layer.diff_id {
        Some(expected) if expected != digest => Err(Error::Differs {
            expected,
            actual: digest,
        }),
        _ => Ok((digest, bytes)),
    }
}

fn replay(
    store: &Store,
    entries: &[Entry],
    step: StepV1,
    out: &mut HashWriter<'_>,
) -> Result<Option<()>> {
    match step {
        StepV1::Raw(bytes) => out.write_all(&bytes).map_err(Error::Write)?,
        StepV1::Entry(index) => {
            let Some(Entry {
                kind: Kind::File(content),
                ..
            }) = entries.get(index as usize)
            else {
                return Ok(None);
            };
            for (id, _) in content.blobs() {
                out.write_all(&store.get(&id)?).map_err(Error::Write)?;
            }
        }
    }
    Ok(Some(()))
}

struct HashWriter<'a> {
    out: &'a mut dyn Write,
    hash: HashSink,
}

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.hash.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
