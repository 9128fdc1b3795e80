//! SHA-256 of a tar, beside those who make it.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use cairn_model::Digest;
use cairn_sys::threads;
use sha2::Digest as _;

const HASH_BLOCK_BYTES: usize = 256 * 1024;
const HASH_BLOCKS_AHEAD: usize = 4;

/// Counts and hashes, and keeps nothing. The hashing has a thread of its own: with reading and compressing it would hold up the others.
pub struct HashSink {
    hashing: Hashing,
    block: Vec<u8>,
    bytes: u64,
}

enum Hashing {
    Beside(Beside),
    /// The system gave no thread.
    Here(sha2::Sha256),
}

struct Beside {
    sender: SyncSender<Vec<u8>>,
    used: Receiver<Vec<u8>>,
    thread: JoinHandle<sha2::Sha256>,
}

fn died() -> io::Error {
    io::Error::other("the thread that hashes the layer died")
}

impl HashSink {
    pub fn start() -> Self {
        let (sender, full) = sync_channel::<Vec<u8>>(HASH_BLOCKS_AHEAD);
        let (empty, used) = sync_channel(HASH_BLOCKS_AHEAD + 1);
        let thread = threads::start(move || {
            let mut hasher = sha2::Sha256::new();
            for mut block in full {
                hasher.update(&block);
                block.clear();
                // Only saves an allocation.
                let _ = empty.try_send(block);
            }
            hasher
        });
        let beside = |thread| Beside {
            sender,
            used,
            thread,
        };
        Self {
            hashing: thread.map_or_else(
                |_| Hashing::Here(sha2::Sha256::new()),
                |thread| Hashing::Beside(beside(thread)),
            ),
            block: Vec::new(),
            bytes: 0,
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        match &mut self.hashing {
            Hashing::Here(hasher) => {
                hasher.update(&self.block);
                self.block.clear();
                Ok(())
            }
            Hashing::Beside(beside) => {
                let used = beside.used.try_recv();
                let empty = used.unwrap_or_else(|_| Vec::with_capacity(2 * HASH_BLOCK_BYTES));
                let full = std::mem::replace(&mut self.block, empty);
                beside.sender.send(full).map_err(|_| died())
            }
        }
    }

    /// The digest and the number of bytes of all that was written.
    pub fn finish(mut self) -> io::Result<(Digest, u64)> {
        self.turn()?;
        let hasher = match self.hashing {
            Hashing::Here(hasher) => hasher,
            Hashing::Beside(Beside { sender, thread, .. }) => {
                drop(sender);
                thread.join().map_err(|_| died())?
            }
        };
        Ok((Digest::from_bytes(hasher.finalize().into()), self.bytes))
    }
}

impl Write for HashSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.block.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        if self.block.len() >= HASH_BLOCK_BYTES {
            self.turn()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
