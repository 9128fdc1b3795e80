//! What a collection would come to, for those who ask before.

use super::marks::{Live, LiveRecords};
use super::outcome::Outcome;
use super::plan::Plan;
use super::policy::Policy;
use super::round::{Round, copied, free_space, next_round};
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
    let mut rest = Plan {
        packs: plan.packs.clone(),
        retired: Vec::new(),
        policy: plan.policy,
    };
    let written = |fill: Live| new_pack_bytes(outlook.framed, fill.blobs, fill.bytes);
    let mut free = outlook.free_bytes;
    loop {
        let Round { goes, left, needs } = next_round(&rest, free);
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
        for bytes in records.sizes(&copied(&goes))? {
            fill.blobs += 1;
            fill.bytes += bytes;
            if pack::is_full(fill.blobs as usize, HEADER as u64 + fill.bytes) {
                outcome.written_bytes += written(std::mem::take(&mut fill));
            }
        }
        if fill.blobs > 0 {
            outcome.written_bytes += written(fill);
        }
        free += outcome.removed_bytes - before.removed_bytes;
        free = free.saturating_sub(outcome.written_bytes - before.written_bytes);
    }
    outcome.removed_bytes += outlook.left_bytes;
    Ok(outcome)
}
