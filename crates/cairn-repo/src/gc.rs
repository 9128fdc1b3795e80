//! Collection: what no snapshot, image or lease needs goes.

use std::cell::RefCell;
use std::collections::HashSet;
use std::os::unix::fs::OpenOptionsExt;

use cairn_layer::Layer;
use cairn_model::{Kind as EntryKind, LayerId, ObjectId, PackId, TreeId};
use cairn_snapshot::{Kind, Snapshot, graph};
use cairn_store::gc::{self, Marks};
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
    /// Rewrite every pack that holds something dead, also where little is.
    pub all: bool,
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
    /// Bytes of retired packs that wait for a running import to end.
    pub waiting_bytes: u64,
    /// Bytes that would have to be free for the rest to be rewritten, where they are not.
    pub needs_bytes: Option<u64>,
    /// Cached views and objects that went.
    pub evicted: Evicted,
    /// Directories of changes that belonged to no snapshot.
    pub orphaned_heads: u64,
    /// Views that were made for mounts which are no more.
    pub stale_views: u64,
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

impl Roots {
    /// Layers of a snapshot, lowest first.
    pub(crate) fn chain(&self, top: &Snapshot) -> Result<Vec<Layer>> {
        let mut layers = Vec::new();
        let mut at = Some(top);
        while let Some(snapshot) = at {
            if let Some(id) = snapshot.layer {
                let layer = self.layers.iter().find(|layer| layer.id == id);
                layers.push(*layer.ok_or(Error::LayerGone)?);
            }
            let parent = snapshot.parent.as_ref();
            at = parent.and_then(|key| self.snapshots.iter().find(|s| s.key == *key));
        }
        layers.reverse();
        Ok(layers)
    }
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

