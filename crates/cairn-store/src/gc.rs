//! Mark and sweep over packs, beside running imports and readers.
//!
//! 1. The caller marks every blob that a row reaches, without a lock ([`Marks`]).
//! 2. [`plan`] decides per pack: keep, drop, or rewrite what is live into a new pack.
//! 3. [`apply`] copies (no lock); then, in one short transaction, lets the caller mark what became
//!    reachable meanwhile, spares packs that hold such blobs, puts the new packs and an index without
//!    the old ones in force, and condemns the old ones.
//! 4. [`reap`] unlinks condemned packs once no lease is older than their condemnation. An import that
//!    relied on a condemned pack revives it when it publishes.
//!
//! A crash anywhere leaves a repository that opens; the next collection goes on from there. A blob that
//! is reachable and missing stops the sweep.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cairn_model::{BlobId, PackId};

use crate::error::{Error, IoContext, Result};
use crate::index::{self, Index, Location};
use crate::lease;
use crate::meta::Txn;
use crate::pack::{FinishedPack, PACK_BYTES_TARGET, PackWriter, Slot, pack_bytes};
use crate::random;
use crate::store::{PACKS, PackRowV1, STATE, StateV1, Store, pack_rows, rebuild_index};

/// Packs are rewritten when more than this share of their records is dead.
const DEAD_SHARE_MAX: f64 = 0.2;
/// Live bytes that one round copies before it frees the packs they came from.
const ROUND_BYTES_MAX: u64 = 512 << 20;
/// More packs than this under [`SMALL_PACK_BYTES`] are put together.
const SMALL_PACKS_MAX: usize = 16;
const SMALL_PACK_BYTES: u64 = 8 << 20;

/// Which entries of an index are reachable: one bit each, exact.
#[derive(Debug)]
pub struct Marks {
    index: Arc<Index>,
    newer: Option<Arc<Index>>,
    bits: Vec<Vec<u64>>,
}

impl Marks {
    /// Nothing marked, over the index as it is now.
    pub fn new(store: &Store) -> Result<Self> {
        let index = store.reload_index()?;
        let bits = index
            .segments()
            .iter()
            .map(|s| vec![0; s.len().div_ceil(64)])
            .collect();
        Ok(Self {
            index,
            newer: None,
            bits,
        })
    }

    /// Marks a blob; says where it is if it was not marked before.
    pub fn mark(&mut self, id: &BlobId) -> Result<Option<Location>> {
        let Some(found) = self.index.find(id) else {
            // Stored after the marking began: its pack is not in question.
            let newer = self.newer.as_ref().and_then(|index| index.find(id));
            return newer.map(|_| None).ok_or(Error::MissingBlob(*id));
        };
        let word = &mut self.bits[found.segment][found.position / 64];
        let bit = 1 << (found.position % 64);
        let fresh = *word & bit == 0;
        *word |= bit;
        Ok(fresh.then_some(found))
    }

    /// The index that is marked.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// Every entry with its mark.
    pub fn entries(&self) -> impl Iterator<Item = Result<(PackId, Slot, bool)>> + '_ {
        self.index
            .segments()
            .iter()
            .zip(&self.bits)
            .flat_map(|(segment, bits)| {
                let marked = move |i: usize| bits[i / 64] >> (i % 64) & 1 == 1;
                segment
                    .entries()
                    .enumerate()
                    .map(move |(i, entry)| entry.map(|(pack, slot)| (pack, slot, marked(i))))
            })
    }
}

/// What happens to a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It stays.
    Keep,
    /// Nothing in it is live.
    Drop,
    /// What is live in it is copied to a new pack.
    Rewrite,
}

/// A pack as the collection sees it.
#[derive(Debug, Clone, Copy)]
pub struct PackPlan {
    /// Which.
    pub id: PackId,
    /// Length of the file, bytes.
    pub bytes: u64,
    /// Records that are reachable.
    pub live_blobs: u64,
    /// Bytes of these records.
    pub live_bytes: u64,
    /// Records that are not.
    pub dead_blobs: u64,
    /// Bytes of these records.
    pub dead_bytes: u64,
    /// What happens to it.
    pub action: Action,
}

/// What a collection would do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Every pack that is in force.
    pub packs: Vec<PackPlan>,
    /// Packs condemned earlier that still wait, and their bytes.
    pub condemned: Vec<(PackId, u64)>,
}

impl Plan {
    /// Bytes of pack files that go less bytes of those that come, exactly.
    pub fn freed_bytes(&self) -> u64 {
        let gone: u64 = self
            .packs
            .iter()
            .filter(|p| p.action != Action::Keep)
            .map(|p| p.bytes)
            .sum();
        let waiting: u64 = self.condemned.iter().map(|(_, bytes)| bytes).sum();
        (gone + waiting).saturating_sub(self.written_bytes())
    }

