//! The database: reads and transactions.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use cairn_model::Watch;

use super::boot_rows::BootRows;
use super::engine;
use super::gate::{Gate, Queue};
use super::journal::{self, AllRows, Journal, Mark, Tail};
use super::known::{KNOWN_BYTES_MAX, Known};
use super::lock::{Notice, RepositoryLock};
use super::record::Changes;
use super::rows::Rows;
use super::session::{self, Base, Session};
use super::{mirror, txn::Txn};
use crate::disk::Disk;
use crate::error::{Error, IoContext, Result};
use crate::layout::Layout;

/// The journal is rewritten when it is longer than this and mostly history, bytes.
const JOURNAL_BYTES_MAX: u64 = 8 << 20;

/// A journal of no more bytes is read instead of the database: that costs less than opening sled, which syncs its files
/// each time.
const SHORT_JOURNAL_BYTES: u64 = 4 << 20;
/// One of more bytes is written anew where it is mostly history and read each time.
const LONG_JOURNAL_BYTES: u64 = 128 << 10;
/// History that a compaction leaves in the journal, bytes.
const SLACK_BYTES: u64 = 32 << 10;
/// What sled takes for next to nothing, bytes.
const SLED_BYTES_MIN: u64 = 640 << 10;

/// Opens the database for one use at a time.
pub struct Db {
    pub(super) root: PathBuf,
    pub(super) disk: Disk,
    notice: Option<Notice>,
    watch: Watch,
    patience: Option<Duration>,
    /// Threads of this process queue here, before the lock between processes.
    queue: Queue,
}

