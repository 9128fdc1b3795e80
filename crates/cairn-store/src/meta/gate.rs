//! Where threads of one process queue for the database, before the lock between processes.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::session::Session;

/// How long threads of one process hand an open database on while others of other processes may wait.
const LINGER: Duration = Duration::from_millis(30);

/// A session that is kept open between uses while somebody holds the database, or waits for it.
#[derive(Default)]
pub struct Gate {
    pub session: Option<Session>,
    pub holds: usize,
}

/// The queue in front of it.
#[derive(Default)]
pub struct Queue {
    gate: Mutex<Gate>,
    waiting: AtomicUsize,
}

impl Queue {
    /// Waits for its turn.
    pub fn enter(&self) -> MutexGuard<'_, Gate> {
        self.waiting.fetch_add(1, Relaxed);
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Relaxed);
        gate
    }

    /// Leaves the session open for the next use where the database is held, or other threads of this process want
    /// it now and other processes have not waited for long; else closes it.
    pub fn keep(&self, gate: &mut Gate, session: Session) {
        let is_wanted = self.waiting.load(Relaxed) > 0 && session.since.elapsed() < LINGER;
        if gate.holds > 0 || is_wanted {
            gate.session = Some(session);
        }
    }
}
