//! Makes room for what could not be written, and has it done again.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::gc::{Gc, GcOptions, JobReport};
use crate::repo::Repo;
use crate::retention::Decision;

/// Collections for one piece of work. Each frees more than the one before.
const TRIES: usize = 12;
/// Room that is made beyond what is known to be needed, for rows and the index: one part in this many.
const BEYOND: u64 = 50;
/// Work of which it is not known how much it needs is taken to need this many times what it wrote.
const GUESS: u64 = 2;
/// How long packs are waited for that another process still relies on.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

impl Repo {
    /// Does work that stores content. Where there is no room for it, a collection makes some and the work is done
    /// again; `needs` says how many bytes it takes, where that can be found out.
    pub(crate) fn with_room<T>(
        &self,
        work: impl Fn() -> Result<T>,
        needs: impl Fn() -> Result<Option<u64>>,
    ) -> Result<T> {
        let mut tries = 0;
        loop {
            let before = self.room.written();
            let done = work();
            let Err(refused) = done else { return done };
            if !self.room.has_refused() || tries == TRIES {
                return Err(refused);
            }
            tries += 1;
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
        let begun = Instant::now();
        let mut freed = 0;
        let mut removed = Vec::new();
        loop {
            self.repo.watch().check()?;
            let missing = self.repo.room.missing(needs.unwrap_or(guess))?;
            if missing == 0 {
                return Ok(true);
            }
            let (bytes, waiting) = self.free(missing)?;
            freed += bytes;
            if self.repo.room.missing(needs.unwrap_or(guess))? == 0 {
                return Ok(true);
            }
            if waiting && begun.elapsed() < PATIENCE {
                // Whoever keeps them is done at some time, or lets go of them to make room, too.
                std::thread::sleep(PAUSE);
                continue;
            }
            let least = self.repo.room.missing(needs.unwrap_or(wrote))?;
            let more = self.images_for(missing, least)?;
            if more.is_empty() && self.others_write() && begun.elapsed() < PATIENCE {
                // What they wrote so far is theirs, or nobody's soon.
                std::thread::sleep(PAUSE);
                continue;
            }
            if more.is_empty() {
                return Ok(freed > 0 && needs.is_none());
            }
            removed.extend(self.remove_for_room(more)?);
            tracing::info!(images = removed.len(), "images were removed to make room");
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
    /// where it would not help, or where there are no limits that ask for it.
    fn images_for(&self, wanted: u64, least: u64) -> Result<Vec<Decision>> {
        if !self.repo.options.retention.has_limits() {
            return Ok(Vec::new());
        }
        let images = self.least_used(wanted)?;
        let ids = images.iter().map(|image| image.id).collect();
        let freed = self
            .repo
            .with_removals(|all| self.repo.freed_together(all, &ids))?;
        match freed >= least {
            true => Ok(images),
            false => Ok(Vec::new()),
        }
    }

    fn remove_for_room(&self, mut images: Vec<Decision>) -> Result<Vec<Decision>> {
        self.carry_out(&mut images)?;
        images.retain(|image| image.remove);
        match images.is_empty() {
            // All of them are used by now.
            true => Err(Error::Invalid(
                "no image can be removed to make room".to_owned(),
            )),
            false => Ok(images),
        }
    }
}
