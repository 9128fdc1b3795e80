//! A stream compressed in blocks, several at once: each is a gzip member or zstd frame of its own, and the bytes are the
//! same on any number of threads.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use cairn_sys::threads;

/// Bytes of a block before it is compressed. What a block could have taken from the one before is lost, which is under a
/// hundredth at this size.
const BYTES: usize = 4 << 20;
/// Blocks that are held for each thread.
const AHEAD: usize = 2;

/// Makes a block of the stream of a block of what is written.
pub(crate) type Compress = Arc<dyn Fn(&[u8]) -> io::Result<Vec<u8>> + Send + Sync>;

/// A block and its place, plain on the way to a thread and compressed on the way back.
type Numbered<T> = (usize, T);

/// Compresses what is written to it, on threads that go on while more is read.
pub(crate) struct Blocks<W> {
    out: W,
    compress: Compress,
    current: Vec<u8>,
    /// Where full blocks go; closed for the threads to end. None where there are no threads.
    todo: Option<SyncSender<Numbered<Vec<u8>>>>,
    done: Receiver<Numbered<io::Result<Vec<u8>>>>,
    threads: usize,
    /// Those that came back before one in front of them.
    early: BTreeMap<usize, Vec<u8>>,
    /// How many were given away, and how many of them were written.
    given: usize,
    written: usize,
}

impl<W: Write> Blocks<W> {
    /// Blocks that `compress` makes on so many threads, one after another into `out`.
    pub fn new(out: W, count: usize, compress: Compress) -> Self {
        let (todo, jobs) = sync_channel(AHEAD * count);
        let (sender, done) = channel();
        let jobs = Arc::new(Mutex::new(jobs));
        let thread = |_| {
            let (jobs, sender, compress) = (jobs.clone(), sender.clone(), compress.clone());
            threads::start(move || work(&jobs, &sender, &*compress)).ok()
        };
        // Fewer than that are slower, and without any the blocks are compressed here.
        let threads = (0..count).filter_map(thread).count();
        Self {
            out,
            compress,
            current: Vec::with_capacity(BYTES),
            todo: (threads > 0).then_some(todo),
            done,
            threads,
            early: BTreeMap::new(),
            given: 0,
            written: 0,
        }
    }

    /// Gives the current block away.
    fn turn(&mut self, next: Vec<u8>) -> io::Result<()> {
        let block = std::mem::replace(&mut self.current, next);
        let number = self.given;
        self.given += 1;
        let Some(todo) = &self.todo else {
            self.out.write_all(&(self.compress)(&block)?)?;
            self.written += 1;
            return Ok(());
        };
        todo.send((number, block)).map_err(|_| ended())?;
        // No more are held than threads can be busy with.
        while self.given - self.written >= AHEAD * self.threads {
            self.take()?;
        }
        Ok(())
    }

    /// Waits for a block, and writes what is next.
    fn take(&mut self) -> io::Result<()> {
        let (number, block) = self.done.recv().map_err(|_| ended())?;
        self.early.insert(number, block?);
        while let Some(block) = self.early.remove(&self.written) {
            self.out.write_all(&block)?;
            self.written += 1;
        }
        Ok(())
    }

    /// The last block, and where all of them went.
    pub fn finish(mut self) -> io::Result<W> {
        // Nothing is a block as well: what was written is a stream in any case.
        if !self.current.is_empty() || self.given == 0 {
            self.turn(Vec::new())?;
        }
        while self.written < self.given {
            self.take()?;
        }
        Ok(self.out)
    }
}

/// What a thread does: a block after another, until there are no more to come.
fn work(
    jobs: &Mutex<Receiver<Numbered<Vec<u8>>>>,
    done: &Sender<Numbered<io::Result<Vec<u8>>>>,
    compress: &(dyn Fn(&[u8]) -> io::Result<Vec<u8>> + Send + Sync),
) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((number, block)) = job else { return };
        // Whoever waits for this block must hear of it.
        let answer = catch_unwind(AssertUnwindSafe(|| compress(&block)));
        if done
            .send((number, answer.unwrap_or_else(|_| Err(ended()))))
            .is_err()
        {
            return;
        }
    }
}

fn ended() -> io::Error {
    io::Error::other("a thread that compresses ended")
}

impl<W: Write> Write for Blocks<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BYTES - self.current.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.current.extend_from_slice(taken);
        if self.current.len() == BYTES {
            self.turn(Vec::with_capacity(BYTES))?;
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
        let run = |threads, bytes: usize| {
            let name = |block: &[u8]| {
                // Later ones are done sooner.
                let first = block.first().copied().unwrap_or_default();
                std::thread::sleep(std::time::Duration::from_millis(40 - 10 * u64::from(first)));
                Ok(format!("[{}x{first}]", block.len()).into_bytes())
            };
            let mut blocks = Blocks::new(Vec::new(), threads, Arc::new(name));
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
        for threads in [0, 2, 3, 8] {
            assert_eq!(run(threads, 3 * BYTES + 1), all);
        }
    }

    #[test]
    fn what_a_thread_cannot_compress_is_an_error_and_not_a_wait() {
        let fail = |_: &[u8]| Err(io::Error::other("no"));
        let panic = |_: &[u8]| panic!("a test");
        let all: [Compress; 2] = [Arc::new(fail), Arc::new(panic)];
        for compress in all {
            let mut blocks = Blocks::new(Vec::new(), 2, compress);
            let written = blocks.write_all(&vec![1; 9 * BYTES]);
            assert!(written.and_then(|()| blocks.finish()).is_err());
        }
    }
}
