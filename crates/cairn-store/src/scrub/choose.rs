//! Which packs a scrub reads: those of the repository and of its base, read longest ago first.

use std::collections::HashMap;

use cairn_model::{PackId, clock};

use super::Scope;
use crate::error::{Error, Result};
use crate::rows::{PackInfo, VERIFIED, pack_rows};
use crate::store::Store;

/// A pack that is read.
#[derive(Debug, Clone, Copy)]
pub struct Chosen {
    /// Which.
    pub id: PackId,
    /// Its length, bytes.
    pub bytes: u64,
    /// What its row says; none for a pack of the base.
    pub(super) row: Option<PackInfo>,
}

/// Packs of the base. One that does not open is chosen too, so that it is said.
fn base_packs(store: &Store) -> Result<Vec<Chosen>> {
    let Some(base) = store.base() else {
        return Ok(Vec::new());
    };
    base.reload()?;
    let chosen = |id: PackId| Chosen {
        id,
        bytes: base.pack(&id).and_then(|pack| pack.size()).unwrap_or(0),
        row: None,
    };
    Ok(base.pack_ids().into_iter().map(chosen).collect())
}

/// Packs whose content a scrub of `scope` would read, and how many it would not.
pub fn choose(store: &Store, scope: Scope) -> Result<(Vec<Chosen>, usize)> {
    let (rows, verified) = store
        .db()
        .read::<_, Error>(|rows| Ok((pack_rows(rows)?, VERIFIED.scan(rows, [])?)))?;
    let verified: HashMap<Vec<u8>, u64> = verified
        .into_iter()
        .map(|(key, row)| (key, row.at))
        .collect();
    let at = |id: &PackId| verified.get(&id.as_bytes()[..]).copied().unwrap_or(0);
    let mut packs = base_packs(store)?;
    let own = rows.into_iter().filter(|(_, row)| row.retired.is_none());
    packs.extend(own.map(|(id, row)| Chosen {
        id,
        bytes: row.bytes,
        row: Some(row),
    }));
    let all = packs.len();
    packs.sort_by_key(|pack| at(&pack.id));
    match scope {
        Scope::Structure | Scope::All => {}
        Scope::Share(share) => {
            let total: u64 = packs.iter().map(|pack| pack.bytes).sum();
            let mut left = total as f64 * share;
            packs.retain(|pack| {
                let wanted = left > 0.0;
                left -= pack.bytes as f64;
                wanted
            });
        }
        Scope::OlderThan(age) => {
            let limit = clock::secs().saturating_sub(age.as_secs());
            // A moment in the future is a clock that was wrong: read again.
            packs.retain(|pack| at(&pack.id) <= limit || at(&pack.id) > clock::secs());
        }
    }
    let skipped = all - packs.len();
    Ok((packs, skipped))
}
