//! A stream compressed in blocks, several at once: each is a gzip member or zstd frame of its own, and the bytes are the
//! same on any number of threads.

use std::io::{self, Write};

use cairn_sys::threads;

/// Bytes of a block before it is compressed. What a block could have taken from the one before is lost, which is under a
/// hundredth at this size.
const BYTES: usize = 4 << 20;

/// Compresses what is written to it.
pub(crate) struct Blocks<W, C> {
    out: W,
    compress: C,
    full: Vec<Vec<u8>>,
    current: Vec<u8>,
    /// How many are compressed at once.
    threads: usize,
    written: bool,
}

impl<W: Write, C: Fn(&[u8]) -> io::Result<Vec<u8>> + Sync> Blocks<W, C> {
    /// Blocks that `compress` makes, one after another into `out`.
    pub fn new(out: W, threads: usize, compress: C) -> Self {
        Self {
            out,
            compress,
            full: Vec::new(),
            current: Vec::with_capacity(BYTES),
            threads: threads.max(1),
            written: false,
        }
    }

    /// Compresses what is full; it begins the next block with an empty one.
    fn turn(&mut self) -> io::Result<()> {
        for block in threads::map(self.threads, &self.full, |block| (self.compress)(block))? {
            self.out.write_all(&block)?;
            self.written = true;
        }
        self.full.clear();
        Ok(())
    }

    /// The last block, and where all of them went.
    pub fn finish(mut self) -> io::Result<W> {
        let last = std::mem::take(&mut self.current);
        // Nothing is a block as well: what was written is a stream in any case.
        if !last.is_empty() || (self.full.is_empty() && !self.written) {
            self.full.push(last);
        }
        self.turn()?;
        Ok(self.out)
    }
}

impl<W: Write, C: Fn(&[u8]) -> io::Result<Vec<u8>> + Sync> Write for Blocks<W, C> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BYTES - self.current.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.current.extend_from_slice(taken);
        if self.current.len() == BYTES {
            let next = Vec::with_capacity(BYTES);
            self.full.push(std::mem::replace(&mut self.current, next));
        }
        if self.full.len() == self.threads {
            self.turn()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_in_order_and_are_the_same_on_any_number_of_threads() {
        let name = |block: &[u8]| {
            Ok(format!("[{}x{}]", block.len(), block.first().unwrap_or(&0)).into_bytes())
        };
        let run = |threads, bytes: usize| {
            let mut blocks = Blocks::new(Vec::new(), threads, name);
            for at in 0..bytes.div_ceil(1000) {
                let value = (at * 1000 / BYTES) as u8;
                let part = vec![value; 1000.min(bytes - at * 1000)];
                blocks.write_all(&part).unwrap();
            }
            String::from_utf8(blocks.finish().unwrap()).unwrap()
        };
        assert_eq!(run(1, 0), "[0x0]");
        assert_eq!(run(2, 5), "[5x0]");
        assert_eq!(run(2, BYTES), format!("[{BYTES}x0]"));
        let all = run(1, 3 * BYTES + 1);
        assert!(
            all.matches('[').count() == 4 && all.ends_with("[1x2]"),
            "{all}"
        );
        for threads in [2, 3, 8] {
            assert_eq!(run(threads, 3 * BYTES + 1), all);
        }
    }
}
