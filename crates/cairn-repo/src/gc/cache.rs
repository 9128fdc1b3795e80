//! What of the cache is of no use any more.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use cairn_layer::Layer;
use cairn_model::{Kind as EntryKind, ObjectId, TreeId};
use cairn_snapshot::{Kind, Snapshot};
use cairn_view::Evicted;

use super::{Gc, Roots, roots};
use crate::error::{Error, Result};
use crate::trees::tree_id;

/// What stays in the cache.
type Kept = (HashSet<TreeId>, HashSet<ObjectId>);

/// The trees of all snapshots.
fn trees(roots: &Roots) -> Result<HashSet<TreeId>> {
    let chains = roots.snapshots.iter().map(|snapshot| roots.chain(snapshot));
    chains.map(|layers| Ok(tree_id(&layers?))).collect()
}

impl Gc<'_> {
    /// Views of trees that are gone, and objects no layer has, leave the cache; with `prune`, all that
    /// nothing writable or mounted is made of; else what is over the cache's budget. Roots are read again
    /// once no view can be made, so that what came meanwhile stays.
    pub(super) fn evict(&self, prune: bool) -> Result<Evicted> {
        let budget = self.repo.options.cache_bytes_max;
        self.evict_to(if prune { Some(0) } else { budget })
    }

    /// The same down to this many bytes; what is in use stays, whatever it takes.
    pub(super) fn evict_to(&self, bytes_max: Option<u64>) -> Result<Evicted> {
        let all = self.repo.store.db().read::<_, Error>(|rows| roots(rows))?;
        self.repo.views().cache().forget_uses(&trees(&all)?);
        self.repo.views().cache().retain::<Error>(|| {
            let roots = self.repo.store.db().read::<_, Error>(|rows| roots(rows))?;
            match bytes_max {
                None => self.of_any_use(&roots),
                Some(0) => self.in_use(&roots),
                Some(bytes_max) => self.within(&roots, bytes_max),
            }
        })
    }

    fn of_any_use(&self, roots: &Roots) -> Result<Kept> {
        let mut objects = HashSet::new();
        for layer in &roots.layers {
            self.objects_of(layer, &mut objects)?;
        }
        Ok((trees(roots)?, objects))
    }

    /// What writable snapshots and mounts are made of. It stays, whatever it takes.
    fn in_use(&self, roots: &Roots) -> Result<Kept> {
        let (mut trees, mut objects) = Kept::default();
        for snapshot in roots.snapshots.iter().filter(|s| is_used(s)) {
            let layers = roots.chain(snapshot)?;
            if trees.insert(tree_id(&layers)) {
                for layer in &layers {
                    self.objects_of(layer, &mut objects)?;
                }
            }
        }
        Ok((trees, objects))
    }

    /// What is in use, and of the rest the views that were used last, with their objects, as far as
    /// they fit.
    fn within(&self, roots: &Roots, bytes_max: u64) -> Result<Kept> {
        let sizes = self.repo.views().cache().sizes();
        // What views over packs share goes with the last of them.
        let bytes_max = bytes_max.saturating_sub(sizes.contents);
        let (trees, objects) = self.of_any_use(roots)?;
        if sizes.of(&trees, &objects) <= bytes_max {
            return Ok((trees, objects));
        }
        let cache = self.repo.views().cache();
        let (trees, mut objects) = self.in_use(roots)?;
        // What a view lies over stays as long as it does.
        let mut trees = cache.with_bases(trees);
        let mut left = bytes_max.saturating_sub(sizes.of(&trees, &objects));
        let mut others: HashMap<TreeId, Vec<Layer>> = HashMap::new();
        for snapshot in &roots.snapshots {
            let layers = roots.chain(snapshot)?;
            let tree = tree_id(&layers);
            if !trees.contains(&tree) && sizes.views.contains_key(&tree) {
                others.insert(tree, layers);
            }
        }
        let mut others: Vec<_> = others.into_iter().collect();
        others.sort_unstable_by_key(|(tree, _)| (Reverse(sizes.views[tree].used), *tree));
        for (tree, layers) in others {
            let mut more = HashSet::new();
            for layer in &layers {
                self.objects_of(layer, &mut more)?;
            }
            more.retain(|object| !objects.contains(object));
            let mut with_bases = cache.with_bases(HashSet::from([tree]));
            with_bases.retain(|tree| !trees.contains(tree));
            let bytes = sizes.of(&with_bases, &more);
            // A large one that does not fit makes room for smaller ones that were used before it.
            if bytes <= left {
                left -= bytes;
                trees.extend(with_bases);
                objects.extend(more);
            }
        }
        Ok((trees, objects))
    }

    /// Names that contents of a layer would have in the object cache.
    fn objects_of(&self, layer: &Layer, objects: &mut HashSet<ObjectId>) -> Result<()> {
        for entry in layer.read_entries(&self.repo.store)? {
            if let EntryKind::File(content) = &entry.kind {
                objects.insert(content.object());
            }
        }
        Ok(())
    }
}

fn is_used(snapshot: &Snapshot) -> bool {
    snapshot.kind != Kind::Committed
}
