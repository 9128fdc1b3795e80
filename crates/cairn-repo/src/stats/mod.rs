//! Where every byte is: from what users think they have down to what `du` says, line by line, each line
//! the difference to the one before.

mod disk;
mod forecast;
mod ledger;
mod shares;

use std::path::PathBuf;

use cairn_layer::Layer;
use cairn_model::LayerId;
use cairn_store::gc::Marks;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::gc::roots;
use crate::repo::Repo;
use ledger::Ledger;

/// What one image, layer or snapshot takes, bytes as stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Share {
    /// Name or id.
    pub name: String,
    /// Bytes of file content it shows.
    pub content_bytes: u64,
    /// Stored bytes that only it needs.
    pub exclusive_bytes: u64,
    /// Stored bytes that others need too.
    pub shared_bytes: u64,
    /// Of an image: bytes of packs that `gc` would free now, right after its name is removed; 0 where it
    /// cannot be removed. Of a layer or snapshot: what its own blobs take.
    #[serde(rename = "freed_if_removed_bytes")]
    pub freed_bytes: u64,
}

/// The whole report. All numbers are bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// File content of all images and snapshots, each counted as if it were alone.
    #[serde(rename = "logical_bytes")]
    pub logical: u64,
    /// Zeros that no blob holds.
    #[serde(rename = "holes_bytes")]
    pub holes: u64,
    /// Counted more than once because whole layers are shared.
    #[serde(rename = "shared_layers_bytes")]
    pub shared_layers: u64,
    /// Content that occurs more than once inside its layer.
    #[serde(rename = "shared_within_bytes")]
    pub shared_within: u64,
    /// Content that other layers have too.
    #[serde(rename = "shared_between_bytes")]
    pub shared_between: u64,
    /// What is left: each piece of content once.
    #[serde(rename = "unique_bytes")]
    pub unique: u64,
    /// Saved by compression.
    #[serde(rename = "compression_saved_bytes")]
    pub compression: u64,
    /// The repository below this one.
    #[serde(serialize_with = "crate::report::host_path")]
    pub base_root: Option<PathBuf>,
    /// Content that the base holds, as stored there.
    #[serde(rename = "base_content_bytes")]
    pub base_content: u64,
    /// The same of manifests, tar framing and image documents.
    #[serde(rename = "base_metadata_bytes")]
    pub base_metadata: u64,
    /// Blobs of both that are needed here.
    pub base_blobs: u64,
    /// Content as stored.
    #[serde(rename = "stored_content_bytes")]
    pub stored_content: u64,
    /// Manifests, tar framing and image documents, as stored.
    #[serde(rename = "stored_metadata_bytes")]
    pub stored_metadata: u64,
    /// Blobs that nothing needs and that are not collected yet.
    #[serde(rename = "dead_bytes")]
    pub dead: u64,
    /// Headers, directories and trailers of packs; packs that wait for a lease.
    #[serde(rename = "pack_overhead_bytes")]
    pub pack_overhead: u64,
    /// The index.
    #[serde(rename = "index_bytes")]
    pub index: u64,
    /// Database and journal.
    #[serde(rename = "database_bytes")]
    pub database: u64,
    /// Cached views and objects.
    #[serde(rename = "cache_bytes")]
    pub cache: u64,
    /// What active snapshots changed.
    #[serde(rename = "heads_bytes")]
    pub heads: u64,
    /// Named and anonymous volumes.
    #[serde(rename = "volumes_bytes")]
    pub volumes: u64,
    /// Containers, leases, unfinished imports, quarantine.
    #[serde(rename = "other_bytes")]
    pub other: u64,
    /// What the file system rounds up to, and directories.
    #[serde(rename = "rounding_bytes")]
    pub rounding: u64,
    /// All of it, as `du` counts.
    #[serde(rename = "disk_bytes")]
    pub disk: u64,
    /// Blobs that are needed.
    pub blobs: u64,
    /// Packs.
    pub packs: u64,
    /// Per image.
    pub images: Vec<Share>,
    /// Per layer.
    pub layers: Vec<Share>,
    /// Per committed snapshot.
    pub snapshots: Vec<Share>,
}

impl Stats {
    /// What all lines below content come to: the sum that has to be [`Stats::disk`].
    pub fn sum(&self) -> u64 {
        let below = [
            self.stored_content,
            self.stored_metadata,
            self.dead,
            self.pack_overhead,
            self.index,
            self.database,
        ];
        below.iter().sum::<u64>()
            + self.cache
            + self.heads
            + self.volumes
            + self.other
            + self.rounding
    }

    /// How many times smaller the stored content and metadata are than what they stand for.
    pub fn ratio(&self) -> f64 {
        self.logical as f64
            / (self.stored_content + self.stored_metadata + self.pack_overhead + self.index).max(1)
                as f64
    }
}

impl Repo {
    /// Counts everything. Reads metadata only, and takes no lock but for two moments.
    pub fn stats(&self) -> Result<Stats> {
        let roots = self.store.db().read::<_, Error>(|rows| roots(rows))?;
        let images = self.images().readable()?;
        let mut stats = Stats::default();
        let marks = Marks::new(&self.store)?;
        let mut ledger = Ledger::new(marks);
        let mut unique_layers = 0;
        for (number, layer) in roots.layers.iter().enumerate() {
            unique_layers += layer.content_bytes;
            ledger.layer(&self.store, layer, number as u32, &mut stats)?;
        }
        for document in &roots.documents {
            // The list of images tells which one is damaged; the others are counted all the same.
            match ledger.document(&self.store, document) {
                Err(e) if e.is_corruption() => {}
                counted => counted?,
            }
        }
        let chains = shares::chains(&roots, &images)?;
        stats.logical = chains
            .iter()
            .flat_map(|(_, layers)| layers)
            .map(|l| content_of(&roots.layers, l))
            .sum();
        stats.shared_layers = stats.logical.saturating_sub(unique_layers);
        // Layers that only removed images had are in no chain; they count as logical until they go.
        stats.logical = stats.logical.max(unique_layers);
        shares::count(&roots, images.len(), &chains, &mut ledger, &mut stats);
        self.forecast_removals(&roots, &images, &mut ledger, &mut stats)?;
        (stats.stored_content, stats.stored_metadata) = ledger.stored(false);
        (stats.base_content, stats.base_metadata) = ledger.stored(true);
        stats.compression = stats
            .unique
            .saturating_sub(stats.stored_content + stats.base_content);
        stats.base_root = self.store.base().map(|base| base.root().to_owned());
        stats.base_blobs = ledger.blobs.iter().filter(|blob| blob.in_base).count() as u64;
        stats.blobs = ledger.blobs.len() as u64 - stats.base_blobs;
        self.count_disk(&ledger.marks, &mut stats)?;
        Ok(stats)
    }
}

fn content_of(layers: &[Layer], id: &LayerId) -> u64 {
    layers
        .iter()
        .find(|layer| layer.id == *id)
        .map_or(0, |layer| layer.content_bytes)
}