    /// Bytes of the packs that are written, at most one per round more than needed.
    pub fn written_bytes(&self) -> u64 {
        let rewritten = || self.packs.iter().filter(|p| p.action == Action::Rewrite);
        let (blobs, bytes) = (
            rewritten().map(|p| p.live_blobs).sum(),
            rewritten().map(|p| p.live_bytes).sum(),
        );
        if blobs == 0 {
            0
        } else {
            pack_bytes(blobs, bytes) + pack_bytes(0, 0) * (bytes / PACK_BYTES_TARGET)
        }
    }

    fn is_done(&self) -> bool {
        self.packs.iter().all(|p| p.action == Action::Keep)
    }
}

/// Decides what to do with each pack.
pub fn plan(store: &Store, marks: &Marks) -> Result<Plan> {
    let rows = store.pack_rows()?;
    let mut packs: HashMap<PackId, PackPlan> = HashMap::new();
    let mut condemned = Vec::new();
    for (id, row) in rows {
        if row.condemned.is_some() {
            condemned.push((id, row.bytes));
            continue;
        }
        let none = PackPlan {
            id,
            bytes: row.bytes,
            live_blobs: 0,
            live_bytes: 0,
            dead_blobs: 0,
            dead_bytes: 0,
            action: Action::Keep,
        };
        packs.insert(id, none);
    }
    let known: HashSet<PackId> = marks.index.packs().collect();
    for entry in marks.entries() {
        let (id, slot, live) = entry?;
        let Some(pack) = packs.get_mut(&id) else {
            continue;
        };
        if live {
            pack.live_blobs += 1;
            pack.live_bytes += slot.record_bytes();
        } else {
            pack.dead_blobs += 1;
            pack.dead_bytes += slot.record_bytes();
        }
    }
    // A pack that came after the marking began is not in question.
    let mut packs: Vec<PackPlan> = packs
        .into_values()
        .filter(|pack| known.contains(&pack.id))
        .collect();
    packs.sort_unstable_by_key(|pack| pack.id);
    let small = |p: &PackPlan| p.bytes < SMALL_PACK_BYTES;
    let many_small = packs.iter().filter(|p| small(p)).count() > SMALL_PACKS_MAX;
    for pack in &mut packs {
        let dead_share = pack.dead_bytes as f64 / (pack.dead_bytes + pack.live_bytes).max(1) as f64;
        pack.action = match pack.live_blobs {
            0 => Action::Drop,
            _ if dead_share > DEAD_SHARE_MAX || (many_small && small(pack)) => Action::Rewrite,
            _ => Action::Keep,
        };
    }
    Ok(Plan { packs, condemned })
}

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes of pack files unlinked.
    pub removed_bytes: u64,
    /// Bytes of new packs.
    pub written_bytes: u64,
    /// Packs unlinked.
    pub removed_packs: u64,
    /// Condemned packs that wait for a lease to end, bytes.
    pub waiting_bytes: u64,
    /// Blobs collected.
    pub dead_blobs: u64,
}

