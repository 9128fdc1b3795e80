//! Layers as they lie in an archive: compressed or not, checked against their digest while read.

use std::io::{self, Read};
use std::thread::JoinHandle;

use cairn_model::{Digest, Watch};
use cairn_sys::threads;
use sha2::Digest as _;

use crate::error::{Error, Result};
use crate::gunzip::Gunzip;

const BLOCK_BYTES: usize = 1 << 20;
const BLOCKS_AHEAD: usize = 4;
/// Bytes of a tar's first header.
const BEGINNING_BYTES: u64 = 512;
/// Largest zstd window taken, as a power of two: 128 MiB, what `zstd --long=27` writes.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// A reader that hashes and counts what passes.
struct Hashing<'a, R> {
    inner: R,
    watch: &'a Watch,
    hasher: Option<sha2::Sha256>,
    bytes: u64,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&out[..read]);
        }
        self.bytes += read as u64;
        self.watch.read(read as u64);
        Ok(read)
    }
}

/// What a stream begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Gzip,
    Zstd,
}

/// The first bytes of a stream, as many as it takes to tell what it is.
pub fn beginning(inner: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    inner.take(BEGINNING_BYTES).read_to_end(&mut start)?;
    Ok(start)
}

/// True for a stream that [`decompressed`] would change or refuse.
pub fn is_compressed(start: &[u8]) -> bool {
    !matches!(form(start), Ok(Form::Plain))
}

/// A tar is one by its first header, whatever bytes its first name begins with.
fn form(start: &[u8]) -> Result<Form> {
    if start
        .get(..BEGINNING_BYTES as usize)
        .is_some_and(cairn_layer::is_tar_header)
    {
        return Ok(Form::Plain);
    }
    let foreign = |name: &str| {
        Err(Error::invalid(
            "compression",
            format!("{name} is not supported; recompress with gzip or zstd"),
        ))
    };
    match start {
        [0x1f, 0x8b, ..] => Ok(Form::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Form::Zstd),
        [s, 0x2a, 0x4d, 0x18, ..] if s & 0xf0 == 0x50 => Ok(Form::Zstd),
        [b'B', b'Z', b'h', ..] => foreign("bzip2"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => foreign("xz"),
        _ => Ok(Form::Plain),
    }
}

/// `inner` decompressed, by what it begins with.
pub fn decompressed<'a>(mut inner: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let start = beginning(&mut inner).map_err(|e| Error::invalid("stream", e))?;
    let form = form(&start)?;
    let whole = io::Cursor::new(start).chain(inner);
    Ok(match form {
        Form::Plain => Box::new(whole),
        Form::Gzip => Box::new(Gunzip::new(io::BufReader::with_capacity(1 << 17, whole))),
        Form::Zstd => {
            let fail = |e| Error::invalid("zstd stream", e);
            let mut decoder = zstd::Decoder::new(whole).map_err(fail)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(fail)?;
            Box::new(decoder)
        }
    })
}

/// A layer's tar, read and decompressed on a thread of its own. The end is reported only after all
/// compressed bytes were read and found to have the digest that names them.
#[derive(Debug)]
pub struct LayerStream {
    receiver: Option<std::sync::mpsc::Receiver<io::Result<Vec<u8>>>>,
    thread: Option<JoinHandle<()>>,
    block: Vec<u8>,
    at: usize,
}

impl LayerStream {
    /// Starts reading a layer as it is stored, which should have `digest` if one is known; `watch` is told
    /// of these bytes.
    pub fn start(
        stored: impl Read + Send + 'static,
        digest: Option<Digest>,
        watch: &Watch,
    ) -> Self {
        let watch = watch.clone();
        let (sender, receiver) = std::sync::mpsc::sync_channel(BLOCKS_AHEAD);
        let refused = sender.clone();
        let thread = threads::start(move || {
            let mut send = |block| sender.send(block).is_ok();
            if let Err(e) = pump(stored, digest, &watch, &mut send) {
                send(Err(e));
            }
        });
        // Told to whoever reads; there is room for it, since nobody else sent anything.
        let thread = thread.map_err(|e| refused.send(Err(e))).ok();
        Self {
            receiver: Some(receiver),
            thread,
            block: Vec::new(),
            at: 0,
        }
    }
}

/// Reads to the end, handing on blocks; stops early where nobody takes them.
fn pump(
    stored: impl Read,
    digest: Option<Digest>,
    watch: &Watch,
    send: &mut dyn FnMut(io::Result<Vec<u8>>) -> bool,
) -> io::Result<()> {
    let mut raw = Hashing {
        inner: stored,
        watch,
        hasher: digest.map(|_| sha2::Sha256::new()),
        bytes: 0,
    };
    {
        let mut plain = decompressed(&mut raw).map_err(io::Error::other)?;
        loop {
            let mut block = Vec::with_capacity(BLOCK_BYTES);
            (&mut plain)
                .take(BLOCK_BYTES as u64)
                .read_to_end(&mut block)?;
            if block.is_empty() {
                break;
            }
            if !send(Ok(block)) {
                return Ok(());
            }
        }
    }
    io::copy(&mut raw, &mut io::sink())?;
    if let (Some(expected), Some(hasher)) = (digest, raw.hasher) {
        let actual = Digest::from_bytes(hasher.finalize().into());
        if actual != expected {
            return Err(io::Error::other(Error::Digest {
                what: format!("layer blob of {} bytes", raw.bytes),
                expected,
                actual,
            }));
        }
    }
    Ok(())
}

impl Read for LayerStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            let Some(receiver) = &self.receiver else {
                return Ok(0);
            };
            match receiver.recv() {
                Ok(block) => (self.block, self.at) = (block?, 0),
                Err(_) => {
                    self.receiver = None;
                    let died = self
                        .thread
                        .take()
                        .is_some_and(|thread| thread.join().is_err());
                    return if died {
                        Err(io::Error::other("the thread that reads the layer failed"))
                    } else {
                        Ok(0)
                    };
                }
            }
        }
        let n = out.len().min(self.block.len() - self.at);
        out[..n].copy_from_slice(&self.block[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

impl Drop for LayerStream {
    fn drop(&mut self) {
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            // Its only news would be a panic, which has been printed.
            let _ = thread.join();
        }
    }
}
