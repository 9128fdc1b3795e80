//! Two trees become the layer that turns one into the other.

use std::collections::{HashMap, HashSet};

use cairn_model::{Kind, Meta};
use cairn_store::{Feeder, Store};

use crate::dir::{Emitter, Scanned};
use crate::error::Result;
use crate::layer::Limits;
use crate::path::split;
use crate::tree::{NodeId, NodeKind, Tree};

/// The layer that makes `new` of `old`. All content is in the store and is not read; nothing but the manifest is
/// written.
pub fn layer_between(
    store: &Store,
    old: &Tree,
    new: &Tree,
    feeder: Feeder,
    limits: Limits,
) -> Result<Scanned> {
    let mut emitter = Emitter::new(store, feeder, limits);
    let mut first: HashMap<NodeId, Vec<u8>> = HashMap::new();
    for (path, id) in changes(old, new) {
        let Some(id) = id else {
            emitter.known(&path, Meta::default(), Kind::Whiteout)?;
            continue;
        };
        let node = new.node(id);
        let kind = match first.get(&id) {
            Some(target) => Kind::Hardlink(target.clone()),
            None => new.kind(id),
        };
        if has_names(new, id) {
            first.entry(id).or_insert_with(|| path.clone());
        }
        emitter.known(&path, node.meta.clone(), kind)?;
    }
    emitter.finish()
}

/// True for a file, of whatever kind, that has several names.
fn has_names(tree: &Tree, id: NodeId) -> bool {
    let node = tree.node(id);
    node.nlink > 1 && !matches!(node.kind, NodeKind::Directory(_))
}

/// Paths that the layer has to name, in the order of a walk: with the node in `new`, or none for what is gone.
fn changes(old: &Tree, new: &Tree) -> Vec<(Vec<u8>, Option<NodeId>)> {
    let regrouped = regrouped(old, new);
    let differs = |path: &[u8], id: NodeId| {
        let node = new.node(id);
        let before = old.get(path).map(|id| old.node(id));
        let same = before.is_some_and(|before| match (&before.kind, &node.kind) {
            // What is inside has paths of its own.
            (NodeKind::Directory(_), NodeKind::Directory(_)) => before.meta == node.meta,
            (a, b) => a == b && before.meta == node.meta && before.nlink == node.nlink,
        });
        !same || regrouped.contains(&id)
    };
    let mut out: Vec<(Vec<u8>, Option<NodeId>)> = new
        .walk()
        .into_iter()
        .filter(|(path, id)| differs(path, *id))
        .map(|(path, id)| (path, Some(id)))
        .collect();
    // A whiteout takes what is below with it, and so does another kind of file in place of a directory.
    let is_directory = |path: &[u8]| {
        let id = new.get(path);
        id.is_some_and(|id| matches!(new.node(id).kind, NodeKind::Directory(_)))
    };
    let gone = old.walk().into_iter().filter(|(path, _)| {
        new.get(path).is_none() && split(path).is_some_and(|(above, _)| is_directory(above))
    });
    out.extend(gone.map(|(path, _)| (path, None)));
    out.sort_by(|(a, _), (b, _)| a.split(|b| *b == b'/').cmp(b.split(|b| *b == b'/')));
    out
}

/// Files with several names that are not just the names of one file of `old`: a layer's hard links lead to
/// files of its own, so all their names are in it.
fn regrouped(old: &Tree, new: &Tree) -> HashSet<NodeId> {
    let mut groups: HashMap<NodeId, Vec<Vec<u8>>> = HashMap::new();
    for (path, id) in new.walk() {
        if has_names(new, id) {
            groups.entry(id).or_default().push(path);
        }
    }
    let is_same = |id: NodeId, names: &[Vec<u8>]| {
        let before = names.first().and_then(|name| old.get(name));
        before.is_some_and(|before| {
            let (a, b) = (old.node(before), new.node(id));
            (a.nlink, &a.meta, &a.kind) == (b.nlink, &b.meta, &b.kind)
                && names.iter().all(|name| old.get(name) == Some(before))
        })
    };
    groups
        .into_iter()
        .filter(|(id, names)| !is_same(*id, names))
        .map(|(id, _)| id)
        .collect()
}