/// Keeps the database open, and the repository lock with it, between the short uses of one command.
#[must_use = "the database is let go when this is dropped"]
#[derive(Debug)]
pub struct Hold<'a>(&'a Db);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut gate = self.0.gate();
        gate.holds -= 1;
        if gate.holds == 0 {
            gate.close();
        }
    }
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Db {
    /// A handle; nothing is opened yet.
    pub fn new(root: &Path, disk: Disk, notice: Option<Notice>) -> Self {
        Self {
            root: root.to_owned(),
            disk,
            notice,
            watch: Watch::default(),
            patience: None,
            queue: Queue::default(),
        }
    }

    /// The same; waiting for the lock ends when `watch` is cancelled.
    pub fn watched(self, watch: Watch) -> Self {
        Self { watch, ..self }
    }

    /// The same; the lock is waited for no longer than this, where it is said.
    pub fn patient(self, patience: Option<Duration>) -> Self {
        Self { patience, ..self }
    }

    /// Creates the journal of a new repository; one that is there stays. The caller holds the lock.
    pub(crate) fn create(&self) -> Result<()> {
        let path = self.journal_path();
        if !path.exists() {
            Journal::checkpoint(&self.disk, &path, Mark::default(), Vec::new())?;
        }
        Ok(())
    }

    pub(super) fn journal_path(&self) -> PathBuf {
        Layout::of(&self.root).journal()
    }

    pub(super) fn sled_path(&self) -> PathBuf {
        Layout::of(&self.root).db()
    }

    pub(super) fn gate(&self) -> MutexGuard<'_, Gate> {
        self.queue.enter()
    }

    /// Keeps the database open until the guard goes, so that several uses in a row cost one opening.
    /// For moments only: other processes wait meanwhile. Long work in between calls [`Db::release`].
    pub fn hold(&self) -> Hold<'_> {
        self.gate().holds += 1;
        Hold(self)
    }

    /// Lets go of the database although it is held; the next use opens it again.
    pub fn release(&self) {
        self.gate().close();
    }

    /// Does short work beside the database under the repository lock.
    pub fn locked<T>(&self, f: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut gate = self.gate();
        let _lock = if gate.session.is_none() {
            Some(self.lock()?)
        } else {
            None
        };
        let out = f();
        if let Some(session) = gate.session.take() {
            self.queue.keep(&mut gate, session);
        }
        out
    }

    /// Tells the user something that stops nothing.
    pub fn say(&self, words: &str) {
        if let Some(notice) = &self.notice {
            notice.says(words);
        }
    }

    pub(super) fn lock(&self) -> Result<RepositoryLock> {
        let path = Layout::of(&self.root).lock();
        RepositoryLock::acquire(&path, self.notice.as_ref(), &self.watch, self.patience)
    }

    fn session(&self, gate: &mut Gate) -> Result<Session> {
        let lock = self.lock()?;
        if lock.is_read_only() {
            return self.read_only(lock);
        }
        let (base, journal, mark) = match self.journal_alone(gate)? {
            Some((rows, journal, mark)) => (Base::Memory(rows), journal, mark),
            None => {
                gate.comes_again = true;
                self.by_sled()?
            }
        };
        mirror::follow(&self.journal_path());
        let mut session = Session {
            base: RefCell::new(base),
            sick: RefCell::default(),
            journal: Some(journal),
            mark,
            passing: BootRows::open(&self.root)?,
            root: self.root.clone(),
            since: Instant::now(),
            _lock: lock,
        };
        let long = match &*session.base.borrow() {
            Base::Memory(_) => LONG_JOURNAL_BYTES,
            _ => JOURNAL_BYTES_MAX,
        };
        let Mark {
            generation, offset, ..
        } = session.mark;
        if offset > long && gate.full_at.is_none_or(|at| (generation, offset) > at) {
            // Counting takes as long as all rows are many.
            let most = 4 * session.rows_bytes()?;
            gate.full_at = Some((generation, most));
            if offset > most {
                session.checkpoint()?;
            }
        }
        Ok(session)
    }

    /// All rows and the journal to write to, where that is short and whole: then sled is not opened at all. It
    /// falls behind and catches up when it is opened the next time. Its second copy is the journal's copy.
    fn journal_alone(&self, gate: &mut Gate) -> Result<Option<(AllRows, Journal, Mark)>> {
        let Some(Known { rows, mark, .. }) = self.known(gate)? else {
            return Ok(None);
        };
        let journal = Journal::open(&self.disk, &self.journal_path())?;
        Ok(journal.map(|journal| (rows, journal, mark)))
    }

    /// All rows without sled: those that this process had before with what came since, or those of a short journal.
    fn known(&self, gate: &mut Gate) -> Result<Option<Known>> {
        let path = self.journal_path();
        if let Some(known) = gate.known.take().and_then(|known| known.caught_up(&path)) {
            return Ok(Some(known));
        }
        let bytes_max = match gate.comes_again {
            true => KNOWN_BYTES_MAX,
            false => SHORT_JOURNAL_BYTES,
        };
        Known::read(&path, bytes_max)
    }

    /// Rows of a repository that cannot be written to.
    fn read_only(&self, lock: RepositoryLock) -> Result<Session> {
        let path = self.journal_path();
        let content = journal::read(&path)?;
        if content.tail == Tail::Damaged {
            return Err(journal::damaged(&path));
        }
        Ok(Session {
            base: RefCell::new(Base::Memory(content.rows)),
            sick: RefCell::default(),
            journal: None,
            mark: content.mark,
            passing: BootRows::open(&self.root)?,
            root: self.root.clone(),
            since: Instant::now(),
            _lock: lock,
        })
    }

    /// Reads, at one moment.
    pub fn read<T, E: From<Error>>(
        &self,
        f: impl FnOnce(&dyn Rows) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut gate = self.gate();
        if gate.session.is_none() && gate.holds == 0 {
            let _lock = self.lock()?;
            if let Some(known) = self.known(&mut gate)? {
                let passing = BootRows::open(&self.root)?;
                let rows = session::Both {
                    lasting: &known.rows,
                    passing: passing.rows(),
                };
                let out = f(&rows);
                gate.known = Some(known);
                return out;
            }
        }
        let session = self.take(&mut gate)?;
        let out = f(&session);
        self.queue.keep(&mut gate, session);
        out
    }

    pub(super) fn take(&self, gate: &mut Gate) -> Result<Session> {
        match gate.session.take() {
            Some(session) => Ok(session),
            None => self.session(gate),
        }
    }

    /// Decides and commits one transaction. `decide` sees its own writes; where it fails, nothing
    /// happens. `before_commit` runs after it and before the transaction becomes durable.
    pub fn write<T, E: From<Error>>(
        &self,
        decide: impl FnOnce(&mut Txn<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.write_after(decide, |_| Ok(()))
    }

    /// As [`Db::write`], with work on files between the decision and the commit.
    pub fn write_after<T, E: From<Error>>(
        &self,
        decide: impl FnOnce(&mut Txn<'_>) -> Result<T, E>,
        before_commit: impl FnOnce(&mut T) -> Result<(), E>,
    ) -> Result<T, E> {
        let mut gate = self.gate();
        let mut session = self.take(&mut gate)?;
        let mut txn = Txn {
            base: &session,
            changes: BTreeMap::new(),
            until_boot: BTreeSet::new(),
            all_until_boot: false,
        };
        let decided = decide(&mut txn);
        let (changes, until_boot) = (txn.changes.into_iter().collect::<Changes>(), txn.until_boot);
        let done = decided.and_then(|mut out| before_commit(&mut out).map(|()| out));
        if done.is_ok() && !changes.is_empty() {
            // An error drops the session: after a failed commit the next one has to look at the journal.
            session.commit(changes, &until_boot)?;
        }
        self.queue.keep(&mut gate, session);
        done
    }

    /// Rewrites the journal where it is mostly history, and drops sled's files where they are mostly air or not
    /// needed: the next opening that needs them fills new ones. A database that was set aside and has been replaced goes.
    pub fn compact(&self) -> Result<()> {
        let mut gate = self.gate();
        let mut session = self.take(&mut gate)?;
        let rows = session.rows_bytes()?;
        if session.mark.offset > SLACK_BYTES + 2 * rows {
            session.checkpoint()?;
        }
        let size = match &*session.base.borrow() {
            Base::Sled(db) => engine::guarded(|| db.size_on_disk()).unwrap_or(0),
            // Not opened for a journal that is so short.
            _ if session.mark.offset <= SHORT_JOURNAL_BYTES => u64::MAX,
            _ => 0,
        };
        let broken = Layout::of(&self.root).db_broken();
        if size > 0 && broken.exists() {
            std::fs::remove_dir_all(&broken).at("remove", &broken)?;
        }
        if size <= SLED_BYTES_MIN + 4 * rows {
            self.queue.keep(&mut gate, session);
            return Ok(());
        }
        // All rows are in the journal, so the database can be dropped.
        if let Base::Sled(db) = session.base.replace(Base::Memory(AllRows::new())) {
            engine::close(db);
        }
        let path = self.sled_path();
        match std::fs::remove_dir_all(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            done => done.at("remove", &path),
        }
    }
}
