//! The moment at which images are there: layers, chain and names, in one transaction.

use cairn_image::ImageConfig;
use cairn_layer::Layer;
use cairn_model::{Digest, ImageRef, LayerName, SnapshotKey};
use cairn_snapshot::{Labels, Usage, graph};
use cairn_store::{Ingest, IngestStats, OWN_NAMES, StreamRef, Txn, put_stream};

use super::{Imported, NameLeftOut, Renamed};
use crate::error::{Error, Result};
use crate::forms::{self, Form};
use crate::repo::Repo;
use crate::rows::{self, ImageRow};
use crate::time;

/// Label of snapshots that an import made; they go when the last image over them goes.
pub(crate) const IMPORTED: &str = "cairn.imported";

impl Repo {
    /// Stores the document and makes layers, chain and names part of the repository at once. Layers that
    /// were `relied_on` instead of read must still be there: a collection may have taken them meanwhile.
    pub(crate) fn publish_image(
        &self,
        ingest: Ingest,
        config: &ImageConfig,
        layers: &[Layer],
        relied_on: &[Layer],
        names: &[ImageRef],
    ) -> Result<Imported> {
        let document = put_stream(&mut ingest.feeder(), config.bytes())?;
        let ready = Ready {
            config: config.clone(),
            document,
            layers: layers.to_vec(),
            relied_on: relied_on.to_vec(),
            names: names.to_vec(),
            layers_present: 0,
            stats: ingest.stats(),
            names_left_out: Vec::new(),
            taken: Vec::new(),
            forms: Vec::new(),
        };
        let published = self.publish_images(ingest, vec![ready])?;
        published.into_iter().next().ok_or(Error::LayerGone)
    }

    pub(super) fn publish_images(
        &self,
        ingest: Ingest,
        mut images: Vec<Ready>,
    ) -> Result<Vec<Imported>> {
        let configs = images.iter().map(|image| &image.config);
        if configs.flat_map(ImageConfig::layers).any(LayerName::is_own) {
            self.store.require(OWN_NAMES)?;
        }
        self.store.publish::<_, Error>(ingest.finish()?, |txn| {
            for image in &images {
                for layer in &image.relied_on {
                    rows::twin(txn, layer)?.ok_or(Error::LayerGone)?;
                }
            }
            images.iter_mut().try_for_each(|image| image.put(txn))
        })?;
        Ok(images.into_iter().map(Ready::imported).collect())
    }
}

/// An image whose content is stored and whose rows are not.
pub(super) struct Ready {
    pub config: ImageConfig,
    pub document: StreamRef,
    pub layers: Vec<Layer>,
    /// Layers that were there before and were not read.
    pub relied_on: Vec<Layer>,
    pub names: Vec<ImageRef>,
    pub layers_present: usize,
    pub stats: IngestStats,
    pub names_left_out: Vec<NameLeftOut>,
    pub taken: Vec<Renamed>,
    /// Blobs of a registry that layers were read as.
    pub forms: Vec<(Digest, Form)>,
}

impl Ready {
    fn put(&mut self, txn: &mut Txn<'_>) -> Result<()> {
        let (id, config) = (self.config.digest(), self.document);
        let top = put_chain(txn, &self.config, &self.layers)?;
        let imported = time::now_secs();
        rows::put_image(
            txn,
            &ImageRow {
                id,
                config,
                top,
                imported,
            },
        )?;
        for (diff_id, form) in &self.forms {
            forms::remember(txn, diff_id, form)?;
        }
        self.taken.clear();
        for name in &self.names {
            if let Some(from) = rows::tag(txn, name)?.filter(|from| *from != id) {
                let name = name.clone();
                self.taken.push(Renamed { name, from });
            }
            rows::put_tag(txn, name, &id)?;
        }
        Ok(())
    }

    fn imported(self) -> Imported {
        Imported {
            id: self.config.digest(),
            names: self.names,
            layers: self.layers.len(),
            layers_present: self.layers_present,
            stats: self.stats,
            left_out: Vec::new(),
            names_left_out: self.names_left_out,
            taken: self.taken,
        }
    }
}

/// Rows of the layers and the committed snapshots over each other, named by chain id. Those that exist
/// stay as they are.
fn put_chain(
    txn: &mut Txn<'_>,
    config: &ImageConfig,
    layers: &[Layer],
) -> Result<Option<SnapshotKey>> {
    let mut parent: Option<SnapshotKey> = None;
    for (layer, chain_id) in layers.iter().zip(config.chain_ids()) {
        rows::put_layer(txn, layer)?;
        let name: SnapshotKey = chain_id.to_string().parse()?;
        let found = graph::find(txn, &name)?;
        // A snapshot that a user gave this name stands below no image, unless it is the same.
        if let Some(found) = &found
            && !found.labels.contains_key(IMPORTED)
            && (found.layer != Some(layer.id) || found.parent != parent)
        {
            return Err(Error::Invalid(format!(
                "snapshot {name} exists and is not the layer of the image that this name belongs to; remove it with \"cairn snapshot rm {name}\" and try again"
            )));
        }
        if found.is_none() {
            let usage = Usage {
                bytes: layer.content_bytes,
                inodes: layer.entries,
            };
            let labels = Labels::from([(IMPORTED.to_owned(), "yes".to_owned())]);
            graph::create_committed(txn, &name, parent.as_ref(), layer.id, usage, labels)?;
        }
        parent = Some(name);
    }
    Ok(parent)
}
