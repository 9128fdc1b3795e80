//! Makes a file that is still being written durable up to where it is, beside the writing, so that
//! the sync at its end has little left to wait for.

use std::fs::File;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Syncs one file from a thread of its own.
#[derive(Debug)]
pub struct SyncAhead {
    sender: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl SyncAhead {
    /// Starts a thread for `file`.
    pub fn start(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        let (sender, wishes) = sync_channel(1);
        let thread = cairn_sys::threads::start(move || {
            // The kernel reports a failed write once to whoever syncs next, so an error here must not
            // be lost: it is handed over in `finish`.
            wishes.into_iter().try_for_each(|()| file.sync_data())
        })?;
        Ok(Self { sender, thread })
    }

    /// Asks for a sync; does not wait, and does nothing where one is asked for already.
    pub fn wish(&self) {
        let _ = self.sender.try_send(());
    }

    /// Waits for the last one; says what went wrong in any.
    pub fn finish(self) -> io::Result<()> {
        drop(self.sender);
        let died = || io::Error::other("the thread that syncs died");
        self.thread.join().unwrap_or_else(|_| Err(died()))
    }
}
