//! The one crate that holds `unsafe` code, so that every other crate can forbid it.
//!
//! Promises: each function here is safe to call with any argument. Nothing here knows what Cairn is.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;

/// A read-only memory map of a whole file.
///
/// Cairn maps only files that are written once under a temporary name, synced, renamed and from then
/// on never changed or truncated, only unlinked; a map of an unlinked file stays valid.
#[derive(Debug)]
pub struct Map(Option<memmap2::Mmap>);

impl Map {
    /// Maps `file`. An empty file gives an empty map (the kernel refuses to map nothing).
    pub fn of(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: the bytes could change under us only if somebody truncated or overwrote the file;
        // the type's contract above says that such files are immutable once they have their name.
        let map = unsafe { memmap2::Mmap::map(file)? };
        Ok(Self(Some(map)))
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// Marks every descriptor from `first` upwards close-on-exec (close_range(2), Linux 5.11), so that a
/// process launched next inherits none by accident.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: close_range with CLOSE_RANGE_CLOEXEC only changes descriptor flags; no memory is passed.
    let rc = unsafe { libc::close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Asks the kernel to start writing the range back, without waiting (sync_file_range(2)). A later
/// fsync then finds little left to do. Advice only: errors are of no consequence and not reported.
pub fn start_writeback(file: &File, offset: u64, len: u64) {
    // SAFETY: the call takes a valid descriptor and two integers and touches no memory of ours.
    unsafe {
        libc::sync_file_range(
            file.as_raw_fd(),
            offset as libc::off64_t,
            len as libc::off64_t,
            libc::SYNC_FILE_RANGE_WRITE,
        );
    }
}
