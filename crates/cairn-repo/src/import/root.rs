//! One root file system, from a tar or a directory, becomes an image of one layer.

use std::cmp::Reverse;
use std::path::Path;

use cairn_image::{ImageConfig, LayerSource};
use cairn_layer::{Fingerprint, Layer, Scanned, TarImport, Tree, import_tar, scan, survey};
use cairn_model::{Digest, Entry, ImageRef};
use cairn_store::codec::Stored;
use cairn_store::kinds;
use cairn_store::{Ingest, Rows, Table, Txn};
use serde::{Deserialize, Serialize};

use super::{Import, Imported, Reading};
use crate::error::{Error, Result};
use crate::{rows, time};

/// A directory as it was when it was imported last, and the layer it became.
#[derive(Serialize, Deserialize)]
struct KnownTreeV1 {
    state: [u8; 32],
    diff_id: [u8; 32],
}

impl Stored for KnownTreeV1 {
    const KIND: kinds::Kind = kinds::KNOWN_TREE;
}

/// By device and inode of the root.
const KNOWN_TREES: Table<KnownTreeV1> = Table::new();

fn key(fingerprint: &Fingerprint) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&fingerprint.root.0.to_be_bytes());
    key[8..].copy_from_slice(&fingerprint.root.1.to_be_bytes());
    key
}

/// Forgets directories whose layer is gone.
pub(crate) fn forget_trees(txn: &mut Txn<'_>) -> Result<()> {
    for (key, known) in KNOWN_TREES.scan(txn, [])? {
        if rows::layer_of_diff(txn, &Digest::from_bytes(known.diff_id))?.is_none() {
            KNOWN_TREES.delete(txn, key);
        }
    }
    Ok(())
}

impl Import<'_> {
    pub(super) fn root_tar(&self, path: &Path, source: &LayerSource) -> Result<Imported> {
        let ingest = self.repo.store.ingest()?;
        let tar = self.read_root_tar(&ingest, path, source)?;
        self.publish_root(ingest, path, tar.diff_id, &tar.layer, &[])
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
        // Taken before anything is read: what changes from here on changes the next one.
        let survey = survey(path)?;
        let now = survey.fingerprint;
        self.repo.watch().total(survey.bytes);
        let known = self.known_now(now.as_ref())?;
        let ingest = self.repo.store.ingest()?;
        if let Some((layer, diff_id)) = known
            && self.repo.is_whole(&layer)
        {
            let done = self.publish_root(ingest, path, diff_id, &layer, &[layer]);
            return match done {
                // Removed and collected meanwhile.
                Err(Error::LayerGone) => self.read_directory(path, now),
                Err(e) => Err(e),
                Ok(imported) => Ok(Imported {
                    layers_present: 1,
                    ..imported
                }),
            };
        }
        drop(ingest);
        self.read_directory(path, now)
    }

    fn read_directory(&self, path: &Path, state: Option<Fingerprint>) -> Result<Imported> {
        let ingest = self.repo.store.ingest()?;
        let scanned = self.scan_directory(&ingest, path)?;
        let left_out = [scanned.report.dropped, scanned.report.mounts].concat();
        let imported = self.publish_root(ingest, path, scanned.diff_id, &scanned.layer, &[])?;
        if let Some(now) = state.filter(|_| left_out.is_empty()) {
            let row = KnownTreeV1 {
                state: now.state,
                diff_id: *scanned.diff_id.as_bytes(),
            };
            self.repo
                .store
                .db()
                .write::<_, Error>(|txn| Ok(KNOWN_TREES.put(txn, key(&now), &row)?))?;
        }
        Ok(Imported {
            left_out,
            ..imported
        })
    }

    /// Reads a directory that can be a layer.
    pub(super) fn scan_directory(&self, ingest: &Ingest, path: &Path) -> Result<Scanned> {
        let read = |bytes| self.repo.watch().read(bytes);
        let (feeder, limits) = (ingest.feeder(), self.repo.options.limits);
        let scanned = scan(&self.repo.store, path, feeder, limits, &read)?;
        check(&scanned.entries)?;
        Ok(scanned)
    }

    /// The layer that a directory became when it was as it is now.
    pub(super) fn known_now(&self, now: Option<&Fingerprint>) -> Result<Option<(Layer, Digest)>> {
        match now {
            Some(now) if !self.options.read_all => self.known_tree(now),
            _ => Ok(None),
        }
    }

    fn known_tree(&self, now: &Fingerprint) -> Result<Option<(Layer, Digest)>> {
        self.repo.store.db().read(|rows: &dyn Rows| {
            let Some(known) = KNOWN_TREES.get(rows, key(now))? else {
                return Ok(None);
            };
            let diff_id = Digest::from_bytes(known.diff_id);
            let same = known.state == now.state;
            let layer = rows::layer_of_diff(rows, &diff_id)?.filter(|_| same);
            Ok(layer.map(|layer| (layer, diff_id)))
        })
    }

    fn publish_root(
        &self,
        ingest: Ingest,
        path: &Path,
        diff_id: Digest,
        layer: &Layer,
        relied_on: &[Layer],
    ) -> Result<Imported> {
        let source = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy();
        let by = format!("cairn import {source}");
        let made =
            |created: &str| ImageConfig::new(&self.options.platform, &[diff_id], created, &by);
        let config = self.same_but_for_date(diff_id, &made)?;
        let config = config.unwrap_or_else(|| made(&time::rfc3339_now()));
        let names: Vec<ImageRef> = self.options.name.iter().cloned().collect();
        self.repo
            .publish_image(ingest, &config, &[*layer], relied_on, &names)
    }

    /// The document of the image that the same import made before, as `made` makes it with its date: what did not change keeps its
    /// image id. Of several the one that came last.
    fn same_but_for_date(
        &self,
        diff_id: Digest,
        made: &dyn Fn(&str) -> ImageConfig,
    ) -> Result<Option<ImageConfig>> {
        // The snapshot of a layer without a parent has its name.
        let top = diff_id.to_string().parse()?;
        let mut rows = self.repo.store.db().read(|rows| rows::images(rows))?;
        rows.retain(|row| row.top.as_ref() == Some(&top));
        rows.sort_unstable_by_key(|row| Reverse(row.imported));
        for row in rows {
            // One that cannot be read is somebody else's matter.
            let known = self.repo.images().config(&row);
            let same = known.ok().map(|known| made(known.created()));
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
