//! What damage touches: files, layers, images, snapshots, heads in use.

use std::collections::{BTreeMap, HashSet};

use cairn_layer::Layer;
use cairn_model::{BlobId, Kind, LayerId, PackId, SnapshotKey};

use super::{Affected, AffectedHead, Check, CheckReport, Place};
use crate::error::{Error, Result};
use crate::gc::roots;
use crate::rows;

impl Check<'_> {
    pub(super) fn find_hits(
        &self,
        report: &mut CheckReport,
        bad: &BTreeMap<BlobId, String>,
        bad_packs: &HashSet<PackId>,
    ) -> Result<()> {
        let store = &self.repo.store;
        let mut affected: BTreeMap<BlobId, Affected> = BTreeMap::new();
        let why = |id: &BlobId| match (bad.get(id), store.pack_of(id)) {
            (Some(why), _) => Some(why.clone()),
            (None, Err(cairn_store::Error::MissingBlob(_))) => {
                Some("it is not in any pack".to_owned())
            }
            (None, Err(e)) => e.is_corruption().then(|| e.to_string()),
            (None, Ok(pack)) if bad_packs.contains(&pack) => {
                let bad = store.get(id).is_err_and(|e| e.is_corruption());
                bad.then(|| format!("its pack {pack} is damaged"))
            }
            _ => None,
        };
        let mut hit = |id: BlobId, why: String, file| {
            let hit = affected.entry(id).or_insert_with(|| Affected {
                blob: id,
                why,
                files: Vec::new(),
            });
            hit.files.push(file);
        };
        let roots = self.repo.store.db().read::<_, Error>(|rows| roots(rows))?;
        let mut hit_layers: HashSet<LayerId> = HashSet::new();
        for layer in &roots.layers {
            let mut sound = true;
            for stream in std::iter::once(&layer.manifest).chain(&layer.framing) {
                let blobs = store
                    .stream_blobs(stream)
                    .unwrap_or_else(|_| vec![stream.id]);
                for id in blobs {
                    if let Some(why) = why(&id) {
                        hit(id, why, (layer.id, None));
                        sound = false;
                    }
                }
            }
            match self.check_files(layer, &why, &mut hit) {
                Ok(whole) => sound &= whole,
                // Nothing is known of the rest of it.
                Err(e) => {
                    report.note(&e);
                    continue;
                }
            }
            if sound {
                report.layers += 1;
            } else {
                hit_layers.insert(layer.id);
            }
        }
        let (images, tags) = store
            .db()
            .read::<_, Error>(|rows| Ok((rows::images(rows)?, rows::tags(rows)?)))?;
        let chain_hit = |top: &SnapshotKey| {
            // What leads in a circle is told with the rows.
            let chain = roots.ancestors(Some(top)).unwrap_or_default();
            let mut layers = chain.iter().filter_map(|snapshot| snapshot.layer);
            layers.any(|layer| hit_layers.contains(&layer))
        };
        for image in images {
            let document = match store.read_stream(&image.config, crate::images::DOCUMENT_BYTES_MAX)
            {
                Err(e) if !e.is_corruption() => {
                    report.note(&e.into());
                    continue;
                }
                done => done,
            };
            if document.is_err() {
                hit(
                    image.config.id,
                    "the image configuration cannot be read".into(),
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
        let containers = self.repo.containers().list()?;
        for snapshot in roots.snapshots.iter().filter(|s| chain_hit(&s.key)) {
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
        report.snapshots = roots
            .snapshots
            .iter()
            .filter(|s| chain_hit(&s.key))
            .map(|s| s.key.clone())
            .collect();
        report.affected = affected.into_values().collect();
        Ok(())
    }

    fn check_files(
        &self,
        layer: &Layer,
        why: &dyn Fn(&BlobId) -> Option<String>,
        hit: &mut dyn FnMut(BlobId, String, Place),
    ) -> Result<bool> {
        let entries = match layer.read_entries(&self.repo.store) {
            Err(e) if e.is_corruption() => return Ok(false),
            done => done?,
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
        Ok(sound)
    }
}
