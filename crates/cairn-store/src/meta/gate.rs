//! Where threads of one process queue for the database, before the lock between processes.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::known::Known;
use super::session::Session;

/// How long threads of one process hand an open database on while others of other processes may wait.
const LINGER: Duration = Duration::from_millis(30);

/// A session that is kept open between uses while somebody holds the database, or waits for it.
#[derive(Default)]
pub struct Gate {
    pub session: Option<Session>,
    pub holds: usize,
    /// All rows as they were at the last use, where they are few enough.
    pub known: Option<Known>,
    /// Generation of the journal, and from which length on it may be mostly history.
    pub full_at: Option<(u64, u64)>,
    /// This process has opened sled: it is one that comes again.
    pub comes_again: bool,
}

impl Gate {
    /// Closes the session if it is open, and remembers what it knew.
    pub fn close(&mut self) {
        if let Some(session) = self.session.take() {
            self.known = session.into_known();
        }
    }

    /// Closes the session and remembers nothing.
    pub fn forget(&mut self) {
        self.session = None;
        self.known = None;
        self.comes_again = false;
    }
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
        gate.session = Some(session);
        if gate.holds == 0 && !is_wanted {
            gate.close();
        }
    }
}
