//! The database: reads and transactions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::journal::{AllRows, Changes, Journal, Mark};
use super::lock::{Notice, RepositoryLock};
use crate::codec;
use crate::disk::Disk;
use crate::error::{Error, IoContext, Result};

/// Key of the row that says how far the journal is applied. No table has this prefix.
const MARK_KEY: &[u8] = b"\0applied";
/// The journal is rewritten when it is longer than this and mostly history, bytes.
const JOURNAL_BYTES_MAX: u64 = 8 << 20;

/// A journal of no more bytes is read instead of the database.
const SHORT_JOURNAL_BYTES: u64 = 256 << 10;
/// History that a compaction leaves in the journal, bytes.
const SLACK_BYTES: u64 = 32 << 10;
/// What sled takes for next to nothing, bytes.
const SLED_BYTES_MIN: u64 = 640 << 10;

/// What can be read of the database.
pub trait Rows {
    /// Value of one row.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// Rows whose key starts with `prefix`, in order of key.
    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>>;
}

/// Opens the database for one use at a time.
pub struct Db {
    root: PathBuf,
    disk: Disk,
    notice: Option<Notice>,
    /// Threads of this process queue here, before the lock between processes.
    gate: Mutex<Gate>,
}

/// A session that is kept open between uses while somebody holds the database.
#[derive(Default)]
struct Gate {
    session: Option<Session>,
    holds: usize,
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

/// sled comes first: it is closed before the lock goes, so that the next process finds it free.
struct Session {
    db: sled::Db,
    journal: Journal,
    mark: Mark,
    path: PathBuf,
    _lock: RepositoryLock,
}

impl Db {
    /// A handle; nothing is opened yet.
    pub fn new(root: &Path, disk: Disk, notice: Option<Notice>) -> Self {
        Self {
            root: root.to_owned(),
            disk,
            notice,
            gate: Mutex::default(),
        }
    }

    /// Creates the journal of a new repository; one that is there stays. The caller holds the lock.
    pub(crate) fn create(&self) -> Result<()> {
        let path = self.journal_path();
        if !path.exists() {
            Journal::checkpoint(&self.disk, &path, Mark::default(), Vec::new())?;
        }
        Ok(())
    }

    fn journal_path(&self) -> PathBuf {
        self.root.join("journal")
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
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
        let gate = self.gate();
        let _lock = if gate.session.is_none() {
            Some(self.lock()?)
        } else {
            None
        };
        f()
    }

    /// Tells the user something that stops nothing.
    pub fn say(&self, words: &str) {
        if let Some(notice) = &self.notice {
            notice.says(words);
        }
    }

    fn lock(&self) -> Result<RepositoryLock> {
        RepositoryLock::acquire(&self.root.join("lock"), self.notice.as_ref())
    }

    fn session(&self) -> Result<Session> {
        let lock = self.lock()?;
        let path = self.root.join("db");
        let fail = |e: sled::Error| Error::Database {
            path: path.clone(),
            why: e.to_string(),
        };
        let db = match open_sled(&path) {
            Ok(db) => db,
            Err(_) => {
                // The journal has everything: set the broken one aside and fill a new one from it.
                let aside = self.root.join("db.broken");
                if aside.exists() {
                    std::fs::remove_dir_all(&aside).at("remove", &aside)?;
                }
                std::fs::rename(&path, &aside).at("set aside", &path)?;
                open_sled(&path)?
            }
        };
        let applied = db
            .get(MARK_KEY)
            .map_err(fail)?
            .and_then(|v| codec::decode_bare::<Mark>(&mut &v[..]));
        let applied = applied.unwrap_or_default();
        let journal_path = self.journal_path();
        let opened = match Journal::open(&self.disk, &journal_path) {
            // What the journal cannot say any more, the database still knows.
            Err(Error::Corrupt { .. }) if applied != Mark::default() => None,
            done => done?,
        };
        let (journal, mark) = match opened {
            Some(mut journal)
                if applied.generation == journal.generation()
                    && applied.offset <= journal.len() =>
            {
                let mark =
                    journal.replay(applied, |changes| apply(&db, changes, None).map_err(fail))?;
                (journal, mark)
            }
            Some(mut journal) if applied.generation < journal.generation() => {
                db.clear().map_err(fail)?;
                let mark = journal.replay(Mark::default(), |changes| {
                    apply(&db, changes, None).map_err(fail)
                })?;
                (journal, mark)
            }
            // The database knows of more than the journal has: the journal was lost or cut.
            Some(_) | None if applied != Mark::default() => Journal::checkpoint(
                &self.disk,
                &journal_path,
                applied,
                all_rows(&db).map_err(fail)?,
            )?,
            _ => {
                return Err(Error::corrupt(
                    format!("repository {}", self.root.display()),
                    "both its journal and its database are lost",
                ));
            }
        };
        let mut session = Session {
            db,
            journal,
            mark,
            path: path.clone(),
            _lock: lock,
        };
        if mark != applied {
            apply(&session.db, Vec::new(), Some(mark)).map_err(fail)?;
        }
        if session.mark.offset > JOURNAL_BYTES_MAX
            && session.mark.offset > 4 * rows_bytes(&session.db).map_err(fail)?
        {
            session.checkpoint()?;
        }
        Ok(session)
    }

