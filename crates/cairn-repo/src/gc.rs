//! Collection: what no snapshot, image or lease needs goes.

use std::collections::HashSet;

use cairn_layer::{Layer, NodeKind};
use cairn_model::{Kind as EntryKind, LayerId, ObjectId, PackId, TreeId};
use cairn_snapshot::{Kind, Snapshot, graph};
use cairn_store::gc::{self, Marks, Plan};
use cairn_store::{Rows, StreamRef};
use cairn_view::Evicted;

use crate::error::{At, Error, Result};
use crate::repo::{Repo, tree_id};
use crate::rows;

/// How to collect.
#[derive(Debug, Clone, Copy, Default)]
pub struct GcOptions {
    /// Say what would go, and change nothing.
    pub dry_run: bool,
    /// Also drop cached views and objects that nothing mounted needs.
    pub prune_cache: bool,
}

/// What a collection did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Bytes of pack files that went, less those of new ones.
    pub freed_bytes: u64,
    /// Packs that went.
    pub removed_packs: u64,
    /// Bytes of packs written anew.
    pub written_bytes: u64,
    /// Blobs that nothing needs.
    pub dead_blobs: u64,
    /// Bytes of condemned packs that wait for a running import to end.
    pub waiting_bytes: u64,
    /// Cached views and objects that went.
    pub evicted: Evicted,
    /// Directories of changes that belonged to no snapshot.
    pub orphaned_heads: u64,
}

/// All that keeps blobs.
pub(crate) struct Roots {
    pub snapshots: Vec<Snapshot>,
    pub layers: Vec<Layer>,
    pub unreferenced: Vec<Layer>,
    pub documents: Vec<StreamRef>,
}

/// Reads the roots at one moment.
pub(crate) fn roots(rows: &dyn Rows) -> Result<Roots> {
    let snapshots = graph::list(rows)?;
    let wanted: HashSet<LayerId> = snapshots
        .iter()
        .filter_map(|snapshot| snapshot.layer)
        .collect();
    let (layers, unreferenced) = rows::layers(rows)?
        .into_iter()
        .partition(|layer| wanted.contains(&layer.id));
    let documents = rows::images(rows)?
        .into_iter()
        .map(|image| image.config)
        .collect();
    Ok(Roots {
        snapshots,
        layers,
        unreferenced,
        documents,
    })
}

type LayerKey = (LayerId, Option<cairn_model::Digest>);

fn key(layer: &Layer) -> LayerKey {
    (layer.id, layer.diff_id)
}

impl Repo {
    fn mark_stream(&self, marks: &mut Marks, stream: &StreamRef) -> Result<()> {
        for id in self.store.stream_blobs(stream)? {
            marks.mark(&id)?;
        }
        Ok(())
    }

    /// Marks everything of a layer; collects the names its contents would have in the object cache.
    fn mark_layer(
        &self,
        marks: &mut Marks,
        layer: &Layer,
        objects: &mut HashSet<ObjectId>,
    ) -> Result<()> {
        self.mark_stream(marks, &layer.manifest)?;
        if let Some(framing) = &layer.framing {
            self.mark_stream(marks, framing)?;
        }
        for entry in layer.read_entries(&self.store)? {
            let EntryKind::File(content) = &entry.kind else {
                continue;
            };
            for (id, _) in content.blobs() {
                marks.mark(&id)?;
            }
            objects.insert(content.object());
        }
        Ok(())
    }

    fn mark_roots(
        &self,
        marks: &mut Marks,
        roots: &Roots,
        done: &mut HashSet<LayerKey>,
        objects: &mut HashSet<ObjectId>,
    ) -> Result<()> {
        for layer in &roots.layers {
            if done.insert(key(layer)) {
                self.mark_layer(marks, layer, objects)?;
            }
        }
        roots
            .documents
            .iter()
            .try_for_each(|document| self.mark_stream(marks, document))
    }

