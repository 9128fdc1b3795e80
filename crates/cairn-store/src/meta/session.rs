//! The open database: rows of sled, or of the journal where sled does not serve.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use super::boot_rows::BootRows;
use super::engine::{self, Trouble};
use super::journal::{self, AllRows, Journal, Mark};
use super::known::Known;
use super::lock::RepositoryLock;
use super::record::Changes;
use super::rows::Rows;
use crate::error::{Error, Result};
use crate::layout::Layout;

/// Where rows are read.
pub enum Base {
    Sled(sled::Db),
    /// All there are, out of the journal.
    Memory(AllRows),
    /// sled failed in the middle, and so did the journal.
    Lost(String),
}

/// An open database. sled comes first: it is closed before the lock goes.
pub struct Session {
    pub base: RefCell<Base>,
    /// What sled said when it failed, where its files are suspected.
    pub sick: RefCell<Option<String>>,
    pub journal: Option<Journal>,
    pub mark: Mark,
    /// Rows beside those of the journal.
    pub passing: BootRows,
    /// Directory of the repository.
    pub root: PathBuf,
    /// When it was opened.
    pub since: Instant,
    pub _lock: RepositoryLock,
}

impl Session {
    pub fn journal_path(&self) -> PathBuf {
        Layout::of(&self.root).journal()
    }

    fn journal(&mut self) -> Result<&mut Journal> {
        let root = self.root.clone();
        self.journal.as_mut().ok_or_else(|| Error::Io {
            action: "write to",
            path: root,
            source: std::io::Error::from_raw_os_error(rustix::io::Errno::ROFS.raw_os_error()),
        })
    }

    /// Commits changes; those of rows in `until_boot`, and of rows that are such already, without a sync.
    pub fn commit(&mut self, changes: Changes, until_boot: &BTreeSet<Vec<u8>>) -> Result<()> {
        let can_keep = !until_boot.is_empty() && self.passing.can_keep();
        let passes = |key: &Vec<u8>| {
            self.passing.rows().contains_key(key) || (can_keep && until_boot.contains(key))
        };
        let (passing, lasting): (Changes, Changes) =
            changes.into_iter().partition(|(key, _)| passes(key));
        if !lasting.is_empty() {
            self.commit_lasting(lasting)?;
        }
        if passing.is_empty() {
            return Ok(());
        }
        let disk = self.journal()?.disk().clone();
        self.passing.commit(&disk, passing)
    }

    fn commit_lasting(&mut self, changes: Changes) -> Result<()> {
        let mark = self.mark;
        self.mark = self.journal()?.append(mark, &changes)?;
        // From here on the transaction stands, whatever sled makes of it: the next opening applies it.
        self.apply(changes);
        Ok(())
    }

    /// Rewrites the journal as one record with all rows.
    pub fn checkpoint(&mut self) -> Result<()> {
        let disk = self.journal()?.disk().clone();
        let path = self.journal_path();
        // The journal is the truth, so its own rows are kept, not what sled makes of them.
        let content = journal::read(&path)?;
        if content.mark != self.mark || content.tail != journal::Tail::Nothing {
            return Err(journal::damaged(&path));
        }
        let rows = content.rows.into_iter().map(|(key, row)| (key, Some(row)));
        let (journal, mark) = Journal::checkpoint(&disk, &path, self.mark, rows.collect())?;
        (self.journal, self.mark) = (Some(journal), mark);
        self.apply(Vec::new());
        Ok(())
    }

    fn apply(&mut self, changes: Changes) {
        let failed = match self.base.get_mut() {
            Base::Sled(db) => engine::apply(db, changes, Some(self.mark)).err(),
            Base::Memory(rows) => {
                journal::change(rows, changes);
                None
            }
            Base::Lost(_) => None,
        };
        if let Some(trouble) = failed {
            self.fall_back(trouble);
        }
    }

    /// sled failed: the journal serves from here on.
    fn fall_back(&self, trouble: Trouble) {
        let path = self.journal_path();
        let base = match journal::read(&path) {
            Ok(content) if content.mark == self.mark => Base::Memory(content.rows),
            _ => Base::Lost(trouble.why.clone()),
        };
        if trouble.suspect {
            *self.sick.borrow_mut() = Some(trouble.why);
        }
        if let Base::Sled(db) = self.base.replace(base) {
            engine::close(db);
        }
    }

