//! What monitor and clients write to: descriptors that may not block, and a terminal that may be gone.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::Errno;

/// The end of the container's terminal that the monitor has; closed as soon as nobody shows it any more.
pub type Terminal = Arc<Mutex<Option<OwnedFd>>>;

/// Writes all of it, however often the descriptor gives way; false where it does not take it.
pub(crate) fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            // The caller's own descriptor may be one that does not block.
            Err(Errno::AGAIN) => {
                let _ = poll(
                    &mut [PollFd::new(to, PollFlags::POLLOUT)],
                    PollTimeout::NONE,
                );
            }
            Err(_) => return false,
        }
    }
    true
}
