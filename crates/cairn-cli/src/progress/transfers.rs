//! Blobs on their way to or from a registry: a bar for each and one for all, or events as JSON.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cairn_model::Digest;
use cairn_repo::{Transfer, TransferState};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};

use super::{styled, target};
use crate::args::Progress;
use crate::output;
use crate::report::transfer::TransferLine;

/// So often the events of one blob are told, its last one apart.
const EVERY: Duration = Duration::from_millis(200);

/// Progress of transfers. The first of its clones that goes ends it.
#[derive(Clone)]
pub struct Transfers(Arc<Shared>);

struct Shared {
    lines: MultiProgress,
    all: ProgressBar,
    json: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    reference: String,
    blobs: HashMap<Digest, Blob>,
    done: u64,
    total: u64,
}

struct Blob {
    bar: ProgressBar,
    since: Instant,
    /// Bytes that were there then.
    from: u64,
    told: Option<Instant>,
}

impl Transfers {
    /// Says what is being done, in the form that is wanted.
    pub fn new(verb: &str, form: Progress) -> Self {
        let target = match form {
            Progress::Auto => target(),
            Progress::Json | Progress::None => ProgressDrawTarget::hidden(),
        };
        let lines = MultiProgress::with_draw_target(target);
        let all = styled(lines.add(ProgressBar::new(0)), verb);
        Self(Arc::new(Shared {
            lines,
            all,
            json: form == Progress::Json,
            state: Mutex::default(),
        }))
    }

    /// What follows is about this image.
    pub fn begin(&self, reference: &str) {
        let mut state = self.state();
        state.reference = reference.to_owned();
        state.blobs.clear();
    }

    /// Says something while the bars are out of the way.
    pub fn aside(&self, say: impl FnOnce()) {
        self.0.lines.suspend(say);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blob(&self, transfer: &Transfer) -> Blob {
        let bar = ProgressBar::new(transfer.total);
        let bar = self.0.lines.insert_before(&self.0.all, bar);
        Blob {
            bar: styled(bar, &transfer.digest.short()),
            since: Instant::now(),
            from: transfer.bytes,
            told: None,
        }
    }
}

impl Drop for Transfers {
    fn drop(&mut self) {
        self.0.all.finish_and_clear();
        for blob in self.state().blobs.values() {
            blob.bar.finish_and_clear();
        }
    }
}

impl cairn_repo::Progress for Transfers {
    fn total(&self, bytes: u64) {
        self.state().total += bytes;
        self.0.all.inc_length(bytes);
    }

    fn read(&self, bytes: u64) {
        self.state().done += bytes;
        self.0.all.inc(bytes);
    }

    fn transfer(&self, transfer: &Transfer) {
        let mut state = self.state();
        let (done, total) = (state.done, state.total);
        let reference = state.reference.clone();
        let blob = state
            .blobs
            .entry(transfer.digest)
            .or_insert_with(|| self.blob(transfer));
        blob.bar.set_position(transfer.bytes);
        let ended = transfer.state != TransferState::Moving;
        if ended {
            blob.bar.finish_and_clear();
        }
        if !self.0.json || (!ended && blob.told.is_some_and(|told| told.elapsed() < EVERY)) {
            return;
        }
        blob.told = Some(Instant::now());
        let seconds = blob.since.elapsed().as_secs_f64();
        let came = transfer.bytes.saturating_sub(blob.from);
        let line = TransferLine::new(&reference, transfer, came as f64 / seconds.max(0.001));
        output::event(&line.of(done, total));
    }

    fn passed_over(&self, what: &str, why: &str) {
        self.aside(|| output::say(&format!("skipped {what}: {why}")));
    }
}
