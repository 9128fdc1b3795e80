//! Which packs are recompressed next.

use std::collections::{HashMap, HashSet};

use cairn_model::{BlobId, PackId};

use crate::error::{Error, Result};
use crate::gc::{Action, Live, Marks, PackPlan, Policy, free_space};
use crate::pack::pack_bytes;
use crate::rows::{OPTIMIZED, pack_rows};
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
}

/// Packs that hold what was not recompressed yet and is not `in_use`. Those without a live blob are left for a
/// collection.
pub fn due(store: &Store, marks: &Marks, in_use: &HashSet<BlobId>) -> Result<Due> {
    let index = marks.index();
    let mut used: HashMap<PackId, u64> = HashMap::new();
    for id in in_use {
        if let Some(found) = index.find(id)? {
            *used.entry(found.pack).or_default() += found.slot.record_bytes();
        }
    }
    let (rows, done) = store
        .db()
        .read::<_, Error>(|rows| Ok((pack_rows(rows)?, OPTIMIZED.scan(rows, [])?)))?;
    let done: HashMap<Vec<u8>, u64> = done
        .into_iter()
        .map(|(key, row)| (key, row.left_bytes))
        .collect();
    let known: HashSet<PackId> = index.packs().collect();
    let mut found: Vec<(u64, PackPlan)> = Vec::new();
    let mut out = Due::default();
    for (id, row) in rows {
        let live = marks.live(&id);
        if row.retired.is_some() || !known.contains(&id) || live.blobs == 0 {
            continue;
        }
        let left = done.get(&id.as_bytes()[..]).copied();
        let open = left.unwrap_or(live.bytes);
        let open = open.saturating_sub(used.get(&id).copied().unwrap_or(0));
        if open == 0 || open < live.bytes / WORTH {
            continue;
        }
        out.bytes += open;
        found.push((row.created, plan(id, row.bytes, u64::from(row.blobs), live)));
    }
    found.sort_unstable_by_key(|(created, pack)| (*created, pack.id));
    out.packs = found.into_iter().map(|(_, pack)| pack).collect();
    Ok(out)
}

fn plan(id: PackId, bytes: u64, blobs: u64, live: Live) -> PackPlan {
    PackPlan {
        id,
        bytes,
        live_blobs: live.blobs,
        live_bytes: live.bytes,
        dead_blobs: blobs.saturating_sub(live.blobs),
        dead_bytes: 0,
        action: Action::Rewrite,
    }
}

/// Packs to look for similar blobs in, the oldest first: the youngest of those that are not due.
pub(super) fn others(store: &Store, marks: &Marks, due: &Due) -> Result<Vec<PackPlan>> {
    let taken: HashSet<PackId> = due.packs.iter().map(|pack| pack.id).collect();
    let known: HashSet<PackId> = marks.index().packs().collect();
    let rows = store.db().read::<_, Error>(|rows| pack_rows(rows))?;
    let mut rest: Vec<_> = rows
        .into_iter()
        .filter(|(id, row)| row.retired.is_none() && known.contains(id) && !taken.contains(id))
        .collect();
    rest.sort_unstable_by_key(|(id, row)| (std::cmp::Reverse(row.created), *id));
    let mut left = LOOKED_AT_MIN.max(due.bytes.saturating_mul(LOOKED_AT));
    let mut out = Vec::new();
    for (id, row) in rest {
        let live = marks.live(&id);
        let Some(after) = left.checked_sub(live.bytes) else {
            break;
        };
        left = after;
        out.push(plan(id, row.bytes, u64::from(row.blobs), live));
    }
    out.reverse();
    Ok(out)
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
        let live = Live {
            blobs: pack.live_blobs,
            bytes: pack.live_bytes,
        };
        let with = all.and(live);
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
