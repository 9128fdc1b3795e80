//! One root file system, from a tar or a directory, becomes an image of one layer.

use std::cmp::Reverse;
use std::path::Path;

use cairn_image::{ImageConfig, LayerSource};
use cairn_layer::{Fingerprint, Layer, Scanned, Survey, TarImport, Tree, import_tar, scan, survey};
use cairn_model::{Digest, Entry, ImageRef, LayerId, LayerName};
use cairn_store::codec::Stored;
use cairn_store::kinds;
use cairn_store::{Ingest, Rows, Table, Txn};
use cairn_sys::threads;
use serde::{Deserialize, Serialize};

use super::{Import, Imported, Reading};
use crate::error::{Error, Result};
use crate::rows::{self, ImageRow};
use crate::time;

/// A directory as it was when it was imported last, and the id of the layer it became; in rows of earlier programs
/// the layer's diff id.
#[derive(Serialize, Deserialize)]
struct KnownTreeV1 {
    state: [u8; 32],
    layer: [u8; 32],
}

impl KnownTreeV1 {
    fn layer(&self, rows: &dyn Rows) -> Result<Option<Layer>> {
        let own = LayerName::Own(LayerId::from_bytes(self.layer));
        match rows::layer_of_name(rows, &own)? {
            None => rows::layer_of_diff(rows, &Digest::from_bytes(self.layer)),
            found => Ok(found),
        }
    }
}

impl Stored for KnownTreeV1 {
    const KIND: kinds::Kind = kinds::KNOWN_TREE;
}

/// By device and inode of the root.
const KNOWN_TREES: Table<KnownTreeV1> = Table::new();

fn key(root: (u64, u64)) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&root.0.to_be_bytes());
    key[8..].copy_from_slice(&root.1.to_be_bytes());
    key
}

/// Forgets directories whose layer is gone.
pub(crate) fn forget_trees(txn: &mut Txn<'_>) -> Result<()> {
    for (key, known) in KNOWN_TREES.scan(txn, [])? {
        if known.layer(txn)?.is_none() {
            KNOWN_TREES.delete(txn, key);
        }
    }
    Ok(())
}

