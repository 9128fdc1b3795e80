//! Verification and repair of journal and database.

use std::collections::BTreeMap;
use std::path::Path;

use super::db::Db;
use super::engine;
use super::journal::{self, AllRows, Journal, Mark, Tail};
use super::mirror;
use super::record::Changes;
use super::salvage::salvage;
use super::session::Base;
use crate::error::{Error, IoContext, Result};
use crate::layout::Layout;

/// What a repair of the metadata did.
#[derive(Debug, Default)]
pub struct DbRepair {
    /// In words.
    pub done: Vec<String>,
    /// What could not be brought back, in words.
    pub lost: Vec<String>,
}

/// Rows as they were after a transaction.
struct State {
    from: &'static str,
    sequence: u64,
    rows: AllRows,
}

impl Db {
    /// Checks that journal and database agree; returns the number of rows.
    ///
    /// # Errors
    /// [`Error::Database`] where the database is damaged, [`Error::Corrupt`] where the journal is. A
    /// database that does not open for another reason is no damage.
    pub fn verify(&self) -> Result<usize> {
        let mut gate = self.gate();
        // What this process remembers is not what is checked.
        gate.forget();
        let session = self.take(&mut gate)?;
        let path = session.journal_path();
        let content = journal::read(&path)?;
        let torn = content.tail == Tail::Torn && session.journal.is_none();
        if content.mark != session.mark || (content.tail != Tail::Nothing && !torn) {
            return Err(journal::damaged(&path));
        }
        let damaged = |why: String| Error::Database {
            path: self.sled_path(),
            why,
        };
        let stored = match &*session.base.borrow() {
            Base::Sled(db) => Some(engine::all_rows(db)),
            _ => None,
        };
        match stored {
            Some(Err(trouble)) if trouble.suspect => return Err(damaged(trouble.why)),
            Some(Ok(stored)) => {
                let same = |(k, v): &(Vec<u8>, Option<Vec<u8>>)| content.rows.get(k) == v.as_ref();
                if stored.len() != content.rows.len() || !stored.iter().all(same) {
                    return Err(damaged("its rows differ from the journal's".into()));
                }
            }
            _ => {}
        }
        if let Some(why) = session.sick.borrow().clone() {
            return Err(damaged(why));
        }
        let spilled = self.sled_path().join("blobs");
        if std::fs::read_dir(&spilled).is_ok_and(|mut d| d.next().is_some()) {
            return Err(damaged("a page spilled into a file of its own".into()));
        }
        Ok(content.rows.len())
    }

    /// Makes the one of journal and database that is damaged anew from the other; where both are, from all
    /// that can be read of them and of the journal's copy.
    pub fn repair(&self) -> Result<DbRepair> {
        let _span = tracing::info_span!("repair_database").entered();
        let mut out = DbRepair::default();
        match self.verify() {
            Ok(_) => {}
            Err(Error::Database { .. }) => {
                self.gate().forget();
                let _lock = self.lock()?;
                self.drop_sled()?;
                out.done
                    .push("made the database anew from the journal".into());
            }
            Err(Error::Corrupt { .. }) => self.salvage(&mut out)?,
            Err(e) => return Err(e),
        }
        let broken = Layout::of(&self.root).db_broken();
        if broken.exists() {
            std::fs::remove_dir_all(&broken).at("remove", &broken)?;
            out.done
                .push("removed the database that had been set aside".into());
        }
        Ok(out)
    }

    /// Puts other rows in the place of all there are; `between` takes away what is derived from the old
    /// ones. For copies of a repository.
    pub fn replace_all<E: From<Error>>(
        &self,
        rows: AllRows,
        between: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut gate = self.gate();
        gate.forget();
        let _lock = self.lock()?;
        let path = self.journal_path();
        let before = journal::read(&path).map_or_else(|_| Mark::default(), |content| content.mark);
        between()?;
        let rows = rows.into_iter().map(|(key, value)| (key, Some(value)));
        Journal::checkpoint(&self.disk, &path, before, rows.collect())?;
        mirror::follow(&path);
        Ok(())
    }

    fn drop_sled(&self) -> Result<()> {
        let path = self.sled_path();
        match std::fs::remove_dir_all(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            done => done.at("remove", &path),
        }
    }

