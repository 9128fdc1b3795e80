//! Carries a plan out, and takes away what was retired.

use std::collections::HashSet;

use cairn_model::PackId;

use super::marks::Marks;
use super::outcome::Outcome;
use super::plan::{PackPlan, Plan};
use super::round::{Round, free_space, going, live_slots, next_round};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::lease;
use crate::meta::Txn;
use crate::rows::{OPTIMIZED, OptimizedV1, PACKS, PackRowV1, STATE, StateV1, VERIFIED, pack_rows};
use crate::staged::{Copies, StagedPack};
use crate::store::{Edit, Store, reconcile};

/// Carries out a plan. `catch_up` runs after the copying, which takes long, and may mark what became
/// reachable meanwhile, so that little is left for `remark`, which runs inside the transaction: it must
/// mark all that rows reach by then and may delete rows of its own.
pub fn apply<E: From<Error>>(
    store: &Store,
    plan: &Plan,
    marks: Marks,
    catch_up: impl FnOnce(&mut Marks) -> Result<(), E>,
    remark: impl FnOnce(&mut Txn<'_>, &mut Marks) -> Result<(), E>,
) -> Result<Outcome, E> {
    let _span = tracing::info_span!("sweep").entered();
    let free = free_space(store, &plan.policy)?;
    let Round { goes, left, needs } = next_round(going(plan), &plan.policy, free);
    let copy = |lease: &lease::Lease, marks: &Marks| {
        let packs = copy_live(store, lease, marks, &goes)?;
        Ok(Fresh {
            packs,
            ..Fresh::default()
        })
    };
    let outcome = replace(store, goes.clone(), marks, copy, catch_up, remark)?;
    Ok(Outcome {
        left_packs: left.len(),
        needs_bytes: needs,
        ..outcome
    })
}

/// Packs that take the place of others.
#[derive(Default)]
pub(crate) struct Fresh {
    pub packs: Vec<StagedPack>,
    /// What is to be remembered of those that were recompressed.
    pub optimized: Vec<(PackId, OptimizedV1)>,
}

/// Puts what `copy` makes of the live records of packs in their place, as [`apply`] says.
pub(crate) fn replace<E: From<Error>>(
    store: &Store,
    goes: Vec<PackPlan>,
    mut marks: Marks,
    copy: impl FnOnce(&lease::Lease, &Marks) -> Result<Fresh>,
    catch_up: impl FnOnce(&mut Marks) -> Result<(), E>,
    remark: impl FnOnce(&mut Txn<'_>, &mut Marks) -> Result<(), E>,
) -> Result<Outcome, E> {
    let mut outcome = Outcome::default();
    let lease = store.lease()?;
    let fresh = copy(&lease, &marks)?;
    catch_up(&mut marks)?;
    store.db().write_after::<_, E>(
        |txn| {
            let index = store.consistent_index(txn)?;
            marks.newer = Some(index.clone());
            remark(txn, &mut marks)?;
            let mut goes = goes;
            // What became reachable while the rest was copied keeps its pack: it was not copied.
            goes.retain(|pack| marks.live(&pack.id).blobs == pack.live_blobs);
            let generation = index.generation() + 1;
            for pack in &goes {
                outcome.dead_blobs += pack.dead_blobs;
                if let Some(row) = PACKS.get(txn, pack.id.as_bytes())? {
                    PACKS.put(
                        txn,
                        pack.id.as_bytes(),
                        &PackRowV1 {
                            retired: Some(generation),
                            ..row
                        },
                    )?;
                }
            }
            for pack in &fresh.packs {
                PACKS.put(txn, pack.id.as_bytes(), &pack.row(generation))?;
                outcome.written_bytes += pack.bytes;
            }
            for (id, row) in &fresh.optimized {
                OPTIMIZED.put(txn, id.as_bytes(), row)?;
            }
            let changes = !goes.is_empty() || !fresh.packs.is_empty();
            if changes {
                STATE.put(txn, [], &StateV1 { generation })?;
            }
            let mut list = index.list().clone();
            list.generation = generation;
            if !fresh.optimized.is_empty() {
                list.recoded = generation;
            }
            list.hidden.extend(goes.iter().map(|pack| pack.id));
            let add = fresh.packs.iter().filter_map(|p| p.segment.clone());
            let add = add.collect();
            Ok((changes, Edit { list, add }))
        },
        |(changed, edit)| {
            if !*changed {
                return Ok(());
            }
            Ok(store.install(edit, &fresh.packs)?)
        },
    )?;
    drop(lease);
    let reaped = reap(store)?;
    store.compact_index()?;
    Ok(Outcome {
        written_bytes: outcome.written_bytes,
        dead_blobs: outcome.dead_blobs,
        ..reaped
    })
}

fn copy_live(
    store: &Store,
    lease: &lease::Lease,
    marks: &Marks,
    goes: &[PackPlan],
) -> Result<Vec<StagedPack>> {
    let slots = live_slots(marks, goes)?;
    let bytes = slots.iter().map(|(_, slot)| u64::from(slot.stored)).sum();
    store.watch().total(bytes);
    let mut staged = Vec::new();
    let mut copies = Copies::new(store.disk(), lease.directory());
    let mut record = Vec::new();
    for (id, slot) in slots {
        store.watch().check()?;
        store.pack(&id)?.record(&slot, &mut record)?;
        staged.extend(copies.append(&slot, &record)?);
        store.watch().read(u64::from(slot.stored));
    }
    staged.extend(copies.close()?);
    Ok(staged)
}

/// Unlinks retired packs that no lease can need, and what dead leases left.
pub fn reap(store: &Store) -> Result<Outcome> {
    let root = store.root().to_owned();
    let mut outcome = Outcome::default();
    let (gone, leases) = store.db().read::<_, Error>(|rows| {
        let leases = lease::survey(&root)?;
        let mut gone = Vec::new();
        for (id, row) in pack_rows(rows)? {
            let Some(retired) = row.retired else {
                continue;
            };
            if leases.oldest.is_some_and(|oldest| oldest < retired) {
                outcome.waiting_bytes += row.bytes;
                continue;
            }
            outcome.removed_bytes += row.bytes;
            outcome.removed_packs += 1;
            gone.push(id);
        }
        Ok((gone, leases))
    })?;
    // No lock is needed for the unlinking: leases that begin now do not find these packs any more, and
    // older ones there are none. Files go before their rows: a crash between leaves a row without a file,
    // which the next collection removes, never a file that nothing names.
    for id in &gone {
        store.disk().unlink(&store.pack_path(id))?;
        store.let_go_of(id);
    }
    outcome.removed_bytes += lease::bury(&root, store.disk(), &leases)?;
    if !gone.is_empty() {
        store.disk().sync_dir(&Layout::of(&root).packs())?;
        store.db().write::<_, Error>(|txn| {
            for id in &gone {
                PACKS.delete(txn, id.as_bytes());
                VERIFIED.delete(txn, id.as_bytes());
                OPTIMIZED.delete(txn, id.as_bytes());
            }
            Ok(())
        })?;
    }
    Ok(outcome)
}

/// Gives rows to pack files that have none (left by a crash between rename and transaction), so that
/// the marking sees them.
pub fn adopt_orphans(store: &Store) -> Result<()> {
    store.db().write::<_, Error>(|txn| {
        let index = store.consistent_index(txn)?;
        let known: HashSet<PackId> = pack_rows(txn)?.into_iter().map(|(id, _)| id).collect();
        if store.packs().list()?.iter().all(|id| known.contains(id)) {
            return Ok(());
        }
        reconcile(store.root(), store.disk(), store.packs(), txn, &index)
    })?;
    store.reload_index()?;
    Ok(())
}