impl Import<'_> {
    pub(super) fn root_tar(&self, path: &Path, source: &LayerSource) -> Result<Imported> {
        let ingest = self.repo.store.ingest()?;
        let tar = self.read_root_tar(&ingest, path, source)?;
        self.publish_root(ingest, path, &tar.layer, &[])
    }

    /// Reads a root file system that can be a layer.
    pub(super) fn read_root_tar(
        &self,
        ingest: &Ingest,
        path: &Path,
        source: &LayerSource,
    ) -> Result<TarImport> {
        self.repo.watch().total(source.stored_bytes()?);
        let mut stream = Reading {
            inner: source.open(self.repo.watch())?,
            watch: self.repo.watch(),
        };
        let tar = import_tar(&mut stream, ingest.feeder(), self.repo.options.limits)?;
        if !tar.ended {
            return Err(Error::Invalid(format!(
                "{} is truncated: the end-of-archive mark is missing",
                path.display()
            )));
        }
        check(&tar.entries)?;
        Ok(tar)
    }

    pub(super) fn directory(&self, path: &Path) -> Result<Imported> {
        let known = match self.was(path)? {
            Some(now) => self.known_now(&now)?,
            None => None,
        };
        if let Some(layer) = known
            && self.repo.is_whole(&layer)
        {
            let ingest = self.repo.store.ingest()?;
            let done = self.publish_root(ingest, path, &layer, &[layer]);
            return match done {
                // Removed and collected meanwhile.
                Err(Error::LayerGone) => self.read_directory(path),
                Err(e) => Err(e),
                Ok(imported) => Ok(Imported {
                    layers_present: 1,
                    ..imported
                }),
            };
        }
        self.read_directory(path)
    }

    /// The state of a directory that was imported before.
    fn was(&self, path: &Path) -> Result<Option<Survey>> {
        let root = cairn_layer::root_of(path)?;
        let db = self.repo.store.db();
        let known = db.read::<_, Error>(|rows| Ok(KNOWN_TREES.get(rows, key(root))?))?;
        match known.filter(|_| !self.options.read_all) {
            Some(_) => Ok(Some(survey(path)?)),
            None => Ok(None),
        }
    }

    fn read_directory(&self, path: &Path) -> Result<Imported> {
        let ingest = self.repo.store.ingest()?;
        let watch = self.repo.watch();
        // Only who is told how far it is wants to know how far it goes; what cannot be read the reading finds out.
        let count = || {
            if let Ok(survey) = survey(path) {
                watch.total(survey.bytes);
            }
        };
        let read = || self.scan_directory(&ingest, path);
        let (scanned, state) = match watch.wants_total() {
            true => threads::both(count, read).1?,
            false => read()?,
        };
        let left_out = [scanned.report.dropped, scanned.report.mounts].concat();
        let imported = self.publish_root(ingest, path, &scanned.layer, &[])?;
        if let Some(now) = state.filter(|_| left_out.is_empty()) {
            let row = KnownTreeV1 {
                state: now.state,
                layer: *scanned.layer.id.as_bytes(),
            };
            self.repo
                .store
                .db()
                .write::<_, Error>(|txn| Ok(KNOWN_TREES.put(txn, key(now.root), &row)?))?;
        }
        Ok(Imported {
            left_out,
            ..imported
        })
    }

    /// Reads a directory that can be a layer, and its state where it is at rest.
    pub(super) fn scan_directory(
        &self,
        ingest: &Ingest,
        path: &Path,
    ) -> Result<(Scanned, Option<Fingerprint>)> {
        let read = |bytes| self.repo.watch().read(bytes);
        let (feeder, limits) = (ingest.feeder(), self.repo.options.limits);
        let (scanned, state) = scan(&self.repo.store, path, feeder, limits, &read)?;
        check(&scanned.entries)?;
        Ok((scanned, state))
    }

    /// The layer that a directory became when it was as it is now.
    pub(super) fn known_now(&self, now: &Survey) -> Result<Option<Layer>> {
        let Some(now) = now.fingerprint.filter(|_| !self.options.read_all) else {
            return Ok(None);
        };
        self.repo.store.db().read(|rows: &dyn Rows| {
            let known = KNOWN_TREES.get(rows, key(now.root))?;
            match known.filter(|known| known.state == now.state) {
                // What is named by its entries keeps that name, whoever knows more of it.
                Some(known) => Ok(known.layer(rows)?.map(|layer| Layer {
                    diff_id: None,
                    ..layer
                })),
                None => Ok(None),
            }
        })
    }

    fn publish_root(
        &self,
        ingest: Ingest,
        path: &Path,
        layer: &Layer,
        relied_on: &[Layer],
    ) -> Result<Imported> {
        let source = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy();
        let by = format!("cairn import {source}");
        let made = |name: LayerName, created: &str| {
            ImageConfig::new(&self.options.platform, &[name], created, &by)
        };
        let config = self.same_but_for_date(layer, &made)?;
        let config = config.unwrap_or_else(|| made(layer.name(), &time::rfc3339_now()));
        let layer = match config.layers() {
            // As its document names it.
            [LayerName::Tar(diff_id)] => Layer {
                diff_id: Some(*diff_id),
                ..*layer
            },
            _ => *layer,
        };
        let names: Vec<ImageRef> = self.options.name.iter().cloned().collect();
        self.repo
            .publish_image(ingest, &config, &[layer], relied_on, &names)
    }

    /// The document of the image that the same import made before, as `made` makes it with its date: what did not change keeps its
    /// image id. Of several the one that came last.
    fn same_but_for_date(
        &self,
        layer: &Layer,
        made: &dyn Fn(LayerName, &str) -> ImageConfig,
    ) -> Result<Option<ImageConfig>> {
        let (rows, twin) = self
            .repo
            .store
            .db()
            .read::<_, Error>(|rows| Ok((rows::images(rows)?, rows::twin(rows, layer)?)))?;
        // Earlier programs named the layers of directories by their tars.
        let tar = twin.and_then(|twin| twin.diff_id).map(LayerName::Tar);
        let names = [Some(layer.name()), tar];
        // The snapshot of a layer without a parent has its name.
        let named = |row: ImageRow| {
            let top = row.top.as_ref()?.as_str();
            let mut names = names.into_iter().flatten();
            let name = names.find(|name| name.to_string() == top)?;
            Some((row, name))
        };
        let mut rows: Vec<(ImageRow, LayerName)> = rows.into_iter().filter_map(named).collect();
        rows.sort_unstable_by_key(|(row, _)| Reverse(row.imported));
        for (row, name) in rows {
            // One that cannot be read is somebody else's matter.
            let known = self.repo.images().config(&row);
            let same = known.ok().map(|known| made(name, known.created()));
            if let Some(same) = same.filter(|same| same.digest() == row.id) {
                return Ok(Some(same));
            }
        }
        Ok(None)
    }
}

/// A layer that cannot be merged fails here, before it is published.
fn check(entries: &[Entry]) -> Result<()> {
    Ok(Tree::new().apply(entries)?)
}