    /// Reads, at one moment.
    pub fn read<T, E: From<Error>>(
        &self,
        f: impl FnOnce(&dyn Rows) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut gate = self.gate();
        if gate.session.is_none() && gate.holds == 0 {
            let _lock = self.lock()?;
            if let Some(rows) = self.short_journal()? {
                return f(&rows);
            }
        }
        let session = self.take(&mut gate)?;
        let out = f(&session);
        keep(&mut gate, session);
        out
    }

    /// All rows, where the journal is short and whole: then reading it costs less than opening sled,
    /// which syncs its files each time.
    fn short_journal(&self) -> Result<Option<AllRows>> {
        let path = self.journal_path();
        match std::fs::metadata(&path) {
            Ok(meta) if meta.len() <= SHORT_JOURNAL_BYTES => {}
            _ => return Ok(None),
        }
        match Journal::rows(&self.disk, &path) {
            Ok((rows, _)) => Ok(Some(rows)),
            // A torn tail, or damage: opening the database deals with both.
            Err(Error::Corrupt { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn take(&self, gate: &mut Gate) -> Result<Session> {
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
        };
        // An error drops the session: after a failed commit the next one has to look at the journal.
        let mut out = decide(&mut txn)?;
        let changes: Changes = txn.changes.into_iter().collect();
        before_commit(&mut out)?;
        if !changes.is_empty() {
            session.commit(changes)?;
        }
        keep(&mut gate, session);
        Ok(out)
    }

    /// Rewrites the journal where it is mostly history, and drops sled's files where they are mostly air:
    /// the next opening fills new ones.
    pub fn compact(&self) -> Result<()> {
        let mut gate = self.gate();
        let mut session = self.take(&mut gate)?;
        let rows = rows_bytes(&session.db).map_err(session.fail())?;
        if session.mark.offset > SLACK_BYTES + 2 * rows {
            session.checkpoint()?;
        }
        let path = self.root.join("db");
        if session.db.size_on_disk().map_err(session.fail())? <= SLED_BYTES_MIN + 4 * rows {
            keep(&mut gate, session);
            return Ok(());
        }
        // All rows are in the journal, so the database can be dropped.
        let Session { db, _lock, .. } = session;
        drop(db);
        std::fs::remove_dir_all(&path).at("remove", &path)
    }

    /// Makes the one of journal and database that is wrong anew from the other; says what was done.
    pub fn repair(&self) -> Result<Option<&'static str>> {
        match self.verify() {
            Ok(_) => Ok(None),
            Err(Error::Database { .. }) => {
                let mut gate = self.gate();
                gate.session = None;
                let _lock = self.lock()?;
                let path = self.root.join("db");
                std::fs::remove_dir_all(&path).at("remove", &path)?;
                Ok(Some("made the database anew from the journal"))
            }
            Err(Error::Corrupt { .. }) => {
                let mut gate = self.gate();
                let session = self.take(&mut gate)?;
                let rows = all_rows(&session.db).map_err(session.fail())?;
                let (_, mark) =
                    Journal::checkpoint(&self.disk, &self.journal_path(), session.mark, rows)?;
                apply(&session.db, Vec::new(), Some(mark)).map_err(session.fail())?;
                Ok(Some("made the journal anew from the database"))
            }
            Err(e) => Err(e),
        }
    }

    /// Checks that journal and database agree; returns the number of rows.
    pub fn verify(&self) -> Result<usize> {
        let mut gate = self.gate();
        let session = self.take(&mut gate)?;
        let fail = |e: sled::Error| Error::Database {
            path: session.path.clone(),
            why: e.to_string(),
        };
        let checked = Journal::rows(&self.disk, &self.journal_path());
        let (rows, end) = checked?;
        if end != session.mark {
            return Err(Error::corrupt(
                "journal",
                "a record in the middle of it is damaged",
            ));
        }
        let stored: Changes = all_rows(&session.db).map_err(fail)?;
        if stored.len() != rows.len() || stored.iter().any(|(k, v)| rows.get(k) != v.as_ref()) {
            return Err(Error::Database {
                path: session.path.clone(),
                why: "its rows differ from the journal's".into(),
            });
        }
        let spilled = session.path.join("blobs");
        if std::fs::read_dir(&spilled).is_ok_and(|mut d| d.next().is_some()) {
            return Err(Error::Database {
                path: spilled,
                why: "a page spilled into a file of its own".into(),
            });
        }
        Ok(rows.len())
    }
}

/// Leaves the session open where the database is held, else closes it.
fn keep(gate: &mut Gate, session: Session) {
    if gate.holds > 0 {
        gate.session = Some(session);
    }
}

fn open_sled(path: &Path) -> Result<sled::Db> {
    let fail = |why: String| Error::Database {
        path: path.to_owned(),
        why,
    };
    std::fs::create_dir_all(path).at("create directory", path)?;
    // A kill while sled writes a snapshot leaves a partial file that it then refuses to open.
    for file in std::fs::read_dir(path).at("list", path)?.flatten() {
        if file.file_name().to_string_lossy().ends_with(".generating") {
            std::fs::remove_file(file.path()).at("remove", &file.path())?;
        }
    }
    let open = || {
        sled::Config::new()
            .path(path)
            .cache_capacity(16 << 20)
            .open()
    };
    match std::panic::catch_unwind(open) {
        Ok(opened) => opened.map_err(|e| fail(e.to_string())),
        Err(_) => Err(fail("it panicked while it was opened".into())),
    }
}

fn apply(db: &sled::Db, changes: Changes, mark: Option<Mark>) -> Result<(), sled::Error> {
    let mut batch = sled::Batch::default();
    for (key, value) in changes {
        match value {
            Some(value) => batch.insert(key, value),
            None => batch.remove(key),
        }
    }
    if let Some(mark) = mark {
        batch.insert(MARK_KEY, codec::encode_bare(&mark));
    }
    db.apply_batch(batch)
}

fn all_rows(db: &sled::Db) -> Result<Changes, sled::Error> {
    let rows = db
        .iter()
        .filter(|row| !matches!(row, Ok((key, _)) if key == MARK_KEY));
    rows.map(|row| row.map(|(key, value)| (key.to_vec(), Some(value.to_vec()))))
        .collect()
}

fn rows_bytes(db: &sled::Db) -> Result<u64, sled::Error> {
    db.iter()
        .map(|row| row.map(|(key, value)| (key.len() + value.len()) as u64))
        .sum()
}

impl Session {
    fn fail(&self) -> impl Fn(sled::Error) -> Error + use<> {
        let path = self.path.clone();
        move |e| Error::Database {
            path: path.clone(),
            why: e.to_string(),
        }
    }

    fn commit(&mut self, changes: Changes) -> Result<()> {
        self.mark = self.journal.append(self.mark, &changes)?;
        // From here on the transaction stands; should sled fail, the next opening applies it.
        apply(&self.db, changes, Some(self.mark)).map_err(self.fail())
    }

    fn checkpoint(&mut self) -> Result<()> {
        let disk = self.journal.disk().clone();
        let path = self.path.with_file_name("journal");
        // The journal is the truth, so its own rows are kept, not what sled makes of them.
        let (rows, end) = Journal::rows(&disk, &path)?;
        if end != self.mark {
            return Err(Error::corrupt(
                "journal",
                "it ends elsewhere than the database says",
            ));
        }
        let rows = rows
            .into_iter()
            .map(|(key, value)| (key, Some(value)))
            .collect();
        (self.journal, self.mark) = Journal::checkpoint(&disk, &path, self.mark, rows)?;
        apply(&self.db, Vec::new(), Some(self.mark)).map_err(self.fail())
    }
}

impl Rows for Session {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.db.get(key).map_err(self.fail())?.map(|v| v.to_vec()))
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let rows = self.db.scan_prefix(prefix);
        rows.map(|row| {
            row.map(|(k, v)| (k.to_vec(), v.to_vec()))
                .map_err(self.fail())
        })
        .collect()
    }
}

impl Rows for AllRows {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(BTreeMap::get(self, key).cloned())
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let from = self.range(prefix.to_vec()..);
        let own = from.take_while(|(key, _)| key.starts_with(prefix));
        Ok(own
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }
}

/// A transaction being decided: reads see the database with this transaction's own writes.
pub struct Txn<'a> {
    base: &'a dyn Rows,
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Txn<'_> {
    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.insert(key, Some(value));
    }

    pub(super) fn delete(&mut self, key: Vec<u8>) {
        self.changes.insert(key, None);
    }
}

impl Rows for Txn<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.changes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.base.get(key),
        }
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut rows: BTreeMap<_, _> = self.base.scan(prefix)?.into_iter().collect();
        for (key, value) in self
            .changes
            .range(prefix.to_vec()..)
            .take_while(|(key, _)| key.starts_with(prefix))
        {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(rows.into_iter().collect())
    }
}
