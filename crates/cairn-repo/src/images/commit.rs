//! A changed snapshot becomes an image.

use cairn_image::{History, ImageConfig, Platform};
use cairn_layer::Layer;
use cairn_model::{ImageRef, LayerName, SnapshotKey};
use cairn_snapshot::Snapshotter;
use serde_json::Value;

use super::Images;
use crate::error::Result;
use crate::import::Imported;
use crate::time;

/// What a new image says beside its layers.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// Name for it.
    pub name: Option<ImageRef>,
    /// Who made it.
    pub author: String,
    /// A remark.
    pub message: String,
    /// The command that changed it, for the history.
    pub created_by: String,
    /// Its `config` field, where it differs from the parent image's.
    pub config: Option<Value>,
}

impl Images<'_> {
    /// Makes an image of the active snapshot `key`, which stays as it is. `base` is the image it was
    /// made of, if it was.
    pub fn commit(
        &self,
        key: &SnapshotKey,
        base: Option<&ImageConfig>,
        options: &CommitOptions,
    ) -> Result<Imported> {
        let _span = tracing::info_span!("commit").entered();
        let store = || self.store_commit(key, base, options);
        self.repo.with_room(store, || Ok(None))
    }

    fn store_commit(
        &self,
        key: &SnapshotKey,
        base: Option<&ImageConfig>,
        options: &CommitOptions,
    ) -> Result<Imported> {
        let snapshot = self.repo.snapshots().stat(key)?;
        let mut layers = self.repo.layers_of(key)?;
        let parent = self.repo.tree(&layers)?;
        let ingest = self.repo.store.ingest()?;
        let scanned = self.repo.heads().read(&snapshot, &parent, &ingest)?;
        let history = History {
            created: time::rfc3339_now(),
            created_by: options.created_by.clone(),
            author: options.author.clone(),
            comment: options.message.clone(),
            empty_layer: false,
        };
        let below = match base {
            Some(base) => base.clone(),
            None => {
                let names: Vec<LayerName> = layers.iter().map(Layer::name).collect();
                ImageConfig::new(
                    &Platform::host(),
                    &names,
                    &history.created,
                    "cairn snapshot commit",
                )
            }
        };
        let config = below.with_layer(scanned.layer.name(), &history, options.config.as_ref())?;
        let relied_on = layers.clone();
        layers.push(scanned.layer);
        let names: Vec<ImageRef> = options.name.iter().cloned().collect();
        let left_out = [scanned.report.dropped, scanned.report.mounts].concat();
        let published = self
            .repo
            .publish_image(ingest, &config, &layers, &relied_on, &names)?;
        self.repo.note_growth("commit");
        Ok(Imported {
            left_out,
            ..published
        })
    }
}
