//! Verification and repair of journal and database.

use std::collections::BTreeMap;

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
        let mut out = DbRepair::default();
        match self.verify() {
            Ok(_) => {}
            Err(Error::Database { .. }) => {
                self.gate().session = None;
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
        gate.session = None;
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
        gate.session = None;
        let _lock = self.lock()?;
        let path = self.journal_path();
        let mut states = Vec::new();
        let mut generation = 0;
        if let Ok((db, mark)) = engine::open(&self.sled_path()) {
            if mark != Mark::default()
                && let Ok(rows) = engine::all_rows(&db)
            {
                generation = mark.generation;
                let mut all = AllRows::new();
                journal::change(&mut all, rows);
                states.push(State {
                    from: "the database",
                    sequence: mark.sequence,
                    rows: all,
                });
            }
            engine::close(db);
        }
        let mut records: BTreeMap<u64, Changes> = BTreeMap::new();
        let mut rows = Vec::new();
        let copy = mirror::path_of(&path);
        for (file, from) in [(&path, "what can be read of it"), (&copy, "its copy")] {
            let saved = salvage(file)?;
            generation = generation.max(saved.generation.unwrap_or(0));
            // The first record of a journal holds all rows.
            if let Some((first, all)) = saved.records.first().filter(|_| !saved.lost_first) {
                let mut rows = AllRows::new();
                journal::change(&mut rows, all.clone());
                states.push(State {
                    from,
                    sequence: *first,
                    rows,
                });
            }
            let whole = saved.lost_bytes == 0;
            for (sequence, changes) in saved.records {
                if whole {
                    records.insert(sequence, changes);
                } else {
                    records.entry(sequence).or_insert(changes);
                }
            }
            rows.extend(saved.rows);
        }
        let last = states.iter().map(|s| s.sequence);
        let last = last.chain(records.keys().copied()).max().unwrap_or(0);
        let missing = |from: u64| last - from - records.range(from + 1..).count() as u64;
        let best = states
            .into_iter()
            .min_by_key(|state| (missing(state.sequence), u64::MAX - state.sequence));
        if best.is_none() && records.is_empty() && rows.is_empty() {
            return Err(Error::corrupt(
                format!("the metadata of {}", self.root.display()),
                "nothing is left of its journal, the journal's copy and the database; nothing was changed, and the packs are kept",
            ));
        }
        let (from, sequence, mut all) = match best {
            Some(state) => (state.from, state.sequence, state.rows),
            None => ("the rows that can be read of it", 0, AllRows::new()),
        };
        let gone = missing(sequence);
        if sequence == 0 {
            out.lost.push(format!(
                "the record of all rows is damaged in journal, copy and database; {} rows of it could be read",
                rows.len()
            ));
        } else if gone > 0 {
            out.lost
                .push(format!("{gone} transactions of the journal cannot be read"));
        }
        if gone > 0 || sequence == 0 {
            for (key, value) in rows {
                all.entry(key).or_insert(value);
            }
        }
        for (_, changes) in records.split_off(&(sequence + 1)) {
            journal::change(&mut all, changes);
        }
        let mark = Mark {
            generation,
            offset: 0,
            sequence: last,
        };
        let all = all.into_iter().map(|(key, value)| (key, Some(value)));
        Journal::checkpoint(&self.disk, &path, mark, all.collect())?;
        mirror::follow(&path);
        self.drop_sled()?;
        out.done.push(format!("made the journal anew from {from}"));
        Ok(())
    }
}