    fn salvage(&self, out: &mut DbRepair) -> Result<()> {
        let mut gate = self.gate();
        gate.forget();
        let _lock = self.lock()?;
        let path = self.journal_path();
        let mut remains = Remains::default();
        remains.add_database(&self.sled_path());
        for (file, from) in [
            (&path, "what can be read of it"),
            (&mirror::path_of(&path), "its copy"),
        ] {
            remains.add_journal(file, from)?;
        }
        if remains.is_empty() {
            return Err(Error::corrupt(
                format!("the metadata of {}", self.root.display()),
                "nothing is left of its journal, the journal's copy and the database; nothing was changed, and the packs are kept",
            ));
        }
        let generation = remains.generation;
        let Restored { from, last, rows } = remains.restore(out);
        let mark = Mark {
            generation,
            offset: 0,
            sequence: last,
        };
        let rows = rows.into_iter().map(|(key, value)| (key, Some(value)));
        // The journal first: it is the truth, and sled is filled from it when it is gone. The other way
        // round a crash between the two would leave neither.
        Journal::checkpoint(&self.disk, &path, mark, rows.collect())?;
        mirror::follow(&path);
        self.drop_sled()?;
        out.done.push(format!("made the journal anew from {from}"));
        Ok(())
    }
}

/// What can be read of database, journal and the journal's copy.
#[derive(Default)]
struct Remains {
    /// All rows as of one moment, from each that has them.
    states: Vec<State>,
    /// Transactions by their number.
    records: BTreeMap<u64, Changes>,
    /// Rows that stand alone: nothing says of which moment they are.
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    generation: u64,
}

/// The rows that come of [`Remains`].
struct Restored {
    from: &'static str,
    /// Number of the last transaction that is known to have been.
    last: u64,
    rows: AllRows,
}

impl Remains {
    /// Rows that sled serves, where it says how far it has the journal: without that they could be of any
    /// moment.
    fn add_database(&mut self, path: &Path) {
        let Ok((db, mark)) = engine::open(path) else {
            return;
        };
        if mark != Mark::default()
            && let Ok(rows) = engine::all_rows(&db)
        {
            self.generation = mark.generation;
            let mut all = AllRows::new();
            journal::change(&mut all, rows);
            self.states.push(State {
                from: "the database",
                sequence: mark.sequence,
                rows: all,
            });
        }
        engine::close(db);
    }

    fn add_journal(&mut self, file: &Path, from: &'static str) -> Result<()> {
        let saved = salvage(file)?;
        self.generation = self.generation.max(saved.generation.unwrap_or(0));
        // The first record of a journal holds all rows.
        if let Some((first, all)) = saved.records.first().filter(|_| !saved.lost_first) {
            let mut rows = AllRows::new();
            journal::change(&mut rows, all.clone());
            self.states.push(State {
                from,
                sequence: *first,
                rows,
            });
        }
        let whole = saved.lost_bytes == 0;
        for (sequence, changes) in saved.records {
            // Both may have a record of one number; that of a file without damage is the better one.
            if whole {
                self.records.insert(sequence, changes);
            } else {
                self.records.entry(sequence).or_insert(changes);
            }
        }
        self.rows.extend(saved.rows);
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.states.is_empty() && self.records.is_empty() && self.rows.is_empty()
    }

    /// The state after which the fewest transactions are missing, and those that are there; says what is
    /// lost.
    fn restore(mut self, out: &mut DbRepair) -> Restored {
        let last = self.states.iter().map(|s| s.sequence);
        let last = last.chain(self.records.keys().copied()).max().unwrap_or(0);
        let records = &self.records;
        let missing = |from: u64| last - from - records.range(from + 1..).count() as u64;
        let best = std::mem::take(&mut self.states)
            .into_iter()
            // Of two that miss as many, the later one.
            .min_by_key(|state| (missing(state.sequence), u64::MAX - state.sequence));
        let (from, sequence, mut all) = match best {
            Some(state) => (state.from, state.sequence, state.rows),
            None => ("the rows that can be read of it", 0, AllRows::new()),
        };
        let gone = missing(sequence);
        if sequence == 0 {
            out.lost.push(format!(
                "the record of all rows is damaged in journal, copy and database; {} rows of it could be read",
                self.rows.len()
            ));
        } else if gone > 0 {
            out.lost
                .push(format!("{gone} transactions of the journal cannot be read"));
        }
        // A row that stands alone may be older than what replaced or removed it, so it only fills gaps, and
        // only where something is missing.
        if gone > 0 || sequence == 0 {
            for (key, value) in self.rows {
                all.entry(key).or_insert(value);
            }
        }
        for (_, changes) in self.records.split_off(&(sequence + 1)) {
            journal::change(&mut all, changes);
        }
        Restored {
            from,
            last,
            rows: all,
        }
    }
}
