//! Index, rows and pack files, brought together again where a crash, a loss or a repair parted them.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use cairn_model::{Class, PackId};

use super::Store;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::index::{Index, List, write_sorted};
use crate::layout::Layout;
use crate::meta::Txn;
use crate::pack::{Directory, PackSource};
use crate::rows::{OPTIMIZED, PACKS, PackRowV1, STATE, StateV1, VERIFIED};

/// Entries that are sorted at a time when the index is made anew.
const SORT_ENTRIES_MAX: usize = 1 << 19;

impl Store {
    /// The index on disk, after making good what a crash between index and transaction left.
    pub(crate) fn consistent_index(&self, txn: &mut Txn<'_>) -> Result<Arc<Index>> {
        let index = self.reload_index()?;
        let state = STATE.get(txn, [])?.unwrap_or(StateV1 { generation: 0 });
        if index.generation() == state.generation {
            return Ok(index);
        }
        reconcile(&self.0.root, &self.0.disk, self.packs(), txn, &index)?;
        self.reload_index()
    }

    /// Makes the index anew from the packs' own directories.
    pub fn rebuild_index(&self) -> Result<()> {
        let (root, disk) = (&self.0.root, &self.0.disk);
        self.0
            .db
            .write(|txn| reconcile(root, disk, self.packs(), txn, &Index::default()))?;
        self.compact_index()
    }

    /// Takes a pack out of index and database; its file stays where it is. For repairs.
    pub fn forget_pack(&self, id: &PackId) -> Result<()> {
        self.0.packs.forget(id);
        self.0.db.write::<_, Error>(|txn| {
            let index = self.consistent_index(txn)?;
            PACKS.delete(txn, id.as_bytes());
            VERIFIED.delete(txn, id.as_bytes());
            OPTIMIZED.delete(txn, id.as_bytes());
            let mut list = index.list().clone();
            list.generation += 1;
            let generation = list.generation;
            STATE.put(txn, [], &StateV1 { generation })?;
            if index.packs().any(|pack| pack == *id) {
                list.hidden.insert(*id);
            }
            list.put(&self.0.disk, &self.index_dir(), &[])
        })?;
        self.reload_index().map(drop)
    }
}

/// Brings index, rows and pack files together: whole packs without a row get one, packs in force that
/// `index` lacks get entries from their own directories, and all others are hidden. Packs whose
/// directory is damaged are left out, for `check` to name and repair.
pub(crate) fn reconcile(
    root: &Path,
    disk: &Disk,
    packs: &dyn PackSource,
    txn: &mut Txn<'_>,
    index: &Index,
) -> Result<()> {
    let _span = tracing::debug_span!("reconcile").entered();
    let directory = Layout::of(root).index();
    let state = STATE.get(txn, [])?.unwrap_or(StateV1 { generation: 0 });
    // A list that does not read may have been of any generation before the one that comes now.
    let current = List::read(&directory).map_or(0, |list| list.generation);
    let generation = state.generation.max(current) + 1;
    let known: HashSet<PackId> = index.packs().collect();
    let mut live = HashSet::new();
    let mut entries = Vec::new();
    let mut add = Vec::new();
    for named in packs.list()? {
        let row = PACKS.get(txn, named.as_bytes())?;
        // It waits for a lease to end, and nobody finds it meanwhile.
        if row.is_some_and(|row| row.retired.is_some()) {
            continue;
        }
        if row.is_none() || !known.contains(&named) {
            let Directory { id, slots, bytes } =
                match packs.open(&named).and_then(|pack| pack.directory()) {
                    Err(e) if e.is_corruption() || e.class() == Class::NotFound => continue,
                    done => done?,
                };
            // Copied there by hand under another's name: its blobs would be found in the wrong file.
            if id != named {
                continue;
            }
            // Renamed into place by a publication whose transaction a crash cut off: it holds whole blobs, and
            // the next collection decides whether anybody needs them.
            if row.is_none() {
                let row = PackRowV1 {
                    bytes,
                    blobs: slots.len() as u32,
                    created: generation,
                    retired: None,
                };
                PACKS.put(txn, id.as_bytes(), &row)?;
            }
            if !known.contains(&id) {
                entries.extend(slots.into_iter().map(|slot| (id, slot)));
            }
        }
        live.insert(named);
        if entries.len() >= SORT_ENTRIES_MAX {
            add.extend(write_sorted(
                disk,
                &directory,
                std::mem::take(&mut entries),
            )?);
        }
    }
    add.extend(write_sorted(disk, &directory, entries)?);
    let list = List {
        generation,
        segments: index.list().segments.clone(),
        hidden: known.difference(&live).copied().collect(),
        // Whoever remembers what is a difference from what looks again.
        recoded: match index.list().recoded {
            0 if !add.iter().any(|new| new.differences > 0) => 0,
            _ => generation,
        },
    };
    // The list before the row: a crash between leaves two numbers, and this runs again.
    list.put(disk, &directory, &add)?;
    STATE.put(txn, [], &StateV1 { generation })
}
