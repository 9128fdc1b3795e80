//! A large blob over several connections: each brings one piece at a time into the kept part, from which it is read in
//! its order. No more is in memory than one buffer for each connection.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use cairn_image::RemoteBlob;
use ureq::http::StatusCode;

use crate::client::Client;
use crate::error::Failure;
use crate::http::broken;
use crate::meter::Meter;
use crate::pace::Pace;
use crate::partial::Partial;
use crate::retry::Tries;

const BUFFER_BYTES: usize = 128 << 10;
/// Who waits for bytes looks this often whether they are still wanted.
const STEP: Duration = Duration::from_millis(100);

/// The connections of one blob.
#[derive(Debug)]
pub(crate) struct Ranges {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    client: Arc<Client>,
    blob: RemoteBlob,
    kept: Arc<Partial>,
    generation: u64,
    meter: Arc<Meter>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The piece that is next to be fetched.
    next: usize,
    failure: Option<Failure>,
    /// True where nobody reads any more, or it has to go another way.
    ended: bool,
    /// True where the registry sends no parts.
    whole_only: bool,
}

/// What came of a wait.
pub(crate) enum Waited {
    /// There are bytes.
    Bytes,
    /// They have to be fetched over one connection.
    WholeOnly,
}

impl Ranges {
    /// Starts up to `count` connections; none where the system gives no thread.
    pub fn start(
        client: &Arc<Client>,
        blob: &RemoteBlob,
        kept: &Arc<Partial>,
        meter: &Arc<Meter>,
        count: usize,
    ) -> Option<Self> {
        let shared = Arc::new(Shared {
            client: client.clone(),
            blob: blob.clone(),
            kept: kept.clone(),
            generation: kept.generation(),
            meter: meter.clone(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let start = |_| {
            let shared = shared.clone();
            Builder::new().spawn(move || shared.work()).ok()
        };
        let workers: Vec<_> = (0..count).filter_map(start).collect();
        (!workers.is_empty()).then_some(Self { shared, workers })
    }

    /// Waits until the byte at `at` is there.
    pub fn wait(&self, at: u64) -> Result<Waited, Failure> {
        let mut state = self.shared.state();
        loop {
            if self.shared.kept.end_of(at) > at {
                return Ok(Waited::Bytes);
            }
            self.shared.client.options().watch.check()?;
            if let Some(failure) = state.failure.take() {
                return Err(failure);
            }
            // Also where nothing can be kept.
            if state.whole_only || self.shared.kept.generation() != self.shared.generation {
                return Ok(Waited::WholeOnly);
            }
            let waited = self.shared.changed.wait_timeout(state, STEP);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the connections, which have nothing left to do.
    pub fn finish(mut self) {
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Drop for Ranges {
    fn drop(&mut self) {
        // Those that are in the middle of a read find out after it.
        self.shared.state().ended = true;
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(piece) = self.claim() {
            if let Err(failure) = self.piece(piece) {
                let mut state = self.state();
                state.failure.get_or_insert(failure);
                state.ended = true;
            }
            self.changed.notify_all();
        }
    }

    /// The next piece that is not there yet.
    fn claim(&self) -> Option<usize> {
        let mut state = self.state();
        let pieces = self.kept.pieces();
        while !state.ended && state.next < pieces.count() {
            let piece = state.next;
            state.next += 1;
            if self.missing(piece).is_some() {
                return Some(piece);
            }
        }
        None
    }

    /// The first byte that is missing of a piece.
    fn missing(&self, piece: usize) -> Option<u64> {
        let pieces = self.kept.pieces();
        let at = self.kept.end_of(pieces.start(piece));
        (at < pieces.end(piece)).then_some(at)
    }

    fn piece(&self, piece: usize) -> Result<(), Failure> {
        let mut tries = Tries::new(self.client.options().retries);
        loop {
            let Err(failure) = self.try_piece(piece, &mut tries) else {
                return Ok(());
            };
            if self.state().ended {
                return Ok(());
            }
            tries.next(failure, &self.client.options().watch)?;
        }
    }

    /// Brings what is missing of a piece, as far as the connection holds.
    fn try_piece(&self, piece: usize, tries: &mut Tries) -> Result<(), Failure> {
        let _slot = self.client.slots().take(&self.client.options().watch)?;
        let Some(mut at) = self.missing(piece) else {
            return Ok(());
        };
        let end = self.kept.pieces().end(piece);
        let answer = self.client.part(&self.blob, at, Some(end))?;
        if answer.status != StatusCode::PARTIAL_CONTENT {
            let mut state = self.state();
            (state.whole_only, state.ended) = (true, true);
            return Ok(());
        }
        let mut body = answer.stream().take(end - at);
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut pace = Pace::new(at);
        while at < end {
            let read = body.read(&mut buffer).map_err(|e| broken(&e))?;
            if read == 0 {
                return Err(Failure::passing("the connection ended too early"));
            }
            let known = self.kept.append(&buffer[..read], at, self.generation);
            if !known || self.state().ended {
                return Ok(());
            }
            at += read as u64;
            self.meter.add(read as u64);
            self.changed.notify_all();
            pace.keep(at, tries, self.client.options().silence_max)?;
        }
        Ok(())
    }
}
