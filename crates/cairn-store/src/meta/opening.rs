//! Opening sled beside the journal: what either lacks comes from the other, and what is damaged is made anew.

use std::cmp::Ordering;

use super::db::Db;
use super::engine::{self, Trouble};
use super::journal::{self, AllRows, Journal, Mark, Tail};
use super::mirror;
use super::record::Changes;
use super::session::{self, Base};
use crate::error::{Error, IoContext, Result};
use crate::layout::Layout;

impl Db {
    /// Rows by sled, brought up to the journal; by the journal alone where sled does not serve.
    pub(super) fn by_sled(&self) -> Result<(Base, Journal, Mark)> {
        let opened = engine::open(&self.sled_path()).map_err(Failed::Sled);
        match opened.and_then(|(db, applied)| self.serve(db, applied)) {
            Ok((db, journal, mark)) => Ok((Base::Sled(db), journal, mark)),
            Err(Failed::Sled(trouble)) => self.without_sled(trouble),
            Err(Failed::Other(e)) => Err(e),
        }
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
