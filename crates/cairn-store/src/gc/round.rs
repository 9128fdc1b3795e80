//! What of a plan is carried out at a time, so that a collection needs little free space.

use std::collections::HashSet;

use cairn_model::PackId;

use super::marks::{Live, Marks};
use super::plan::{Action, PackPlan, Plan};
use super::policy::Policy;
use crate::error::{IoContext, Result};
use crate::pack::{Slot, pack_bytes};
use crate::store::Store;

/// What one round takes.
#[derive(Default)]
pub(super) struct Round {
    /// Packs that go, by id.
    pub goes: Vec<PackPlan>,
    /// Packs left for another round, the most dead first.
    pub left: Vec<PackPlan>,
    /// Bytes that have to be free for the next pack to be rewritten, where that is why it was left.
    pub needs: Option<u64>,
}

/// Packs that do not stay, the most dead first.
pub(super) fn going(plan: &Plan) -> Vec<PackPlan> {
    let packs = plan.packs.iter().filter(|p| p.action != Action::Keep);
    let mut packs: Vec<PackPlan> = packs.copied().collect();
    packs.sort_by(|a, b| b.dead_share().total_cmp(&a.dead_share()));
    packs
}

/// The next round of what is [`going`]: all packs that hold nothing, and of those to rewrite, the most dead first, as
/// many as fit into `free` bytes of new packs.
pub(super) fn next_round(going: Vec<PackPlan>, policy: &Policy, free: u64) -> Round {
    let mut round = Round::default();
    let mut copied = Live::default();
    for pack in going {
        let all = copied.and(pack.live());
        let fits = copied.blobs == 0
            || (all.bytes <= policy.round_bytes_max && all.blobs <= policy.round_blobs_max);
        let has_space = pack.live_blobs == 0 || pack_bytes(all.blobs, all.bytes) <= free;
        if fits && has_space {
            copied = all;
            round.goes.push(pack);
            continue;
        }
        if !has_space {
            let alone = pack_bytes(pack.live_blobs, pack.live_bytes);
            round.needs = Some(round.needs.map_or(alone, |least| least.min(alone)));
        }
        round.left.push(pack);
    }
    round.goes.sort_unstable_by_key(|pack| pack.id);
    round
}

/// Bytes that new packs may take: what is free, but for a reserve that keeps the disk from filling up to
/// the last byte.
pub(crate) fn free_space(store: &Store, policy: &Policy) -> Result<u64> {
    let disk = rustix::fs::statvfs(store.root()).at("stat", store.root())?;
    let reserve = policy.reserve_bytes.min(disk.f_blocks * disk.f_frsize / 16);
    let free = (disk.f_bavail * disk.f_frsize).saturating_sub(reserve);
    Ok(free.min(policy.new_bytes_max))
}

/// Those of the packs that go out of which something has to be copied.
pub(super) fn copied(goes: &[PackPlan]) -> impl Iterator<Item = &PackPlan> {
    goes.iter().filter(|p| p.action == Action::Rewrite)
}

/// What has to be copied before `goes` can go, in the order in which it lies there.
pub(crate) fn live_slots(marks: &Marks, goes: &[PackPlan]) -> Result<Vec<(PackId, Slot)>> {
    let copied: HashSet<PackId> = copied(goes).map(|pack| pack.id).collect();
    let mut slots = marks.marked_in(&copied)?;
    slots.sort_unstable_by_key(|(id, slot)| (*id, slot.offset));
    Ok(slots)
}
