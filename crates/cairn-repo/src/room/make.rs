//! Makes room for what could not be written, and has it done again.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::gc::{Gc, GcOptions, JobReport};
use crate::repo::Repo;
use crate::retention::Decision;

/// Collections for one piece of work. Each frees more than the one before.
const TRIES: usize = 12;
/// Room that is made beyond what is known to be needed, for rows and the index: one part in this many.
const BEYOND: u64 = 50;
/// Work of which it is not known how much it needs is taken to need this many times what it wrote.
const GUESS: u64 = 2;
/// How long others are waited for while nothing changes, and in all.
const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_MAX: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(100);

impl Repo {
    /// Does work that stores content. Where there is no room for it, a collection makes some and the work is done
    /// again; `needs` says how many bytes it takes, where that can be found out.
    pub(crate) fn with_room<T>(
        &self,
        work: impl Fn() -> Result<T>,
        needs: impl Fn() -> Result<Option<u64>>,
    ) -> Result<T> {
        let (mut tries, mut others, begun) = (0, false, Instant::now());
        loop {
            let before = self.room.written();
            let done = work();
            let Err(refused) = done else { return done };
            // Others may take what was made for this.
            others |= self.gc().others_write();
            let is_last = tries >= TRIES && !(others && begun.elapsed() < PATIENCE_MAX);
            if !self.room.has_refused() || is_last {
                return Err(refused);
            }
            tries += 1;
            if tries > TRIES {
                std::thread::sleep(PAUSE);
            }
            let wrote = self.room.written() - before;
            let needs = needs()?.map(|bytes| bytes + bytes / BEYOND);
            if !self.gc().make_room_for(wrote, needs)? {
                return Err(refused);
            }
        }
    }
}

impl Gc<'_> {
    /// Makes room for work that wrote `wrote` bytes when there was none left; false where there is none to be had,
    /// and then nothing was removed for it.
    fn make_room_for(&self, wrote: u64, needs: Option<u64>) -> Result<bool> {
        let guess = wrote.saturating_mul(GUESS);
        let mut waiting = Waiting::new();
        let mut freed = 0;
        loop {
            self.repo.watch().check()?;
            let missing = self.repo.room.missing(needs.unwrap_or(guess))?;
            if missing == 0 {
                return Ok(true);
            }
            let (bytes, packs_wait) = self.free(missing)?;
            freed += bytes;
            let missing = self.repo.room.missing(needs.unwrap_or(guess))?;
            if missing == 0 {
                return Ok(true);
            }
            // Whoever keeps packs is done at some time, or lets go of them to make room, too.
            if packs_wait && waiting.goes_on(missing) {
                std::thread::sleep(PAUSE);
                continue;
            }
            let least = self.repo.room.missing(needs.unwrap_or(wrote))?;
            let (more, may_be_more) = self.images_for(missing, least)?;
            if more.is_empty() {
                let changed = self.repo.room.missing(needs.unwrap_or(guess))? != missing;
                // What others wrote so far is theirs, or nobody's soon.
                let is_open = may_be_more || changed || self.others_write();
                if !is_open || !waiting.goes_on(missing) {
                    return Ok(freed > 0 && needs.is_none());
                }
                std::thread::sleep(PAUSE);
                continue;
            }
            let removed = self.remove_for_room(more)?;
            tracing::info!(images = removed, "images were removed to make room");
            // Others were quicker, or use them by now: what is there now is looked at anew.
            if removed == 0 {
                if !waiting.goes_on(missing) {
                    return Ok(false);
                }
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// True where another process holds a lease: this one has given its own up.
    fn others_write(&self) -> bool {
        let leases = std::fs::read_dir(self.repo.layout().leases());
        leases.is_ok_and(|mut leases| leases.next().is_some())
    }

    /// Frees what nothing needs, and of the cache what is not in use; true where packs wait for another process.
    fn free(&self, missing: u64) -> Result<(u64, bool)> {
        let mut job = JobReport::default();
        let report = self.collect_within(&GcOptions::default())?;
        let waiting = report.waiting_bytes > 0;
        job.report = report;
        if job.freed_bytes() < missing {
            self.shrink_cache(missing - job.freed_bytes(), &mut job)?;
        }
        Ok((job.freed_bytes(), waiting))
    }

    /// The images to remove so that `wanted` bytes are freed, or all that may go where that frees `least`; none
    /// where it would not help, or where there are no limits that ask for it. Also whether it may help later: while
    /// somebody else writes, no pack is freed.
    fn images_for(&self, wanted: u64, least: u64) -> Result<(Vec<Decision>, bool)> {
        if !self.repo.options.retention.has_limits() {
            return Ok((Vec::new(), false));
        }
        let images = self.least_used(wanted)?;
        let ids = images.iter().map(|image| image.id).collect();
        let policy = self.repo.options.gc;
        let (would, _) = self
            .repo
            .with_removals(|all| self.repo.collected_without(all, &ids, policy))?;
        match would.freed_bytes() >= least {
            true => Ok((images, false)),
            false => Ok((Vec::new(), would.waiting_bytes > 0)),
        }
    }

    /// Removes these images; how many went.
    fn remove_for_room(&self, mut images: Vec<Decision>) -> Result<usize> {
        self.carry_out(&mut images)?;
        Ok(images.iter().filter(|image| image.remove).count())
    }
}

/// Waits for others as long as something changes.
struct Waiting {
    begun: Instant,
    changed: Instant,
    missing: u64,
}

impl Waiting {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            changed: Instant::now(),
            missing: 0,
        }
    }

    /// True while it is worth it: `missing` bytes are missing now.
    fn goes_on(&mut self, missing: u64) -> bool {
        if missing != self.missing {
            (self.missing, self.changed) = (missing, Instant::now());
        }
        self.changed.elapsed() < PATIENCE && self.begun.elapsed() < PATIENCE_MAX
    }
}
