//! Work shared out to threads, on as many as there may be.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Runs `work` on up to `count` threads, this one among them, until all have come to their end. `work` takes
/// its portions from a place they share, so that it makes no difference how many the system gives.
pub fn on_threads(count: usize, work: &(dyn Fn() + Sync)) {
    std::thread::scope(|scope| {
        for _ in 1..count {
            // No more threads, or no memory for one: those that are there do it.
            if Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
}

/// Starts a thread; the system may refuse.
pub fn start<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().spawn(work)
}
