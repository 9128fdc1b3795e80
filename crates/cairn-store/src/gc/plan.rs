//! What happens to each pack, and what that comes to.

use std::collections::{HashMap, HashSet};

use cairn_model::PackId;

use super::marks::{Live, Marks};
use super::sweep::Outcome;
use crate::error::{IoContext, Result};
use crate::lease;
use crate::pack::{self, HEADER, Slot, pack_bytes};
use crate::rows::PackRowV1;
use crate::store::Store;

/// Packs are rewritten when more than this share of their records is dead.
const DEAD_SHARE_MAX: f64 = 0.2;
/// Live bytes that one round copies before it frees the packs they came from.
const ROUND_BYTES_MAX: u64 = 512 << 20;
/// Blobs that one round copies.
const ROUND_BLOBS_MAX: u64 = 1 << 20;
/// Bytes that a collection leaves free, or a sixteenth of a small disk.
const ROOM_RESERVE: u64 = 16 << 20;
/// More packs than this under [`SMALL_PACK_BYTES`] are put together.
const SMALL_PACKS_MAX: usize = 16;
const SMALL_PACK_BYTES: u64 = 8 << 20;

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

impl PackPlan {
    /// Share of its records that is dead, by bytes.
    fn dead_share(&self) -> f64 {
        self.dead_bytes as f64 / (self.dead_bytes + self.live_bytes).max(1) as f64
    }
}

/// What a collection would do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Every pack that is in force.
    pub packs: Vec<PackPlan>,
    /// Packs condemned earlier that still wait, their bytes, and when that was.
    pub condemned: Vec<(PackId, u64, u64)>,
}

impl Plan {
    /// Rewrites every pack with a dead record, however little that frees.
    pub fn rewrite_all(&mut self) {
        for pack in &mut self.packs {
            if pack.action == Action::Keep && pack.dead_blobs > 0 {
                pack.action = Action::Rewrite;
            }
        }
    }
}

/// Bytes of the records of a pack.
pub fn record_area(row: &PackRowV1) -> u64 {
    row.bytes
        .saturating_sub(pack_bytes(u64::from(row.blobs), 0))
}

/// Decides what to do with each pack. `rows` are those of the moment at which the marking began.
pub fn plan(rows: &[(PackId, PackRowV1)], marks: &Marks) -> Plan {
    let known: HashSet<PackId> = marks.index().packs().collect();
    let (mut packs, mut condemned) = (Vec::new(), Vec::new());
    for (id, row) in rows.iter().copied() {
        if let Some(at) = row.condemned {
            condemned.push((id, row.bytes, at));
        } else if known.contains(&id) {
            // A pack that came after the marking began is not in question.
            let live = marks.live(&id);
            packs.push(PackPlan {
                id,
                bytes: row.bytes,
                live_blobs: live.blobs,
                live_bytes: live.bytes,
                dead_blobs: u64::from(row.blobs).saturating_sub(live.blobs),
                dead_bytes: record_area(&row).saturating_sub(live.bytes),
                action: Action::Keep,
            });
        }
    }
    packs.sort_unstable_by_key(|pack| pack.id);
    let small = |p: &PackPlan| p.bytes < SMALL_PACK_BYTES;
    let many_small = packs.iter().filter(|p| small(p)).count() > SMALL_PACKS_MAX;
    for pack in &mut packs {
        pack.action = match pack.live_blobs {
            0 => Action::Drop,
            _ if pack.dead_share() > DEAD_SHARE_MAX || (many_small && small(pack)) => {
                Action::Rewrite
            }
            _ => Action::Keep,
        };
    }
    Plan { packs, condemned }
}

/// What one round takes.
#[derive(Default)]
pub(super) struct Round {
    /// Packs that go.
    pub goes: HashMap<PackId, PackPlan>,
    /// Packs left for another round.
    pub left: usize,
    /// Bytes that have to be free for the next pack to be rewritten, where that is why it was left.
    pub needs: Option<u64>,
}

