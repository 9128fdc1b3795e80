//! The database: reads and transactions.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use cairn_model::Watch;

use super::boot_rows::BootRows;
use super::engine::{self, Trouble};
use super::gate::{Gate, Queue};
use super::journal::{self, AllRows, Content, Journal, Mark, Tail};
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

/// A journal of no more bytes is read instead of the database.
const SHORT_JOURNAL_BYTES: u64 = 256 << 10;
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
            gate.session = None;
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
        self.gate().session = None;
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

    fn session(&self) -> Result<Session> {
        let lock = self.lock()?;
        if lock.is_read_only() {
            return self.read_only(lock);
        }
        let (base, journal, mark) = match self.journal_alone()? {
            Some((rows, journal, mark)) => (Base::Memory(rows), journal, mark),
            None => self.by_sled()?,
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
            Base::Memory(_) => SHORT_JOURNAL_BYTES / 2,
            _ => JOURNAL_BYTES_MAX,
        };
        if session.mark.offset > long && session.mark.offset > 4 * session.rows_bytes()? {
            session.checkpoint()?;
        }
        Ok(session)
    }

    fn by_sled(&self) -> Result<(Base, Journal, Mark)> {
        let opened = engine::open(&self.sled_path()).map_err(Failed::Sled);
        match opened.and_then(|(db, applied)| self.serve(db, applied)) {
            Ok((db, journal, mark)) => Ok((Base::Sled(db), journal, mark)),
            Err(Failed::Sled(trouble)) => self.without_sled(trouble),
            Err(Failed::Other(e)) => Err(e),
        }
    }

    /// All rows and the journal to write to, where that is short and whole: then sled is not opened at all. It
    /// falls behind and catches up when it is opened the next time. Its second copy is the journal's copy.
    fn journal_alone(&self) -> Result<Option<(AllRows, Journal, Mark)>> {
        let Some(Content { rows, mark, .. }) = self.short_journal()? else {
            return Ok(None);
        };
        let journal = Journal::open(&self.disk, &self.journal_path())?;
        Ok(journal.map(|journal| (rows, journal, mark)))
    }

    /// What sled or the journal's copy has, whichever has more, where the journal itself is gone.
    fn second_best(&self, db: &sled::Db, applied: Mark) -> Result<Option<(Mark, Changes)>, Failed> {
        let copy = journal::read(&mirror::path_of(&self.journal_path())).ok();
        let place = |mark: &Mark| (mark.generation, mark.offset);
        match copy.filter(|copy| place(&copy.mark) > place(&applied)) {
            // Behind the damage there may be more: that is a matter of a repair.
            Some(copy) if copy.tail == Tail::Damaged => Ok(None),
            Some(copy) => {
                let rows = copy.rows.into_iter().map(|(key, row)| (key, Some(row)));
                Ok(Some((copy.mark, rows.collect())))
            }
            None if applied != Mark::default() => Ok(Some((applied, engine::all_rows(db)?))),
            None => Ok(None),
        }
    }

    /// Brings sled and the journal together.
    fn serve(&self, db: sled::Db, applied: Mark) -> Result<(sled::Db, Journal, Mark), Failed> {
        let (journal, mark, news) = match self.catch_up(&db, applied)? {
            Some(done) => done,
            None => {
                let nothing = || session::lost(&self.root, "both have nothing in them");
                let best = self.second_best(&db, applied)?;
                self.start_again(&db, best.ok_or_else(nothing)?)?
            }
        };
        for changes in news {
            engine::apply(&db, changes, None)?;
        }
        if mark != applied {
            engine::apply(&db, Vec::new(), Some(mark))?;
        }
        Ok((db, journal, mark))
    }

    /// The journal, where it ends, and what sled lacks of it; `None` where it was lost or cut: then the database
    /// knows of more than it has.
    fn catch_up(
        &self,
        db: &sled::Db,
        applied: Mark,
    ) -> Result<Option<(Journal, Mark, Vec<Changes>)>, Failed> {
        let opened = Journal::open(&self.disk, &self.journal_path());
        let mut journal = match opened {
            Ok(Some(journal)) => journal,
            Ok(None) | Err(Error::Corrupt { .. }) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let from = match applied.generation.cmp(&journal.generation()) {
            Ordering::Equal if applied.offset <= journal.len() => applied,
            Ordering::Less => Mark::default(),
            _ => return Ok(None),
        };
        let mut news = Vec::new();
        let mark = journal.replay(from, |changes| {
            news.push(changes);
            Ok(())
        })?;
        if from == Mark::default() {
            engine::guarded(|| db.clear())?;
        }
        Ok(Some((journal, mark, news)))
    }

    /// Puts rows into a new journal, and says that sled lacks all of them.
    fn start_again(
        &self,
        db: &sled::Db,
        (mark, rows): (Mark, Changes),
    ) -> Result<(Journal, Mark, Vec<Changes>), Failed> {
        let path = self.journal_path();
        let (journal, mark) = Journal::checkpoint(&self.disk, &path, mark, rows.clone())?;
        engine::guarded(|| db.clear())?;
        Ok((journal, mark, vec![rows]))
    }

    /// What the journal alone gives, where sled does not serve. sled's files are replaced where they are
    /// to blame: a new database beside them opens under the very same conditions.
    fn without_sled(&self, trouble: Trouble) -> Result<(Base, Journal, Mark), Error> {
        tracing::warn!(
            why = trouble.why,
            "the database does not open; rows come from the journal"
        );
        let neither = |trouble: &Trouble| match trouble.suspect {
            true => session::lost(&self.root, &trouble.why),
            false => Error::NoDatabase {
                path: self.sled_path(),
                why: trouble.why.clone(),
            },
        };
        let mut rows = AllRows::new();
        let opened = Journal::open(&self.disk, &self.journal_path()).and_then(|opened| {
            let Some(mut journal) = opened else {
                return Err(neither(&trouble));
            };
            let mark = journal.replay(Mark::default(), |changes| {
                journal::change(&mut rows, changes);
                Ok(())
            })?;
            Ok((journal, mark))
        });
        let (journal, mark) = match opened {
            Err(Error::Corrupt { .. }) => return Err(neither(&trouble)),
            done => done?,
        };
        if trouble.suspect {
            return Ok(match self.replace_sled(&rows, mark) {
                Ok(db) => (Base::Sled(db), journal, mark),
                // A new one does not open either, so the old one is not to blame.
                Err(_) => (Base::Memory(rows), journal, mark),
            });
        }
        Ok((Base::Memory(rows), journal, mark))
    }

    fn replace_sled(&self, rows: &AllRows, mark: Mark) -> Result<sled::Db, Failed> {
        let (new, old) = (
            Layout::of(&self.root).db_new(),
            Layout::of(&self.root).db_broken(),
        );
        for left in [&new, &old] {
            if left.exists() {
                std::fs::remove_dir_all(left).at("remove", left)?;
            }
        }
        let (db, _) = engine::open(&new)?;
        let all = rows.iter().map(|(k, v)| (k.clone(), Some(v.clone())));
        engine::apply(&db, all.collect(), Some(mark))?;
        engine::close(db);
        let path = self.sled_path();
        std::fs::rename(&path, &old).at("set aside", &path)?;
        std::fs::rename(&new, &path).at("rename", &new)?;
        Ok(engine::open(&path)?.0)
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
            if let Some(Content { mut rows, .. }) = self.short_journal()? {
                let passing = BootRows::open(&self.root)?;
                rows.extend(passing.rows().clone());
                return f(&rows);
            }
        }
        let session = self.take(&mut gate)?;
        let out = f(&session);
        self.queue.keep(&mut gate, session);
        out
    }

    /// All rows, where the journal is short and whole: then reading it costs less than opening sled,
    /// which syncs its files each time.
    fn short_journal(&self) -> Result<Option<Content>> {
        let path = self.journal_path();
        match std::fs::metadata(&path) {
            Ok(meta) if meta.len() <= SHORT_JOURNAL_BYTES => {}
            _ => return Ok(None),
        }
        match journal::read(&path) {
            Ok(content) if content.tail == Tail::Nothing => Ok(Some(content)),
            // A torn tail, or damage: opening the database deals with both.
            Ok(_) | Err(Error::Corrupt { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub(super) fn take(&self, gate: &mut Gate) -> Result<Session> {
        gate.session.take().map_or_else(|| self.session(), Ok)
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
        // An error drops the session: after a failed commit the next one has to look at the journal.
        let mut out = decide(&mut txn)?;
        let (changes, until_boot) = (txn.changes.into_iter().collect::<Changes>(), txn.until_boot);
        before_commit(&mut out)?;
        if !changes.is_empty() {
            session.commit(changes, &until_boot)?;
        }
        self.queue.keep(&mut gate, session);
        Ok(out)
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
            _ => u64::MAX,
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

/// Why an opening did not come to its end.
enum Failed {
    Sled(Trouble),
    Other(Error),
}

impl From<Trouble> for Failed {
    fn from(trouble: Trouble) -> Self {
        Self::Sled(trouble)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}
