//! Which packs are recompressed next.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use cairn_model::{BlobId, PackId};

use crate::error::{Error, Result};
use crate::gc::{Action, Live, PackPlan, Plan, Policy, free_space};
use crate::index::Index;
use crate::pack::pack_bytes;
use crate::rows::OPTIMIZED;
use crate::store::Store;

/// A pack of whose records less than one in so many can be recompressed is not worth the copying, by bytes.
const WORTH: u64 = 10;

/// Bytes of other packs that are looked at, for each byte that is due; and at least.
const LOOKED_AT: u64 = 4;
const LOOKED_AT_MIN: u64 = 256 << 20;

/// Packs that are to be recompressed.
#[derive(Debug, Clone, Default)]
pub struct Due {
    /// The oldest first.
    pub packs: Vec<PackPlan>,
    /// Bytes of their records that can be recompressed.
    pub bytes: u64,
    /// Those that are not, the youngest first.
    rest: Vec<PackPlan>,
}

/// Packs that hold what was not recompressed yet and is not `in_use`, of those of a plan that was made over `index`. Those
/// without a live blob are left for a collection.
pub fn due(store: &Store, plan: &Plan, index: &Index, in_use: &HashSet<BlobId>) -> Result<Due> {
    let mut used: HashMap<PackId, u64> = HashMap::new();
    for id in in_use {
        if let Some(found) = index.find(id)? {
            *used.entry(found.pack).or_default() += found.slot.record_bytes();
        }
    }
    let done = store
        .db()
        .read::<_, Error>(|rows| OPTIMIZED.scan(rows, []))?;
    let done: HashMap<Vec<u8>, u64> = done
        .into_iter()
        .map(|(key, row)| (key, row.left_bytes))
        .collect();
    let mut out = Due::default();
    for pack in plan.packs.iter().filter(|pack| pack.live_blobs > 0) {
        let left = done.get(&pack.id.as_bytes()[..]).copied();
        let open = left.unwrap_or(pack.live_bytes);
        let open = open.saturating_sub(used.get(&pack.id).copied().unwrap_or(0));
        let is_due = open > 0 && open >= pack.live_bytes / WORTH;
        let among = match is_due {
            true => &mut out.packs,
            false => &mut out.rest,
        };
        among.push(PackPlan {
            action: Action::Rewrite,
            ..*pack
        });
        out.bytes += if is_due { open } else { 0 };
    }
    out.packs
        .sort_unstable_by_key(|pack| (pack.created, pack.id));
    out.rest
        .sort_unstable_by_key(|pack| (Reverse(pack.created), pack.id));
    Ok(out)
}

impl Due {
    /// Packs to look for similar blobs in, the oldest first: the youngest of those that are not due.
    pub(super) fn others(&self) -> Vec<PackPlan> {
        let mut left = LOOKED_AT_MIN.max(self.bytes.saturating_mul(LOOKED_AT));
        let fits = |pack: &&PackPlan| {
            let after = left.checked_sub(pack.live_bytes);
            left = after.unwrap_or(0);
            after.is_some()
        };
        let mut out: Vec<PackPlan> = self.rest.iter().take_while(fits).copied().collect();
        out.reverse();
        out
    }
}

/// As many of them as fit into one round, and the bytes that have to be free for the first where it does not.
pub(super) fn next(
    store: &Store,
    due: &Due,
    policy: &Policy,
) -> Result<(Vec<PackPlan>, Option<u64>)> {
    let free = free_space(store, policy)?;
    let mut all = Live::default();
    let mut goes = Vec::new();
    for pack in &due.packs {
        let with = all.and(pack.live());
        let fits = with.bytes <= policy.round_bytes_max && with.blobs <= policy.round_blobs_max;
        let needs = pack_bytes(with.blobs, with.bytes);
        if needs > free && goes.is_empty() {
            return Ok((goes, Some(needs)));
        }
        if needs > free || (!fits && !goes.is_empty()) {
            break;
        }
        all = with;
        goes.push(*pack);
    }
    Ok((goes, None))
}
