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
use crate::index::{Index, Location};
use crate::lease;
use crate::meta::Txn;
use crate::pack::{PACK_BYTES_TARGET, PackWriter, RECORD_HEADER, Slot, pack_bytes};
use crate::random;
use crate::sealed::{SealedPack, seal};
use crate::store::{Edit, PACKS, PackRowV1, STATE, StateV1, Store, heal, pack_rows};

/// Packs are rewritten when more than this share of their records is dead.
const DEAD_SHARE_MAX: f64 = 0.2;
/// Live bytes that one round copies before it frees the packs they came from.
const ROUND_BYTES_MAX: u64 = 512 << 20;
/// Blobs that one round copies.
const ROUND_BLOBS_MAX: u64 = 1 << 20;
/// More packs than this under [`SMALL_PACK_BYTES`] are put together.
const SMALL_PACKS_MAX: usize = 16;
const SMALL_PACK_BYTES: u64 = 8 << 20;

/// What is live of one pack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Live {
    /// Records that are reachable.
    pub blobs: u64,
    /// Bytes of these records, headers included.
    pub bytes: u64,
}

impl Live {
    /// Bytes of these records without their headers.
    pub fn stored(&self) -> u64 {
        self.bytes - self.blobs * RECORD_HEADER as u64
    }
}

/// Which entries of an index are reachable: one bit each, exact, and a sum for each pack.
#[derive(Debug)]
pub struct Marks {
    index: Arc<Index>,
    newer: Option<Arc<Index>>,
    bits: Vec<Vec<u64>>,
    live: HashMap<PackId, Live>,
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
            live: HashMap::new(),
        })
    }

    /// Marks a blob; says where it is if it was not marked before.
    pub fn mark(&mut self, id: &BlobId) -> Result<Option<Location>> {
        let Some(found) = self.index.find(id)? else {
            // Stored after the marking began: its pack is not in question.
            return match &self.newer {
                Some(newer) if newer.find(id)?.is_some() => Ok(None),
                _ => Err(Error::MissingBlob(*id)),
            };
        };
        let word = &mut self.bits[found.segment][found.position / 64];
        let bit = 1 << (found.position % 64);
        if *word & bit != 0 {
            return Ok(None);
        }
        *word |= bit;
        let live = self.live.entry(found.pack).or_default();
        live.blobs += 1;
        live.bytes += found.slot.record_bytes();
        Ok(Some(found))
    }

    /// The index that is marked.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// What is marked of a pack.
    pub fn live(&self, pack: &PackId) -> Live {
        self.live.get(pack).copied().unwrap_or_default()
    }

    /// Marked entries of packs in `wanted`.
    fn marked_in(&self, wanted: &HashSet<PackId>) -> Result<Vec<(PackId, Slot)>> {
        let mut out = Vec::new();
        for (segment, bits) in self.index.segments().iter().zip(&self.bits) {
            if !segment.packs().iter().any(|pack| wanted.contains(pack)) {
                continue;
            }
            for (i, entry) in segment.entries().enumerate() {
                if bits[i / 64] >> (i % 64) & 1 == 0 {
                    continue;
                }
                let (pack, slot) = entry?;
                let pack = segment.packs()[pack];
                if wanted.contains(&pack) {
                    out.push((pack, slot));
                }
            }
        }
        Ok(out)
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

/// Bytes of the records of a pack.
pub fn record_area(row: &PackRowV1) -> u64 {
    row.bytes
        .saturating_sub(pack_bytes(u64::from(row.blobs), 0))
}

/// Decides what to do with each pack.
pub fn plan(store: &Store, marks: &Marks) -> Result<Plan> {
    let rows = store.pack_rows()?;
    let mut packs: HashMap<PackId, PackPlan> = HashMap::new();
    let mut condemned = Vec::new();
    for (id, row) in &rows {
        let (id, row) = (*id, *row);
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
    for (id, row) in rows {
        if row.condemned.is_some() {
            continue;
        }
        if let Some(pack) = packs.get_mut(&id) {
            let (blobs, bytes) = (u64::from(row.blobs), record_area(&row));
            let live = marks.live(&id);
            (pack.live_blobs, pack.live_bytes) = (live.blobs, live.bytes);
            pack.dead_blobs = blobs.saturating_sub(live.blobs);
            pack.dead_bytes = bytes.saturating_sub(live.bytes);
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
    let mut round = Live::default();
    for pack in plan.packs.iter().filter(|p| p.action == Action::Rewrite) {
        let fits = round.bytes + pack.live_bytes <= ROUND_BYTES_MAX
            && round.blobs + pack.live_blobs <= ROUND_BLOBS_MAX;
        if fits || round.blobs == 0 {
            round.bytes += pack.live_bytes;
            round.blobs += pack.live_blobs;
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
            let mut goes = goes;
            goes.retain(|id, plan| marks.live(id).blobs == plan.live_blobs);
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
                PACKS.put(txn, pack.id.as_bytes(), &pack.row(generation))?;
                outcome.written_bytes += pack.bytes;
            }
            if !goes.is_empty() || !fresh.is_empty() {
                STATE.put(txn, [], &StateV1 { generation })?;
            }
            let mut list = index.list().clone();
            list.generation = generation;
            list.hidden.extend(goes.keys());
            let add = fresh.iter().filter_map(|p| p.segment.clone()).collect();
            Ok((!goes.is_empty() || !fresh.is_empty(), Edit { list, add }))
        },
        |(changed, edit)| {
            if !*changed {
                return Ok(());
            }
            for pack in &fresh {
                store
                    .disk()
                    .rename(&pack.path, &store.pack_path(&pack.id))?;
            }
            store.disk().sync_dir(&root.join("packs"))?;
            Ok(edit.apply(store.disk(), &store.index_dir())?)
        },
    )?;
    drop(lease);
    let reaped = reap(store)?;
    store.tidy()?;
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
) -> Result<Vec<SealedPack>> {
    let copied = goes.values().filter(|p| p.action == Action::Rewrite);
    let mut slots = marks.marked_in(&copied.map(|p| p.id).collect())?;
    slots.sort_unstable_by_key(|(id, slot)| (*id, slot.offset));
    let mut sealed = Vec::new();
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
        if pack.is_full()
            && let Some(pack) = writer.take()
        {
            sealed.push(seal(store.disk(), pack.finish()?)?);
        }
    }
    if let Some(pack) = writer {
        sealed.push(seal(store.disk(), pack.finish()?)?);
    }
    Ok(sealed)
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
        let index = store.consistent_index(txn)?;
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
                return heal(store.root(), store.disk(), txn, &index);
            }
        }
        Ok(())
    })?;
    store.reload_index()?;
    Ok(())
}
