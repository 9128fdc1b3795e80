//! The tar of a layer, written from blobs as it is read.

use std::io::{self, BufWriter, PipeReader, Read, Write};
use std::thread::JoinHandle;

use cairn_layer::{Layer, export_layer};
use cairn_store::Store;
use cairn_sys::threads;

/// A tar on its way from a thread that writes it.
struct Rebuilt {
    tar: Option<PipeReader>,
    writer: Option<JoinHandle<io::Result<()>>>,
}

/// The tar of a layer all blobs of which are there. It is not verified: a wrong blob, or one that is missing, is an
/// error at the end of it.
pub(crate) fn rebuilt(store: &Store, layer: &Layer) -> io::Result<Box<dyn Read + Send>> {
    let (tar, pipe) = io::pipe()?;
    let (store, layer) = (store.clone(), *layer);
    let writer = threads::start(move || {
        let mut out = BufWriter::with_capacity(1 << 16, pipe);
        export_layer(&store, &layer, &mut out).map_err(io::Error::other)?;
        out.flush()
    })?;
    Ok(Box::new(Rebuilt {
        tar: Some(tar),
        writer: Some(writer),
    }))
}

impl Read for Rebuilt {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(tar) = &mut self.tar else {
            return Ok(0);
        };
        let read = tar.read(out)?;
        if read == 0
            && !out.is_empty()
            && let Some(writer) = self.writer.take()
        {
            writer
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the writer of the layer gave up")))?;
        }
        Ok(read)
    }
}

impl Drop for Rebuilt {
    fn drop(&mut self) {
        // The writer finds that nobody reads any more.
        self.tar = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}
