//! What damage touches: files, layers, images, snapshots, heads in use.

use std::collections::{BTreeMap, HashSet};

use cairn_layer::Layer;
use cairn_model::{BlobId, Kind, LayerId, PackId, SnapshotKey};

use super::{Affected, AffectedHead, Check, CheckReport, Place};
use crate::error::{Error, Result};
use crate::gc::{Roots, roots};
use crate::rows;

/// What is known to be damaged.
#[derive(Default)]
pub(super) struct Bad {
    /// Blobs, and how it shows.
    pub blobs: BTreeMap<BlobId, String>,
    /// Packs of which any blob may be damaged.
    pub packs: HashSet<PackId>,
}

/// The search, as far as it has come.
struct Search<'a> {
    check: Check<'a>,
    bad: Bad,
    roots: Roots,
    affected: BTreeMap<BlobId, Affected>,
    layers: HashSet<LayerId>,
}

impl Check<'_> {
    /// Adds to `report` what `bad` touches.
    pub(super) fn find_affected(&self, report: &mut CheckReport, bad: Bad) -> Result<()> {
        let roots = self.repo.store.db().read::<_, Error>(|rows| roots(rows))?;
        let mut search = Search {
            check: *self,
            bad,
            roots,
            affected: BTreeMap::new(),
            layers: HashSet::new(),
        };
        search.layers(report)?;
        search.images(report)?;
        search.snapshots(report)?;
        report.affected = search.affected.into_values().collect();
        Ok(())
    }
}

impl Search<'_> {
    /// Why a blob cannot be had, if so.
    fn why(&self, id: &BlobId) -> Option<String> {
        let store = &self.check.repo.store;
        match (self.bad.blobs.get(id), store.pack_of(id)) {
            (Some(why), _) => Some(why.clone()),
            (None, Err(cairn_store::Error::MissingBlob(_))) => {
                Some("it is not in any pack".to_owned())
            }
            (None, Err(e)) => e.is_corruption().then(|| e.to_string()),
            // Other blobs of a damaged pack may be whole.
            (None, Ok(pack)) if self.bad.packs.contains(&pack) => {
                let bad = store.get(id).is_err_and(|e| e.is_corruption());
                bad.then(|| format!("its pack {pack} is damaged"))
            }
            (None, Ok(_)) => match store.has(id) {
                Ok(false) => {
                    Some("what it is stored as the difference from is in no pack".to_owned())
                }
                _ => None,
            },
        }
    }

    fn add(&mut self, id: BlobId, why: String, place: Place) {
        let affected = self.affected.entry(id).or_insert_with(|| Affected {
            blob: id,
            why,
            files: Vec::new(),
        });
        affected.files.push(place);
    }

    fn layers(&mut self, report: &mut CheckReport) -> Result<()> {
        for layer in std::mem::take(&mut self.roots.layers) {
            let streams = self.streams(&layer);
            match self.files(&layer) {
                Ok(files) if streams && files => report.layers += 1,
                Ok(_) => drop(self.layers.insert(layer.id)),
                // Nothing is known of the rest of it.
                Err(e) => report.note(&e),
            }
        }
        Ok(())
    }

    /// True where manifest and framing of a layer are whole.
    fn streams(&mut self, layer: &Layer) -> bool {
        let mut sound = true;
        for stream in std::iter::once(&layer.manifest).chain(&layer.framing) {
            let blobs = self.check.repo.store.stream_blobs(stream);
            for id in blobs.unwrap_or_else(|_| vec![stream.id]) {
                if let Some(why) = self.why(&id) {
                    self.add(id, why, Place::Layer(layer.id));
                    sound = false;
                }
            }
        }
        sound
    }

    /// True where all content of a layer is whole.
    fn files(&mut self, layer: &Layer) -> Result<bool> {
        let entries = match layer.read_entries(&self.check.repo.store) {
            Err(e) if e.is_corruption() => return Ok(false),
            done => done?,
        };
        let mut sound = true;
        for entry in entries {
            let Kind::File(content) = &entry.kind else {
                continue;
            };
            for (id, _) in content.blobs() {
                if let Some(why) = self.why(&id) {
                    let path = entry.path.clone();
                    self.add(
                        id,
                        why,
                        Place::File {
                            layer: layer.id,
                            path,
                        },
                    );
                    sound = false;
                }
            }
        }
        Ok(sound)
    }

    fn has_affected_layer(&self, top: &SnapshotKey) -> bool {
        // What leads in a circle is told with the rows.
        let chain = self.roots.ancestors(Some(top)).unwrap_or_default();
        let mut layers = chain.iter().filter_map(|snapshot| snapshot.layer);
        layers.any(|layer| self.layers.contains(&layer))
    }

    fn images(&mut self, report: &mut CheckReport) -> Result<()> {
        let store = &self.check.repo.store;
        let (images, tags) = store
            .db()
            .read::<_, Error>(|rows| Ok((rows::images(rows)?, rows::tags(rows)?)))?;
        for image in images {
            let document = store.read_stream(&image.config, crate::images::DOCUMENT_BYTES_MAX);
            let readable = match document {
                Err(e) if !e.is_corruption() => {
                    report.note(&e.into());
                    continue;
                }
                document => document.is_ok(),
            };
            if !readable {
                self.add(
                    image.config.id,
                    "the image configuration cannot be read".into(),
                    Place::Config(image.id),
                );
            }
            let top = image.top.as_ref();
            if !readable || top.is_some_and(|top| self.has_affected_layer(top)) {
                let mut names = tags.iter().filter(|(_, id)| *id == image.id);
                let name = names.next().map(|(name, _)| name.to_string());
                let id = || image.id.to_string();
                report.images.push(name.unwrap_or_else(id));
            }
        }
        Ok(())
    }

    fn snapshots(&mut self, report: &mut CheckReport) -> Result<()> {
        let containers = self.check.repo.containers().list()?;
        for snapshot in &self.roots.snapshots {
            if !self.has_affected_layer(&snapshot.key) {
                continue;
            }
            report.snapshots.push(snapshot.key.clone());
            let container = containers.iter().find(|c| c.snapshot == snapshot.key);
            let mountpoint = snapshot.labels.get(crate::views::MOUNTPOINT);
            if container.is_some() || mountpoint.is_some() {
                report.heads.push(AffectedHead {
                    snapshot: snapshot.key.clone(),
                    container: container.cloned(),
                    mountpoint: mountpoint.cloned(),
                });
            }
        }
        Ok(())
    }
}