/// Carries out a plan. `remark` runs inside the transaction: it must mark all that rows reach by then
/// and may delete rows of its own.
pub fn apply<E: From<Error>>(
    store: &Store,
    plan: &Plan,
    mut marks: Marks,
    remark: impl FnOnce(&mut Txn<'_>, &mut Marks) -> Result<(), E>,
) -> Result<Outcome, E> {
    let mut outcome = Outcome::default();
    let mut goes: HashMap<PackId, PackPlan> = HashMap::new();
    goes.extend(
        plan.packs
            .iter()
            .filter(|p| p.action == Action::Drop)
            .map(|p| (p.id, *p)),
    );
    let mut round = 0;
    for pack in plan.packs.iter().filter(|p| p.action == Action::Rewrite) {
        if round + pack.live_bytes <= ROUND_BYTES_MAX || round == 0 {
            round += pack.live_bytes;
            goes.insert(pack.id, *pack);
        }
    }
    let lease = store.lease()?;
    let fresh = copy_live(store, &lease, &marks, &goes)?;
    let root = store.root();
    store.db().write_after::<_, E>(
        |txn| {
            let index = store.consistent_index(txn)?;
            marks.newer = Some(index.clone());
            remark(txn, &mut marks)?;
            let mut live: HashMap<PackId, u64> = HashMap::new();
            for entry in marks.entries() {
                let (id, _, marked) = entry?;
                *live.entry(id).or_default() += u64::from(marked);
            }
            let mut goes = goes;
            goes.retain(|id, plan| live.get(id).copied().unwrap_or(0) == plan.live_blobs);
            let generation = index.generation() + 1;
            for (id, pack) in &goes {
                outcome.dead_blobs += pack.dead_blobs;
                if let Some(row) = PACKS.get(txn, id.as_bytes())? {
                    PACKS.put(
                        txn,
                        id.as_bytes(),
                        &PackRowV1 {
                            condemned: Some(generation),
                            ..row
                        },
                    )?;
                }
            }
            for pack in &fresh {
                let row = PackRowV1 {
                    bytes: pack.bytes,
                    blobs: pack.slots.len() as u32,
                    born: generation,
                    condemned: None,
                };
                PACKS.put(txn, pack.id.as_bytes(), &row)?;
                outcome.written_bytes += pack.bytes;
            }
            if !goes.is_empty() || !fresh.is_empty() {
                STATE.put(txn, [], &StateV1 { generation })?;
            }
            Ok((index, generation, goes))
        },
        |(index, generation, goes)| {
            if goes.is_empty() && fresh.is_empty() {
                return Ok(());
            }
            for pack in &fresh {
                store
                    .disk()
                    .rename(&pack.path, &store.pack_path(&pack.id))?;
            }
            store.disk().sync_dir(&root.join("packs"))?;
            let stays = index.segments().iter().flat_map(|s| s.entries());
            let stays =
                stays.filter(|entry| !matches!(entry, Ok((pack, _)) if goes.contains_key(pack)));
            let mut entries = stays.collect::<Result<Vec<_>>>()?;
            entries.extend(
                fresh
                    .iter()
                    .flat_map(|pack| pack.slots.iter().map(|slot| (pack.id, *slot))),
            );
            Ok(index::rebuild(
                store.disk(),
                &store.index_dir(),
                *generation,
                entries,
            )?)
        },
    )?;
    drop(lease);
    store.reload_index()?;
    let reaped = reap(store)?;
    Ok(Outcome {
        written_bytes: outcome.written_bytes,
        dead_blobs: outcome.dead_blobs,
        ..reaped
    })
}

/// True where another round is due.
pub fn is_done(plan: &Plan) -> bool {
    plan.is_done()
}

fn copy_live(
    store: &Store,
    lease: &lease::Lease,
    marks: &Marks,
    goes: &HashMap<PackId, PackPlan>,
) -> Result<Vec<FinishedPack>> {
    let mut slots = Vec::new();
    for entry in marks.entries() {
        let (id, slot, live) = entry?;
        if live && goes.contains_key(&id) {
            slots.push((id, slot));
        }
    }
    slots.sort_unstable_by_key(|(id, slot)| (*id, slot.offset));
    let mut finished = Vec::new();
    let mut writer: Option<PackWriter> = None;
    let mut record = Vec::new();
    for (id, slot) in slots {
        store.pack(&id)?.record(&slot, &mut record)?;
        let pack = match &mut writer {
            Some(pack) => pack,
            none => none.insert(PackWriter::create(
                store.disk(),
                lease.directory(),
                PackId::from_bytes(random()?),
            )?),
        };
        pack.append(&[slot], &record)?;
        if pack.bytes() >= PACK_BYTES_TARGET
            && let Some(pack) = writer.take()
        {
            finished.push(pack.finish()?);
        }
    }
    if let Some(pack) = writer {
        finished.push(pack.finish()?);
    }
    Ok(finished)
}

/// Unlinks condemned packs that no lease can need, and what dead leases left.
pub fn reap(store: &Store) -> Result<Outcome> {
    let root = store.root().to_owned();
    let mut outcome = Outcome::default();
    let (_, _, buried) = store.db().write_after::<_, Error>(
        |txn| {
            let leases = lease::survey(&root)?;
            let mut gone = Vec::new();
            for (id, row) in pack_rows(txn)? {
                let Some(condemned) = row.condemned else {
                    continue;
                };
                if leases.oldest.is_some_and(|oldest| oldest < condemned) {
                    outcome.waiting_bytes += row.bytes;
                    continue;
                }
                PACKS.delete(txn, id.as_bytes());
                outcome.removed_bytes += row.bytes;
                outcome.removed_packs += 1;
                gone.push(id);
            }
            Ok((leases, gone, 0))
        },
        // Files go before their rows: a crash between leaves a row without a file, which the next
        // collection removes, never a file that nothing names.
        |(leases, gone, buried)| {
            for id in gone.iter() {
                store.disk().unlink(&store.pack_path(id))?;
            }
            if !gone.is_empty() {
                store.disk().sync_dir(&root.join("packs"))?;
            }
            *buried = lease::bury(&root, store.disk(), leases)?;
            Ok(())
        },
    )?;
    outcome.removed_bytes += buried;
    Ok(outcome)
}

/// Gives rows to pack files that have none (left by a crash between rename and transaction), so that
/// the marking sees them.
pub fn adopt_orphans(store: &Store) -> Result<()> {
    let directory = store.root().join("packs");
    store.db().write::<_, Error>(|txn| {
        store.consistent_index(txn)?;
        let known: HashSet<PackId> = pack_rows(txn)?.into_iter().map(|(id, _)| id).collect();
        for file in std::fs::read_dir(&directory)
            .at("list", &directory)?
            .flatten()
        {
            let path = file.path();
            let id = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .and_then(|stem| stem.parse::<PackId>().ok());
            if id.is_some_and(|id| !known.contains(&id)) {
                return rebuild_index(store.root(), store.disk(), txn);
            }
        }
        Ok(())
    })?;
    store.reload_index()?;
    Ok(())
}