/// The next round: all packs that hold nothing, and of those to rewrite, the most dead first, as many as
/// fit into `room` bytes of new packs.
pub(super) fn next_round(plan: &Plan, room: u64) -> Round {
    let mut round = Round::default();
    let mut copied = Live::default();
    let mut wanted: Vec<&PackPlan> = plan
        .packs
        .iter()
        .filter(|p| p.action != Action::Keep)
        .collect();
    wanted.sort_by(|a, b| b.dead_share().total_cmp(&a.dead_share()));
    for pack in wanted {
        let all = Live {
            blobs: copied.blobs + pack.live_blobs,
            bytes: copied.bytes + pack.live_bytes,
        };
        let fits =
            copied.blobs == 0 || (all.bytes <= ROUND_BYTES_MAX && all.blobs <= ROUND_BLOBS_MAX);
        let has_room = pack.live_blobs == 0 || pack_bytes(all.blobs, all.bytes) <= room;
        if fits && has_room {
            copied = all;
            round.goes.insert(pack.id, *pack);
            continue;
        }
        round.left += 1;
        if !has_room {
            let alone = pack_bytes(pack.live_blobs, pack.live_bytes);
            round.needs = Some(round.needs.map_or(alone, |least| least.min(alone)));
        }
    }
    round
}

/// Bytes that new packs may take: what is free, but for a reserve that keeps the disk from filling up to
/// the last byte.
pub(super) fn room(store: &Store) -> Result<u64> {
    let disk = rustix::fs::statvfs(store.root()).at("stat", store.root())?;
    let reserve = ROOM_RESERVE.min(disk.f_blocks * disk.f_frsize / 16);
    Ok((disk.f_bavail * disk.f_frsize).saturating_sub(reserve))
}

/// What carrying out a plan now would come to, exactly as long as nothing else changes: living leases
/// make condemned packs wait, and what dead ones left goes too.
pub fn forecast(store: &Store, plan: &Plan, marks: &Marks) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let leases = store.db().locked(|| lease::survey(store.root()))?;
    for (_, bytes, condemned) in &plan.condemned {
        if leases.oldest.is_some_and(|oldest| oldest < *condemned) {
            outcome.waiting_bytes += bytes;
        } else {
            outcome.removed_bytes += bytes;
            outcome.removed_packs += 1;
        }
    }
    let mut rest = Plan {
        packs: plan.packs.clone(),
        condemned: Vec::new(),
    };
    let mut room = room(store)?;
    loop {
        let Round { goes, left, needs } = next_round(&rest, room);
        if goes.is_empty() {
            (outcome.left_packs, outcome.needs_bytes) = (left, needs);
            break;
        }
        let before = outcome;
        rest.packs.retain(|pack| !goes.contains_key(&pack.id));
        for pack in goes.values() {
            outcome.dead_blobs += pack.dead_blobs;
            if leases.living > 0 {
                outcome.waiting_bytes += pack.bytes;
            } else {
                outcome.removed_bytes += pack.bytes;
                outcome.removed_packs += 1;
            }
        }
        let mut fill = Live::default();
        for (_, slot) in live_slots(marks, &goes)? {
            fill.blobs += 1;
            fill.bytes += slot.record_bytes();
            if pack::is_full(fill.blobs as usize, HEADER as u64 + fill.bytes) {
                outcome.written_bytes += pack_bytes(fill.blobs, fill.bytes);
                fill = Live::default();
            }
        }
        if fill.blobs > 0 {
            outcome.written_bytes += pack_bytes(fill.blobs, fill.bytes);
        }
        room += outcome.removed_bytes - before.removed_bytes;
        room = room.saturating_sub(outcome.written_bytes - before.written_bytes);
    }
    outcome.removed_bytes += lease::left_bytes(store.root(), &leases)?;
    Ok(outcome)
}

/// What has to be copied before `goes` can go, in the order in which it lies there.
pub(super) fn live_slots(
    marks: &Marks,
    goes: &HashMap<PackId, PackPlan>,
) -> Result<Vec<(PackId, Slot)>> {
    let copied = goes.values().filter(|p| p.action == Action::Rewrite);
    let mut slots = marks.marked_in(&copied.map(|p| p.id).collect())?;
    slots.sort_unstable_by_key(|(id, slot)| (*id, slot.offset));
    Ok(slots)
}
