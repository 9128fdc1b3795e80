//! Verification: everything is read, and what is wrong is named by what it touches.

use std::collections::{BTreeMap, HashMap, HashSet};

use cairn_layer::Layer;
use cairn_model::{BlobId, Kind, LayerId, PackId, SnapshotKey};
use cairn_store::{Damage, PackFile, salvage, scrub};

use crate::error::{At, Error, Result};
use crate::gc::roots;
use crate::images::Image;
use crate::repo::Repo;
use crate::rows;

/// A blob that is damaged or gone, and what needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The blob.
    pub blob: BlobId,
    /// What is wrong with it.
    pub why: String,
    /// Files that have it, as layer and path; a path of `None` is the layer's own manifest or framing.
    pub files: Vec<Place>,
}

/// Where a blob is needed: a layer, and a path in it or none for its own manifest and framing.
pub type Place = (LayerId, Option<Vec<u8>>);

/// What a check found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// Packs read.
    pub packs: usize,
    /// Blobs read.
    pub blobs: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Layers whose every blob was found.
    pub layers: usize,
    /// Faults of packs, index and database as a whole.
    pub faults: Vec<String>,
    /// Blobs that are damaged or gone.
    pub hits: Vec<Hit>,
    /// Names of images that are hit.
    pub images: Vec<String>,
    /// Snapshots that are hit.
    pub snapshots: Vec<SnapshotKey>,
    /// What a repair did.
    pub repaired: Vec<String>,
}

impl CheckReport {
    /// True where everything is as it was written.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.hits.is_empty()
    }
}

