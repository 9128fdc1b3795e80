//! What happens to each pack, and what that comes to.

use std::collections::HashSet;

use cairn_model::PackId;

use super::marks::{Live, LiveRecords};
use super::policy::Policy;
use crate::index::Index;
use crate::pack::pack_bytes;
use crate::rows::PackInfo;

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
    /// Index generation that brought it.
    pub created: u64,
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
    /// What of it is reachable.
    pub(crate) fn live(&self) -> Live {
        Live {
            blobs: self.live_blobs,
            bytes: self.live_bytes,
        }
    }

    /// Share of its records that is dead, by bytes.
    pub(super) fn dead_share(&self) -> f64 {
        self.dead_bytes as f64 / (self.dead_bytes + self.live_bytes).max(1) as f64
    }
}

/// What a collection would do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Every pack that is in force.
    pub packs: Vec<PackPlan>,
    /// Packs retired earlier that still wait, their bytes, and when that was.
    pub retired: Vec<(PackId, u64, u64)>,
    /// By which it was made, and is carried out.
    pub policy: Policy,
}

/// Bytes of the records of a pack.
fn record_area(row: &PackInfo) -> u64 {
    row.bytes
        .saturating_sub(pack_bytes(u64::from(row.blobs), 0))
}

/// Bytes of a pack that are of no use while `live` is. Without a dead blob there are none: zeros that a pack with
/// frames has between and behind them would be there again in another.
pub fn dead_bytes(row: &PackInfo, live: Live) -> u64 {
    match u64::from(row.blobs) > live.blobs {
        true => record_area(row).saturating_sub(live.bytes),
        false => 0,
    }
}

/// The packs that collections decide about, as they are at one moment.
#[derive(Debug)]
pub struct Packs {
    /// Those in force, by id.
    in_force: Vec<(PackId, PackInfo)>,
    retired: Vec<(PackId, u64, u64)>,
}

impl Packs {
    /// `rows` are those of the moment at which the marking began, `index` is the one that was marked.
    pub fn new(rows: &[(PackId, PackInfo)], index: &Index) -> Self {
        let known: HashSet<PackId> = index.packs().collect();
        let (mut in_force, mut retired) = (Vec::new(), Vec::new());
        for (id, row) in rows.iter().copied() {
            if let Some(at) = row.retired {
                retired.push((id, row.bytes, at));
            } else if known.contains(&id) {
                // A pack that came after the marking began is not in question.
                in_force.push((id, row));
            }
        }
        in_force.sort_unstable_by_key(|(id, _)| *id);
        Self { in_force, retired }
    }

    /// Decides what to do with each pack.
    pub fn plan(&self, records: &impl LiveRecords, policy: Policy) -> Plan {
        let pack = |(id, row): &(PackId, PackInfo)| {
            let live = records.live(id);
            PackPlan {
                id: *id,
                bytes: row.bytes,
                created: row.created,
                live_blobs: live.blobs,
                live_bytes: live.bytes,
                dead_blobs: u64::from(row.blobs).saturating_sub(live.blobs),
                dead_bytes: dead_bytes(row, live),
                action: Action::Keep,
            }
        };
        let mut packs: Vec<PackPlan> = self.in_force.iter().map(pack).collect();
        let small = |p: &PackPlan| p.bytes < policy.small_pack_bytes;
        let many_small = packs.iter().filter(|p| small(p)).count() > policy.small_packs_max;
        for pack in &mut packs {
            pack.action = match pack.live_blobs {
                0 => Action::Drop,
                _ if pack.dead_share() > policy.dead_share_max || (many_small && small(pack)) => {
                    Action::Rewrite
                }
                _ => Action::Keep,
            };
        }
        Plan {
            packs,
            retired: self.retired.clone(),
            policy,
        }
    }
}