    /// Collects. Imports and runs go on beside it; they are held up for moments only.
    pub fn gc(&self, options: &GcOptions) -> Result<GcReport> {
        let mut report = GcReport::default();
        if !options.dry_run {
            gc::adopt_orphans(&self.store)?;
        }
        loop {
            let mut marks = Marks::new(&self.store)?;
            let roots = self.store.db().read::<_, Error>(|rows| roots(rows))?;
            let (mut done, mut objects) = (HashSet::new(), HashSet::new());
            self.mark_roots(&mut marks, &roots, &mut done, &mut objects)?;
            let plan: Plan = gc::plan(&self.store, &marks)?;
            if options.dry_run {
                report.freed_bytes = plan.freed_bytes();
                report.written_bytes = plan.written_bytes();
                report.removed_packs = plan
                    .packs
                    .iter()
                    .filter(|p| p.action != gc::Action::Keep)
                    .count() as u64;
                report.dead_blobs = plan.packs.iter().map(|p| p.dead_blobs).sum();
                return Ok(report);
            }
            let outcome = gc::apply::<Error>(&self.store, &plan, marks, |txn, marks| {
                let now = self::roots(txn)?;
                self.mark_roots(marks, &now, &mut done, &mut objects)?;
                for layer in &now.unreferenced {
                    rows::delete_layer(txn, layer);
                }
                Ok(())
            })?;
            report.freed_bytes += outcome.removed_bytes.saturating_sub(outcome.written_bytes);
            report.removed_packs += outcome.removed_packs;
            report.written_bytes += outcome.written_bytes;
            report.dead_blobs += outcome.dead_blobs;
            report.waiting_bytes = outcome.waiting_bytes;
            if gc::is_done(&plan) || outcome.removed_packs == 0 {
                self.evict(&roots, objects, options.prune_cache, &mut report)?;
                break;
            }
        }
        report.orphaned_heads = self.drop_orphaned_heads()?;
        self.store.db().compact()?;
        Ok(report)
    }

    /// Views of trees that are gone, and objects no layer has, leave the cache.
    fn evict(
        &self,
        roots: &Roots,
        mut objects: HashSet<ObjectId>,
        prune: bool,
        report: &mut GcReport,
    ) -> Result<()> {
        let mut trees: HashSet<TreeId> = HashSet::new();
        if prune {
            objects.clear();
        }
        for snapshot in &roots.snapshots {
            if prune && snapshot.kind == Kind::Committed {
                continue;
            }
            let Ok(layers) = self.layers_of(&snapshot.key) else {
                continue;
            };
            if trees.insert(tree_id(&layers)) && prune {
                let tree = self.tree(&layers)?;
                let files =
                    tree.walk()
                        .into_iter()
                        .filter_map(|(_, id)| match &tree.node(id).kind {
                            NodeKind::File(content) => Some(content.object()),
                            _ => None,
                        });
                objects.extend(files);
            }
        }
        report.evicted = self.views().retain(&trees, &objects)?;
        let directory = self.root().join("cache").join("roots");
        for entry in std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            let known = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
                .is_some_and(|id| trees.contains(&id));
            if !known {
                std::fs::remove_file(entry.path()).at("remove", &entry.path())?;
            }
        }
        Ok(())
    }

    fn drop_orphaned_heads(&self) -> Result<u64> {
        let directory = self.root().join("heads");
        let mut count = 0;
        self.store.db().read::<_, Error>(|rows| {
            let known: HashSet<PackId> = graph::list(rows)?
                .into_iter()
                .filter_map(|snapshot| snapshot.head)
                .collect();
            for entry in std::fs::read_dir(&directory)
                .at("list", &directory)?
                .flatten()
            {
                let id = entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<PackId>().ok());
                if id.is_some_and(|id| !known.contains(&id)) {
                    std::fs::remove_dir_all(entry.path()).at("remove", &entry.path())?;
                    count += 1;
                }
            }
            Ok(())
        })?;
        Ok(count)
    }
}
