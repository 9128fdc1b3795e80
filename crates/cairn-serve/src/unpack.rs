//! Layers that containerd is about to unpack: what the labels of their snapshots say of them, and which need not be.
//!
//! It unpacks a layer by Prepare over the parent, Apply and Commit. With the capability "rebase" (2.2 and newer) it
//! prepares all layers of an image at once, each *apart*: without a parent, which comes with the commit.

use cairn_model::{Digest, MountPlan, SnapshotKey};
use cairn_repo::{CHAIN, Link, Repo, Target};
use cairn_snapshot::{Labels, Snapshotter};

use crate::info::key;
use crate::status::Failure;

/// Label with the diff id of the layer (2.3 and newer).
const DIFF_ID: &str = "containerd.io/snapshot/diff-id";
/// Label with the chain id that the layer is unpacked over (2.3 and newer).
const BELOW: &str = "containerd.io/snapshot/parent-chain-id";
/// The last part of keys under which containerd unpacks a layer begins so: nothing else has such a head open.
const EXTRACT: &str = "extract-";

fn digest(labels: &Labels, name: &str) -> Option<Digest> {
    labels.get(name)?.parse().ok()
}

/// True for the head of an unpacked layer, which is complete once it is committed.
pub(crate) fn is_extract(key: &SnapshotKey) -> bool {
    let last = key.as_str().rsplit('/').next().unwrap_or_default();
    last.starts_with(EXTRACT)
}

/// True for a layer that is not the lowest one, and yet unpacked over nothing.
pub(crate) fn is_apart(parent: Option<&SnapshotKey>, labels: &Labels) -> bool {
    parent.is_none() && labels.contains_key(CHAIN) && digest(labels, BELOW).is_some()
}

/// True where a snapshot is mounted as an overlay: there is something below its head, or there will be, so that what the
/// layer takes away has to be written down.
pub(crate) fn has_lower(parent: Option<&SnapshotKey>, labels: &Labels) -> bool {
    parent.is_some() || is_apart(parent, labels)
}

/// Prepares a layer apart. Where it is here already the answer is "staged": its snapshot shows it, and only has to be
/// committed. containerd 2.4 tells that by a mount that is read-only; older ones write the layer over itself.
pub(crate) fn prepare_apart(
    repo: &Repo,
    key: &SnapshotKey,
    labels: Labels,
) -> Result<(MountPlan, bool), Failure> {
    let snapshots = repo.snapshots();
    if let Some(chain) = digest(&labels, CHAIN) {
        let link = Link {
            chain,
            below: digest(&labels, BELOW),
            diff_id: digest(&labels, DIFF_ID),
        };
        if let Some(plan) = snapshots.prepare_known(key, &link, labels.clone())? {
            return Ok((plan, true));
        }
    }
    let plan = snapshots.prepare(key, None, labels)?;
    if matches!(plan, MountPlan::Copy(_)) {
        // Whatever the first error, the snapshot is of no use.
        let _ = snapshots.release(key).and_then(cairn_repo::Released::free);
        return Err(Failure::Refused(
            "the driver copy cannot unpack layers side by side; take \"rebase\" from the capabilities of the plugin"
                .into(),
        ));
    }
    Ok((plan, false))
}

/// True where the layer that is about to be unpacked is here: then it becomes the snapshot that the client looks for
/// next, and the answer is "already exists". Only a client that names it by its label knows what that means.
pub(crate) fn is_known(
    repo: &Repo,
    new: &SnapshotKey,
    parent: Option<&SnapshotKey>,
    labels: &Labels,
) -> Result<bool, Failure> {
    let Some(chain) = digest(labels, CHAIN) else {
        return Ok(false);
    };
    let below = match parent {
        None => None,
        Some(parent) => match chain_of(repo, parent)? {
            None => return Ok(false),
            below => below,
        },
    };
    if repo.snapshots().stat(new).is_ok() {
        // An ordinary duplicate, which is refused in its place.
        return Ok(false);
    }
    let link = Link {
        chain,
        below,
        diff_id: digest(labels, DIFF_ID),
    };
    let target = Target {
        name: name_of(new, &chain)?,
        parent: parent.cloned(),
        link,
        labels: labels.clone(),
    };
    Ok(repo.snapshots().commit_known(&target)?)
}

/// Beside the key, as containerd would call it.
fn name_of(new: &SnapshotKey, chain: &Digest) -> Result<SnapshotKey, Failure> {
    match new.as_str().rsplit_once('/') {
        Some((before, _)) => key(&format!("{before}/{chain}")),
        None => key(&format!("{new}+{chain}")),
    }
}

/// The chain id of a snapshot: as its label says, or else its name.
fn chain_of(repo: &Repo, parent: &SnapshotKey) -> Result<Option<Digest>, Failure> {
    let snapshot = repo.snapshots().stat(parent)?;
    let by_name = || parent.as_str().rsplit('/').next()?.parse().ok();
    Ok(digest(&snapshot.labels, CHAIN).or_else(by_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_heads_of_unpacked_layers_are_taken() {
        let is = |text: &str| is_extract(&text.parse().unwrap());
        assert!(is("default/3/extract-12-ab sha256:cd"));
        assert!(!is("default/3/web"));
        assert!(!is("extract-/3/web"));
    }

    #[test]
    fn a_layer_is_apart_where_its_parent_is_named_by_label_alone() {
        let digest = format!("sha256:{}", "1".repeat(64));
        let label = |name: &str| (name.to_owned(), digest.clone());
        let labels = Labels::from([label(CHAIN), label(BELOW)]);
        let parent = "ns/1/base".parse().unwrap();
        assert!(is_apart(None, &labels));
        assert!(!is_apart(Some(&parent), &labels), "its parent is here");
        assert!(!is_apart(None, &Labels::from([label(CHAIN)])), "the lowest");
        assert!(!is_apart(None, &Labels::from([label(BELOW)])), "no layer");
        let no_digest = Labels::from([label(CHAIN), (BELOW.into(), "sha512:00".into())]);
        assert!(!is_apart(None, &no_digest));
    }
}
