//! What a collection would come to, for those who ask before.

use super::marks::{Live, LiveRecords};
use super::outcome::Outcome;
use super::plan::{PackPlan, Plan};
use super::policy::Policy;
use super::round::{Round, copied, free_space, going, next_round};
use crate::error::Result;
use crate::lease::{self, Leases};
use crate::pack::{self, HEADER, new_pack_bytes};
use crate::store::Store;

/// What carrying out a plan now would come to, exactly as long as nothing else changes: living leases
/// make retired packs wait, and what dead ones left goes too.
pub fn forecast(store: &Store, plan: &Plan, records: &impl LiveRecords) -> Result<Outcome> {
    Outlook::of(store, &plan.policy)?.forecast(plan, records)
}

/// What forecasts need to know of leases and of the disk, for many of them at one moment.
#[derive(Debug)]
pub struct Outlook {
    leases: Leases,
    free_bytes: u64,
    left_bytes: u64,
    framed: bool,
}

impl Outlook {
    /// As it is now. Takes the repository lock for a moment.
    pub fn of(store: &Store, policy: &Policy) -> Result<Self> {
        let leases = store.db().locked(|| lease::survey(store.root()))?;
        Ok(Self {
            free_bytes: free_space(store, policy)?,
            left_bytes: lease::left_bytes(store.root(), &leases)?,
            framed: store.has_frames(),
            leases,
        })
    }

    /// What carrying out a plan would come to.
    pub fn forecast(&self, plan: &Plan, records: &impl LiveRecords) -> Result<Outcome> {
        outcome(self, plan, records)
    }
}

fn is_full(fill: Live) -> bool {
    pack::is_full(fill.blobs as usize, HEADER as u64 + fill.bytes)
}

/// Bytes of the packs into which the reachable records of others are copied. Single records are only asked for where
/// a pack becomes full among them.
fn copied_bytes(framed: bool, goes: &[PackPlan], records: &impl LiveRecords) -> Result<u64> {
    let (mut fill, mut written) = (Live::default(), 0);
    let mut close = |fill: &mut Live| {
        let full = std::mem::take(fill);
        written += new_pack_bytes(framed, full.blobs, full.bytes);
    };
    for pack in copied(goes) {
        let all = fill.and(pack.live());
        if !is_full(all) {
            fill = all;
            continue;
        }
        for bytes in records.sizes(&pack.id)? {
            fill = fill.and(Live { blobs: 1, bytes });
            if is_full(fill) {
                close(&mut fill);
            }
        }
    }
    if fill.blobs > 0 {
        close(&mut fill);
    }
    Ok(written)
}

fn outcome(outlook: &Outlook, plan: &Plan, records: &impl LiveRecords) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let leases = &outlook.leases;
    for (_, bytes, retired) in &plan.retired {
        if leases.oldest.is_some_and(|oldest| oldest < *retired) {
            outcome.waiting_bytes += bytes;
        } else {
            outcome.removed_bytes += bytes;
            outcome.removed_packs += 1;
        }
    }
    let mut rest = going(plan);
    let mut free = outlook.free_bytes;
    loop {
        let Round { goes, left, needs } = next_round(rest, &plan.policy, free);
        if goes.is_empty() {
            (outcome.left_packs, outcome.needs_bytes) = (left.len(), needs);
            break;
        }
        rest = left;
        let before = outcome;
        for pack in &goes {
            outcome.dead_blobs += pack.dead_blobs;
            if leases.living > 0 {
                outcome.waiting_bytes += pack.bytes;
            } else {
                outcome.removed_bytes += pack.bytes;
                outcome.removed_packs += 1;
            }
        }
        outcome.written_bytes += copied_bytes(outlook.framed, &goes, records)?;
        free += outcome.removed_bytes - before.removed_bytes;
        free = free.saturating_sub(outcome.written_bytes - before.written_bytes);
    }
    outcome.removed_bytes += outlook.left_bytes;
    Ok(outcome)
}