    fn by_base<T>(
        &self,
        sled: impl Fn(&sled::Db) -> Result<T, sled::Error>,
        memory: impl Fn(&AllRows) -> T,
    ) -> Result<T> {
        let failed = match &*self.base.borrow() {
            Base::Sled(db) => match engine::guarded(|| sled(db)) {
                Ok(done) => return Ok(done),
                Err(trouble) => trouble,
            },
            Base::Memory(rows) => return Ok(memory(rows)),
            Base::Lost(why) => return Err(lost(&self.root, why)),
        };
        self.fall_back(failed);
        match &*self.base.borrow() {
            Base::Memory(rows) => Ok(memory(rows)),
            Base::Lost(why) => Err(lost(&self.root, why)),
            Base::Sled(_) => unreachable!("BUG: sled was let go"),
        }
    }

    /// What a later use of this process need not read again.
    pub fn into_known(self) -> Option<Known> {
        let file = self.journal.as_ref()?.file();
        match self.base.replace(Base::Memory(AllRows::new())) {
            Base::Memory(rows) => Known::of(rows, self.mark, file),
            Base::Sled(db) => {
                engine::close(db);
                None
            }
            Base::Lost(_) => None,
        }
    }

    /// Bytes of all rows.
    pub fn rows_bytes(&self) -> Result<u64> {
        let bytes = |key: usize, value: usize| (key + value) as u64;
        let of = |(key, value): (sled::IVec, sled::IVec)| bytes(key.len(), value.len());
        self.by_base(
            |db| db.iter().map(|row| row.map(of)).sum(),
            |rows| rows.iter().map(|(k, v)| bytes(k.len(), v.len())).sum(),
        )
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Base::Sled(db) = self.base.replace(Base::Memory(AllRows::new())) {
            engine::close(db);
        }
    }
}

/// Journal and database are both damaged.
pub fn lost(root: &std::path::Path, why: &str) -> Error {
    Error::corrupt(
        format!("the metadata of {}", root.display()),
        format!(
            "its journal has a damaged record and its database does not make up for it ({why}); \"cairn check --repair\" saves what can be read"
        ),
    )
}

impl Rows for Session {
    fn is_until_boot(&self, key: &[u8]) -> bool {
        self.passing.rows().contains_key(key)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        if let Some(row) = self.passing.rows().get(key) {
            return Ok(Some(row.clone()));
        }
        self.by_base(
            |db| Ok(db.get(key)?.map(|v| v.to_vec())),
            |rows| rows.get(key).cloned(),
        )
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(joined(
            self.scan_lasting(prefix)?,
            scan(self.passing.rows(), prefix),
        ))
    }
}

type RowList = Vec<(Vec<u8>, Vec<u8>)>;

/// Rows of both, in their order; those of `passing` count.
fn joined(lasting: RowList, passing: RowList) -> RowList {
    if passing.is_empty() {
        return lasting;
    }
    let all: AllRows = lasting.into_iter().chain(passing).collect();
    all.into_iter().collect()
}

/// Rows of the journal, and those that end with this boot.
pub struct Both<'a> {
    pub lasting: &'a AllRows,
    pub passing: &'a AllRows,
}

impl Rows for Both<'_> {
    fn is_until_boot(&self, key: &[u8]) -> bool {
        self.passing.contains_key(key)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let row = self.passing.get(key).or_else(|| self.lasting.get(key));
        Ok(row.cloned())
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(joined(
            scan(self.lasting, prefix),
            scan(self.passing, prefix),
        ))
    }
}

impl Session {
    fn scan_lasting(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.by_base(
            |db| {
                db.scan_prefix(prefix)
                    .filter(|row| !matches!(row, Ok((key, _)) if key == engine::MARK_KEY))
                    .map(|row| row.map(|(k, v)| (k.to_vec(), v.to_vec())))
                    .collect()
            },
            |rows| scan(rows, prefix),
        )
    }
}

/// Rows whose key starts with `prefix`.
pub fn scan(rows: &AllRows, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let from = rows.range(prefix.to_vec()..);
    from.take_while(|(key, _)| key.starts_with(prefix))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

impl Rows for AllRows {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(Self::get(self, key).cloned())
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(scan(self, prefix))
    }
}
