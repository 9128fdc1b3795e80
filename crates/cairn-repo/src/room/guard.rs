//! Watches what a repository takes while content is written.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cairn_model::Watch;
use cairn_store::Room;
use cairn_store::layout::Part;
use rustix::fs::statvfs;

use crate::error::{At, Result};
use crate::files::disk_bytes_of;
use crate::retention::Retention;

/// Bytes that may be written before the disk is looked at again. Of what is left only a part is given out at a
/// time, since others may write, too.
const STEP_BYTES: u64 = 8 << 20;
const WRITERS: u64 = 8;
/// A limit is given out in at least so many steps.
const STEPS_MIN: u64 = 512;
/// How long it is believed what views, heads and volumes take: they have many files.
const BELIEVED: Duration = Duration::from_secs(5);
/// The most that is left free on a disk without a limit, for what has to be written to remove anything.
const FLOOR_BYTES: u64 = 8 << 20;
const FULL: &str = "the disk is full";

/// Asked before content is written.
#[derive(Debug)]
pub(crate) struct Guard {
    root: PathBuf,
    watch: Watch,
    retention: Retention,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What may be written before the next look.
    left: u64,
    /// What the parts with many files take, and since when that is known.
    believed: Option<(Instant, u64)>,
    /// All that was asked for.
    written: u64,
    refused: bool,
}

impl Guard {
    pub fn new(root: &Path, watch: Watch, retention: Retention) -> Self {
        Self {
            root: root.to_owned(),
            watch,
            retention,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that were asked for so far.
    pub fn written(&self) -> u64 {
        self.state().written
    }

    /// True where it refused since it was asked last.
    pub fn has_refused(&self) -> bool {
        std::mem::take(&mut self.state().refused)
    }

    /// Bytes by which the limits are passed once `more` are written.
    pub fn missing(&self, more: u64) -> Result<u64> {
        let mut state = self.state();
        // Whoever asks is about to change what it takes.
        state.left = 0;
        state.believed = None;
        let (disk, floor) = self.disk()?;
        let short = (floor + more).saturating_sub(disk);
        let over = match self.retention.used_max {
            Some(max) => (self.used(&mut state)? + more).saturating_sub(max),
            None => 0,
        };
        Ok(over.max(short))
    }

    /// Bytes that are free, and those of all there are.
    fn free(&self) -> Result<(u64, u64)> {
        let found = statvfs(&self.root).at("stat", &self.root)?;
        // Of some file systems, ramfs among them, nothing is known.
        Ok(match found.f_blocks {
            0 => (u64::MAX, 0),
            all => (found.f_bavail * found.f_frsize, all * found.f_frsize),
        })
    }

    /// Bytes that are free, and that are to stay so.
    fn disk(&self) -> Result<(u64, u64)> {
        let (free, all) = self.free()?;
        if all == 0 {
            return Ok((free, 0));
        }
        let floor = FLOOR_BYTES.min(all / 64);
        let wanted = self.retention.free_min.unwrap_or(0).max(floor);
        Ok((free, wanted))
    }

    /// What the repository takes on the disk.
    fn used(&self, state: &mut State) -> Result<u64> {
        let (before, _) = self.free()?;
        let many = |part| matches!(part, Part::Cache | Part::Heads | Part::Volumes);
        let sum = |slow: bool| disk_bytes_of(&self.root, |part| many(part) == slow, &self.watch);
        let slow = match state.believed {
            Some((since, bytes)) if since.elapsed() < BELIEVED => bytes,
            _ => sum(true)?,
        };
        state.believed.get_or_insert((Instant::now(), slow));
        let fast = sum(false)?;
        // A walk takes its time: what was written meanwhile it may have missed.
        let written = before.saturating_sub(self.free()?.0);
        Ok(slow + fast + written)
    }

    /// Bytes that may be written now, and the limit that says so.
    fn room(&self, state: &mut State) -> Result<(u64, &'static str)> {
        let (free, floor) = self.disk()?;
        let free = free.saturating_sub(floor);
        let limit = match self.retention.free_min {
            Some(_) => "the disk would have less free than gc.min-free",
            None => FULL,
        };
        let Some(max) = self.retention.used_max else {
            return Ok((free, limit));
        };
        // Rows, the index and what a collection copies come on top: within one percent.
        let left = max.saturating_sub(self.used(state)?);
        match left < free {
            true => Ok((left, "the repository would be larger than gc.max-used")),
            false => Ok((free, limit)),
        }
    }
}

impl Room for Guard {
    fn take(&self, bytes: u64) -> std::result::Result<(), String> {
        let mut state = self.state();
        state.written += bytes;
        if let Some(left) = state.left.checked_sub(bytes) {
            state.left = left;
            return Ok(());
        }
        if state
            .believed
            .is_some_and(|(since, _)| since.elapsed() >= BELIEVED)
        {
            state.believed = None;
        }
        let (room, limit) = self
            .room(&mut state)
            .map_err(|e| cairn_model::one_line(&e))?;
        if room < bytes {
            state.refused = true;
            return Err(limit.to_owned());
        }
        // What one is given others do not see until it is written.
        let step = self
            .retention
            .used_max
            .map_or(STEP_BYTES, |max| STEP_BYTES.min(max / STEPS_MIN));
        state.left = (room / WRITERS).min(step).saturating_sub(bytes);
        Ok(())
    }

    fn ran_out(&self) -> String {
        let mut state = self.state();
        state.refused = true;
        state.left = 0;
        FULL.to_owned()
    }
}