    /// Marks everything of a layer.
    fn mark_layer(&self, marks: &mut Marks, layer: &Layer) -> Result<()> {
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
        }
        Ok(())
    }

    fn mark_roots(
        &self,
        marks: &mut Marks,
        roots: &Roots,
        done: &mut HashSet<LayerKey>,
    ) -> Result<()> {
        for layer in &roots.layers {
            if done.insert(key(layer)) {
                self.mark_layer(marks, layer)?;
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
            self.store.may_spend_reserve();
        }
        let _one = if options.dry_run {
            None
        } else {
            Some(self.only_collector()?)
        };
        if !options.dry_run {
            gc::adopt_orphans(&self.store)?;
        }
        if !options.dry_run {
            report.stale_views = self.drop_stale_views()?;
            // First, because it makes room for what is rewritten.
            report.evicted = self.evict(options.prune_cache)?;
        }
        loop {
            // Index and rows of one moment: a publication between them would look like missing blobs.
            let (mut marks, packs, roots) = self.store.db().read::<_, Error>(|rows| {
                Ok((Marks::new(&self.store)?, gc::pack_rows(rows)?, roots(rows)?))
            })?;
            if !options.dry_run {
                // What is about to be unlinked is decided by the index, so it has to be sound.
                marks
                    .index()
                    .segments()
                    .iter()
                    .try_for_each(|segment| segment.verify())?;
            }
            let mut done = HashSet::new();
            self.mark_roots(&mut marks, &roots, &mut done)?;
            let mut plan = gc::plan(&packs, &marks);
            if options.all {
                plan.rewrite_all();
            }
            if options.dry_run {
                let would = gc::forecast(&self.store, &plan, &marks)?;
                report.freed_bytes = would.removed_bytes.saturating_sub(would.written_bytes);
                report.written_bytes = would.written_bytes;
                report.removed_packs = would.removed_packs;
                report.dead_blobs = would.dead_blobs;
                report.waiting_bytes = would.waiting_bytes;
                report.needs_bytes = would.needs_bytes;
                return Ok(report);
            }
            let done = RefCell::new(done);
            let catch_up = |marks: &mut Marks| {
                let now = self.store.db().read::<_, Error>(|rows| self::roots(rows))?;
                marks.refresh(&self.store)?;
                self.mark_roots(marks, &now, &mut done.borrow_mut())
            };
            let outcome = gc::apply::<Error>(&self.store, &plan, marks, catch_up, |txn, marks| {
                let now = self::roots(txn)?;
                self.mark_roots(marks, &now, &mut done.borrow_mut())?;
                for layer in &now.unreferenced {
                    rows::delete_layer(txn, layer);
                }
                crate::import_root::forget_trees(txn)
            })?;
            report.freed_bytes += outcome.removed_bytes.saturating_sub(outcome.written_bytes);
            report.removed_packs += outcome.removed_packs;
            report.written_bytes += outcome.written_bytes;
            report.dead_blobs += outcome.dead_blobs;
            report.waiting_bytes = outcome.waiting_bytes;
            report.needs_bytes = outcome.needs_bytes;
            if outcome.left_packs == 0 || outcome.removed_packs == 0 {
                break;
            }
        }
        let dropped = self.drop_orphaned_heads();
        match self.store.db().compact() {
            // What could be freed is freed; a shorter journal has to wait for room.
            Err(e) if e.is_full() => {}
            done => done?,
        }
        self.store.fill_reserve();
        report.orphaned_heads = dropped?;
        Ok(report)
    }

    /// Views of trees that are gone, and objects no layer has, leave the cache; with `prune`, all that
    /// nothing writable or mounted is made of. Roots are read again once no view can be made, so that
    /// what came meanwhile stays.
    fn evict(&self, prune: bool) -> Result<Evicted> {
        self.views().retain::<Error>(|| {
            let roots = self.store.db().read::<_, Error>(|rows| roots(rows))?;
            let mut trees: HashSet<TreeId> = HashSet::new();
            let mut objects: HashSet<ObjectId> = HashSet::new();
            for snapshot in roots
                .snapshots
                .iter()
                .filter(|s| !prune || s.kind != Kind::Committed)
            {
                let layers = roots.chain(snapshot)?;
                if trees.insert(tree_id(&layers)) && prune {
                    for layer in &layers {
                        self.objects_of(layer, &mut objects)?;
                    }
                }
            }
            if !prune {
                for layer in &roots.layers {
                    self.objects_of(layer, &mut objects)?;
                }
            }
            Ok((trees, objects))
        })
    }

    /// Names that contents of a layer would have in the object cache.
    fn objects_of(&self, layer: &Layer, objects: &mut HashSet<ObjectId>) -> Result<()> {
        for entry in layer.read_entries(&self.store)? {
            if let EntryKind::File(content) = &entry.kind {
                objects.insert(content.object());
            }
        }
        Ok(())
    }

    /// One collection or repair at a time: two that decide over the same copies could each drop the one
    /// that the other keeps.
    pub(crate) fn only_collector(&self) -> Result<std::fs::File> {
        let path = self.root().join("gc.lock");
        let mut options = std::fs::File::options();
        options.create(true).write(true).truncate(false).mode(0o600);
        let disk = self.store.disk();
        let file = disk.with_room(|| options.open(&path)).at("open", &path)?;
        file.lock().at("lock", &path)?;
        Ok(file)
    }

    /// Heads of snapshots and directories of containers that are gone: left by a kill in the middle of
    /// a removal, or of a creation.
    fn drop_orphaned_heads(&self) -> Result<u64> {
        self.store.db().read::<_, Error>(|rows| {
            let heads = graph::list(rows)?.into_iter().filter_map(|s| s.head);
            let containers = crate::containers::all(rows)?.into_iter().map(|c| c.id);
            Ok(self.drop_unknown("heads", heads.collect())?
                + self.drop_unknown("containers", containers.collect())?)
        })
    }

    fn drop_unknown(&self, place: &str, known: HashSet<PackId>) -> Result<u64> {
        let directory = self.root().join(place);
        let mut count = 0;
        let mut failed = None;
        for entry in std::fs::read_dir(&directory)
            .at("list", &directory)?
            .flatten()
        {
            let id = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<PackId>().ok());
            if id.is_some_and(|id| !known.contains(&id)) {
                match std::fs::remove_dir_all(entry.path()) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        // The others go nevertheless.
                        failed.get_or_insert((e, entry.path()));
                    }
                    _ => count += 1,
                }
            }
        }
        match failed {
            Some((e, path)) => Err(e).at("remove", &path),
            None => Ok(count),
        }
    }
}
