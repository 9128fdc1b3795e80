//! Snapshots that a collection removes before it frees what nothing needs: those whose time has expired, and those of
//! rules about snapshots.

use std::collections::{HashMap, HashSet};

use cairn_model::{Class, SnapshotKey};
use cairn_snapshot::{Snapshot, Snapshotter};

use super::Gc;
use crate::error::{Error, Result};
use crate::retention::{SnapshotCandidate, SnapshotDecision, decide_snapshots};
use crate::snapshots::NAMESPACE;
use crate::{containers, rows, time};

impl Gc<'_> {
    /// What dates and rules say of snapshots, and changes nothing.
    pub fn snapshot_decisions(&self) -> Result<Vec<SnapshotDecision>> {
        let rules = &self.repo.options.retention.rules;
        let all = self.snapshot_candidates()?;
        Ok(decide_snapshots(&all, rules, time::now_secs()))
    }

    /// Removes what is to go. What cannot be removed any more stays.
    pub(super) fn carry_out_snapshots(&self, decisions: &mut [SnapshotDecision]) -> Result<()> {
        for decision in decisions.iter_mut().filter(|decision| decision.remove) {
            match self.repo.snapshots().remove(&decision.name) {
                Ok(()) => {}
                Err(e) if is_refusal(&e) => {
                    decision.remove = false;
                    decision.why = cairn_model::one_line(&e);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn snapshot_candidates(&self) -> Result<Vec<SnapshotCandidate>> {
        let snapshots = self.repo.snapshots().walk(&[])?;
        let users = self.users_of_snapshots()?;
        let candidate = |snapshot: Snapshot| {
            let in_use = users.get(&snapshot.key).cloned();
            let in_use = in_use.or_else(|| self.holder_of(&snapshot));
            SnapshotCandidate {
                key: snapshot.key,
                parent: snapshot.parent,
                labels: snapshot.labels,
                created: snapshot.created.secs,
                in_use,
            }
        };
        Ok(snapshots.into_iter().map(candidate).collect())
    }

    /// Containers and images that need a snapshot, in words.
    fn users_of_snapshots(&self) -> Result<HashMap<SnapshotKey, String>> {
        self.repo.store.db().read::<_, Error>(|rows| {
            let mut users = HashMap::new();
            for image in rows::images(rows)? {
                if let Some(top) = image.top {
                    users.insert(top, format!("image {} is made of it", image.id.short()));
                }
            }
            for container in containers::all(rows)? {
                users.insert(
                    container.snapshot,
                    format!("container {} uses it", container.name),
                );
            }
            Ok(users)
        })
    }

    /// Who else keeps it: containerd, a mount.
    fn holder_of(&self, snapshot: &Snapshot) -> Option<String> {
        if snapshot.labels.contains_key(NAMESPACE) {
            return Some("it belongs to containerd".to_owned());
        }
        let mounted = self.repo.views().refuse_if_mounted(snapshot);
        mounted.err().map(|_| "it is mounted".to_owned())
    }
}

/// The snapshots that go.
pub(super) fn going(decisions: &[SnapshotDecision]) -> HashSet<SnapshotKey> {
    let going = decisions.iter().filter(|decision| decision.remove);
    going.map(|decision| decision.name.clone()).collect()
}

/// True where somebody uses it by now, or was quicker.
fn is_refusal(error: &Error) -> bool {
    let class = error.class();
    matches!(
        class,
        Class::InUse | Class::NotFound | Class::FailedPrecondition
    )
}
