//! How content becomes part of the repository: staged packs get their names, the index that knows them
//! is installed, and the rows that refer to them are committed, in this order and under one lock.

use std::collections::HashSet;

use cairn_model::PackId;

use super::Store;
use crate::error::{Error, Result};
use crate::index::{Index, List, NewSegment, write_sorted};
use crate::ingest::{Ingest, Prepared, Rehearsal};
use crate::layout::Layout;
use crate::lease::Lease;
use crate::meta::Txn;
use crate::rows::{PACKS, PackRowV1, STATE, StateV1};
use crate::staged::{StagedPack, drop_stored};

/// A publication that others keep overtaking proceeds after this many tries, and may store what they
/// have; a collection drops one of the two.
const PUBLISH_TRIES: usize = 8;

/// A change of the index that waits to be installed.
pub(crate) struct Edit {
    pub list: List,
    pub add: Vec<NewSegment>,
}

impl Store {
    /// Starts an import of content under a lease of its own.
    pub fn ingest(&self) -> Result<Ingest> {
        let lease = self.lease()?;
        self.start_ingest(Some(lease))
    }

    /// Starts one that writes nothing. The repository may be read-only.
    pub fn rehearse(&self) -> Result<Rehearsal> {
        self.reload_index()?;
        Ok(Rehearsal::of(self.start_ingest(None)?))
    }

    fn start_ingest(&self, lease: Option<Lease>) -> Result<Ingest> {
        let base = match self.base() {
            Some(base) => Some(base.reload()?),
            None => None,
        };
        let (disk, watch) = (self.0.disk.clone(), self.watch().clone());
        let room = self.0.room.clone();
        let framed = self.has_frames();
        Ingest::start(disk, watch, self.index(), base, lease, room, framed)
    }

    /// Makes prepared content part of the repository together with the rows that `decide` writes: all
    /// of it or, on any error, nothing. Holds the repository lock for milliseconds, however much is
    /// stored already.
    pub fn publish<T, E: From<Error>>(
        &self,
        mut prepared: Prepared,
        decide: impl FnOnce(&mut Txn<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let _span = tracing::debug_span!("publish").entered();
        let mut decide = Some(decide);
        // Each try looks only at what was published since the one before.
        for last in (0..PUBLISH_TRIES).map(|n| n + 1 == PUBLISH_TRIES) {
            self.drop_duplicates(&mut prepared)?;
            let done = self.0.db.write_after::<_, E>(
                |txn| {
                    let index = self.consistent_index(txn)?;
                    if index.generation() != prepared.index.generation() && !last {
                        return Ok(None);
                    }
                    let Some(decide) = decide.take() else {
                        unreachable!("BUG: decided once")
                    };
                    self.decide(txn, &index, &prepared, decide).map(Some)
                },
                |decided| match decided {
                    Some((_, Some(edit))) => Ok(self.install(edit, &prepared.packs)?),
                    _ => Ok(()),
                },
            );
            if let Some((out, edit)) = done? {
                drop(prepared);
                if edit.is_some() {
                    // The publication stands. A merge that fails (a full disk, say) leaves everything as
                    // it was, and whoever publishes or collects next tries again.
                    let _ = self.compact_index();
                }
                return Ok(out);
            }
        }
        unreachable!("BUG: the last try decides")
    }

    /// Leaves out of prepared content what others published since it was looked up: the same content
    /// from two importers is stored once. Takes no lock.
    fn drop_duplicates(&self, prepared: &mut Prepared) -> Result<()> {
        let index = self.reload_index()?;
        let news = index.without(&prepared.index);
        if !news.is_empty() {
            for pack in std::mem::take(&mut prepared.packs) {
                let rest =
                    drop_stored(&self.0.disk, pack, (&news, &index), &mut prepared.relied_on)?;
                prepared.packs.extend(rest);
            }
        }
        prepared.index = index;
        Ok(())
    }

    /// The part of a publication that is decided inside the transaction; no edit where nothing is new.
    fn decide<T, E: From<Error>>(
        &self,
        txn: &mut Txn<'_>,
        index: &Index,
        prepared: &Prepared,
        decide: impl FnOnce(&mut Txn<'_>) -> Result<T, E>,
    ) -> Result<(T, Option<Edit>), E> {
        let mut edit = Edit {
            list: index.list().clone(),
            add: Vec::new(),
        };
        let known: HashSet<PackId> = index.packs().collect();
        for pack in &prepared.relied_on {
            self.restore(txn, &known, pack, &mut edit)?;
        }
        let out = decide(txn)?;
        // Index and rows carry the same number; where a crash leaves them different, `reconcile` follows.
        edit.list.generation += 1;
        let generation = edit.list.generation;
        for pack in &prepared.packs {
            PACKS.put(txn, pack.id.as_bytes(), &pack.row(generation))?;
            edit.add.extend(pack.segment.clone());
        }
        if edit.add.is_empty() && edit.list.hidden == index.list().hidden {
            return Ok((out, None));
        }
        STATE.put(txn, [], &StateV1 { generation })?;
        Ok((out, Some(edit)))
    }

    /// Gives staged packs their names, then installs the index that knows them.
    pub(crate) fn install(&self, edit: &mut Edit, packs: &[StagedPack]) -> Result<()> {
        // Packs before the index that names them: a crash between leaves packs that no row names, which the
        // next collection adopts, never an index that points at nothing.
        for pack in packs {
            self.0.disk.rename(&pack.path, &self.pack_path(&pack.id))?;
        }
        if !packs.is_empty() {
            self.0.disk.sync_dir(&Layout::of(&self.0.root).packs())?;
        }
        std::mem::take(&mut edit.list).put(&self.0.disk, &self.index_dir(), &edit.add)
    }

    /// A pack that an import relied on is made findable again if it was retired meanwhile.
    fn restore(
        &self,
        txn: &mut Txn<'_>,
        known: &HashSet<PackId>,
        id: &PackId,
        edit: &mut Edit,
    ) -> Result<()> {
        if known.contains(id) && !edit.list.hidden.contains(id) {
            return Ok(());
        }
        let row = PACKS
            .get(txn, id.as_bytes())?
            .ok_or(Error::MissingPack(*id))?;
        // A merge may have dropped its entries already; its own directory still has them.
        if !known.contains(id) {
            let slots = self.pack(id)?.directory()?.slots;
            let entries = slots.into_iter().map(|slot| (*id, slot)).collect();
            edit.add
                .extend(write_sorted(&self.0.disk, &self.index_dir(), entries)?);
        }
        edit.list.hidden.remove(id);
        let row = PackRowV1 {
            retired: None,
            ..row
        };
        PACKS.put(txn, id.as_bytes(), &row)
    }
}