impl Repo {
    /// Checks journal, database, index, packs and (with `content`) every byte; then that every blob a
    /// layer or image needs is there.
    pub fn check(&self, content: bool, progress: &(dyn Fn(u64) + Sync)) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        if let Err(e) = self.store.db().verify() {
            report.faults.push(e.to_string());
        }
        let scrub = scrub(&self.store, content, progress)?;
        (report.packs, report.blobs, report.bytes) = (scrub.packs, scrub.blobs, scrub.bytes);
        let mut bad: BTreeMap<BlobId, String> = BTreeMap::new();
        let mut bad_packs: HashSet<PackId> = HashSet::new();
        for damage in &scrub.damage {
            match damage {
                Damage::Pack { id, error } => {
                    bad_packs.insert(*id);
                    report.faults.push(error.to_string());
                }
                Damage::Blob { id, error, .. } => {
                    bad.insert(*id, error.to_string());
                }
                Damage::Index(error) => report.faults.push(error.to_string()),
            }
        }
        self.find_hits(&mut report, &bad, &bad_packs)?;
        Ok(report)
    }

    fn find_hits(
        &self,
        report: &mut CheckReport,
        bad: &BTreeMap<BlobId, String>,
        bad_packs: &HashSet<PackId>,
    ) -> Result<()> {
        let index = self.store.index();
        let mut hits: BTreeMap<BlobId, Hit> = BTreeMap::new();
        let why = |id: &BlobId| match (bad.get(id), index.find(id)) {
            (Some(why), _) => Some(why.clone()),
            (None, Err(e)) => Some(e.to_string()),
            // Published, or moved by a collection, since the index was read.
            (None, Ok(None)) => self
                .store
                .find(id)
                .is_err()
                .then(|| "it is in no pack".to_owned()),
            (None, Ok(Some(found))) if bad_packs.contains(&found.pack) => {
                let whole = self.store.get(id).is_ok();
                (!whole).then(|| format!("its pack {} is damaged", found.pack))
            }
            _ => None,
        };
        let mut hit = |id: BlobId, why: String, file| {
            let hit = hits.entry(id).or_insert_with(|| Hit {
                blob: id,
                why,
                files: Vec::new(),
            });
            hit.files.push(file);
        };
        let roots = self.store.db().read::<_, Error>(|rows| roots(rows))?;
        let mut hit_layers: HashSet<LayerId> = HashSet::new();
        for layer in &roots.layers {
            let mut sound = true;
            for stream in std::iter::once(&layer.manifest).chain(&layer.framing) {
                let blobs = self
                    .store
                    .stream_blobs(stream)
                    .unwrap_or_else(|_| vec![stream.id]);
                for id in blobs {
                    if let Some(why) = why(&id) {
                        hit(id, why, (layer.id, None));
                        sound = false;
                    }
                }
            }
            sound &= self.check_files(layer, &why, &mut hit);
            if sound {
                report.layers += 1;
            } else {
                hit_layers.insert(layer.id);
            }
        }
        let (images, tags) = self
            .store
            .db()
            .read::<_, Error>(|rows| Ok((rows::images(rows)?, rows::tags(rows)?)))?;
        let chains: HashMap<&SnapshotKey, &cairn_snapshot::Snapshot> =
            roots.snapshots.iter().map(|s| (&s.key, s)).collect();
        let chain_hit = |top: &SnapshotKey| {
            let mut at = Some(top);
            while let Some(snapshot) = at.and_then(|key| chains.get(key)) {
                if snapshot
                    .layer
                    .is_some_and(|layer| hit_layers.contains(&layer))
                {
                    return true;
                }
                at = snapshot.parent.as_ref();
            }
            false
        };
        for image in images {
            let document = self.store.read_stream(&image.config, 64 << 20);
            if document.is_err() {
                hit(
                    image.config.id,
                    "the image's document does not read".into(),
                    (LayerId::from_bytes([0; 32]), None),
                );
            }
            if document.is_err() || image.top.as_ref().is_some_and(&chain_hit) {
                let name = tags
                    .iter()
                    .find(|(_, id)| *id == image.id)
                    .map(|(name, _)| name.to_string());
                report
                    .images
                    .push(name.unwrap_or_else(|| image.id.to_string()));
            }
        }
        report.snapshots = roots
            .snapshots
            .iter()
            .filter(|s| chain_hit(&s.key))
            .map(|s| s.key.clone())
            .collect();
        report.hits = hits.into_values().collect();
        Ok(())
    }

    fn check_files(
        &self,
        layer: &Layer,
        why: &dyn Fn(&BlobId) -> Option<String>,
        hit: &mut dyn FnMut(BlobId, String, Place),
    ) -> bool {
        let Ok(entries) = layer.read_entries(&self.store) else {
            return false;
        };
        let mut sound = true;
        for entry in entries {
            let Kind::File(content) = &entry.kind else {
                continue;
            };
            for (id, _) in content.blobs() {
                if let Some(why) = why(&id) {
                    hit(id, why, (layer.id, Some(entry.path.clone())));
                    sound = false;
                }
            }
        }
        sound
    }

    /// Makes good what can be: the index from the packs, the database from the journal, and packs that
    /// are damaged by saving each whole blob of them into a new pack. The damaged file is kept in
    /// `quarantine/`.
    pub fn repair(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<CheckReport> {
        let mut done = Vec::new();
        let _one = self.only_collector()?;
        done.extend(self.store.db().repair()?.map(str::to_owned));
        let scrub = scrub(&self.store, true, progress)?;
        let mut packs: HashSet<PackId> = HashSet::new();
        let mut index = false;
        for damage in scrub.damage {
            match damage {
                Damage::Pack { id, .. } | Damage::Blob { pack: id, .. } => {
                    packs.insert(id);
                }
                Damage::Index(_) => index = true,
            }
        }
        // A repair that was cut off may have left a pack that no row names any more.
        let directory = self.root().join("packs");
        let files = std::fs::read_dir(&directory)
            .at("list", &directory)?
            .flatten();
        let on_disk: Vec<PackId> = files
            .filter_map(|file| file.path().file_stem()?.to_str()?.parse().ok())
            .collect();
        let known: HashSet<PackId> = self
            .store
            .pack_rows()?
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        packs.extend(on_disk.into_iter().filter(|id| !known.contains(id)));
        for id in packs {
            done.push(self.quarantine(&id)?);
            index = true;
        }
        if index {
            self.store.rebuild_index()?;
            done.push("made the index anew from the packs".to_owned());
        }
        Ok(CheckReport {
            repaired: done,
            ..self.check(true, progress)?
        })
    }

    fn quarantine(&self, id: &PackId) -> Result<String> {
        let path = self.store.pack_path(id);
        let directory = self.root().join("quarantine");
        std::fs::create_dir_all(&directory).at("create directory", &directory)?;
        let kept = directory.join(path.file_name().unwrap_or_default());
        let known = PackFile::open(&path)
            .and_then(|pack| pack.directory())
            .map(|directory| directory.slots.len());
        // Set aside before it is forgotten: whatever happens next, its bytes are there.
        if path.exists() && !kept.exists() {
            std::fs::hard_link(&path, &kept).at("set aside", &path)?;
        }
        self.store.forget_pack(id)?;
        let ingest = self.store.ingest()?;
        let mut feeder = ingest.feeder();
        let mut count = 0;
        if path.exists() {
            count = salvage::<Error>(&path, |content| {
                feeder.put(&content)?;
                Ok(())
            })?;
        }
        feeder.ids()?;
        drop(feeder);
        self.store
            .publish::<_, Error>(ingest.finish()?, |_| Ok(()))?;
        if path.exists() {
            std::fs::remove_file(&path).at("remove", &path)?;
        }
        let of = known.map_or_else(|_| "an unknown number of".to_owned(), |n| n.to_string());
        Ok(format!(
            "saved {count} of {of} blobs of pack {id}; the damaged file is {}",
            kept.display()
        ))
    }

    /// Names of the images that have a layer; for reports.
    pub fn images_of_layer(images: &[Image], layer: &LayerId) -> Vec<String> {
        let has = |image: &&Image| image.layers.iter().any(|l| l.id == *layer);
        let name = |image: &Image| {
            image
                .names
                .first()
                .map_or_else(|| image.row.id.short(), ToString::to_string)
        };
        images.iter().filter(has).map(name).collect()
    }
}
