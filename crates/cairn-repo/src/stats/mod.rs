//! Where every byte is: from what users think they have down to what `du` says, line by line, each line
//! the difference to the one before.

mod chains;
mod disk;
mod forecast;
mod keepers;
mod links;
mod shares;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use cairn_model::{PackId, SnapshotKey};
use cairn_store::{Index, PackInfo, gc};
use serde::Serialize;

use crate::containers::Container;
use crate::error::{Error, Result};
use crate::gc::{Roots, roots};
use crate::images::Image;
use crate::repo::Repo;
use crate::sharing::{Count, Files, Holders, Sums, Table};
pub(crate) use chains::{Chain, Chained, chains, layer_name, name};
pub(crate) use forecast::Removals;
pub use forecast::{RefusedRemoval, WhatIf};

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
    /// Zeros that no blob holds, counted as often as [`Stats::logical`] counts them.
    #[serde(rename = "logical_holes_bytes")]
    pub logical_holes: u64,
    /// Files that an image has more than once, over all its layers.
    #[serde(rename = "same_files_in_image_bytes")]
    pub same_files_in_image: u64,
    /// Files that other images have too.
    #[serde(rename = "same_files_between_images_bytes")]
    pub same_files_between_images: u64,
    /// Chunks that different files have.
    #[serde(rename = "same_chunks_bytes")]
    pub same_chunks: u64,
    /// What is left: each piece of content once.
    #[serde(rename = "unique_bytes")]
    pub unique: u64,
    /// Saved by compression.
    #[serde(rename = "compression_saved_bytes")]
    pub compression: u64,
    /// What frames take around content that they do not make shorter, where that is more than is saved.
    #[serde(rename = "framing_bytes")]
    pub framing: u64,
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
    /// Views in the cache.
    pub views: u64,
    /// What they take on disk, without objects.
    pub views_bytes: u64,
    /// Objects in the cache.
    pub objects: u64,
    /// What they take on disk.
    pub objects_bytes: u64,
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
    /// Counts everything. Reads metadata only, and takes no lock but for a moment.
    pub fn stats(&self) -> Result<Stats> {
        let (moment, table) = self.counted()?;
        self.stats_by(&moment, &table)
    }

    /// The same from the layers themselves.
    ///
    /// # Errors
    /// Where what is remembered of them says something else. It is made anew then.
    pub fn recount(&self) -> Result<Stats> {
        let moment = self.moment()?;
        let table = self.sharing_anew(&moment.roots)?;
        if self.sharing_is_right(&moment.roots)? {
            return self.stats_by(&moment, &table);
        }
        self.forget_sharing();
        let why =
            "it says something else than the layers; it is made anew by the next \"cairn stats\"";
        Err(cairn_store::Error::corrupt("the sharing table", why).into())
    }

    pub(crate) fn stats_by(&self, moment: &Moment, table: &Table) -> Result<Stats> {
        let sums = Sums::new(self, &moment.index, table)?;
        self.stats_of(moment, &sums, &self.images().readable()?)
    }

    /// The same, where sums and images are known.
    pub(crate) fn stats_of(
        &self,
        moment: &Moment,
        sums: &Sums<'_>,
        images: &[Image],
    ) -> Result<Stats> {
        let Moment { roots, packs, .. } = moment;
        let mut stats = Stats::default();
        let chains = chains(roots, images)?;
        stats.count_content(sums);
        stats.count_files(&moment.chained(&chains, sums), sums);
        stats.base_root = self.store.base().map(|base| base.root().to_owned());
        shares::count(roots, images.len(), &chains, sums, &mut stats);
        let removals = moment.removals(images, sums);
        for (at, image) in images.iter().enumerate() {
            stats.images[at].freed_bytes = self.freed_by(&removals, image)?;
        }
        self.count_disk(&sums.without(&Holders::default()), packs, &mut stats)?;
        Ok(stats)
    }

    /// True where what is remembered of layers for statistics is what they say.
    pub(crate) fn stats_are_right(&self) -> Result<bool> {
        let roots = self.store.db().read::<_, Error>(|rows| roots(rows))?;
        self.sharing_is_right(&roots)
    }

    /// What the removal of all these images would free, with all their names.
    pub fn what_if_removed(&self, names: &[String]) -> Result<WhatIf> {
        let wanted = names.iter().map(|name| self.images().find(name));
        let wanted: Vec<Image> = wanted.collect::<Result<_>>()?;
        let mut once = HashSet::new();
        let wanted = wanted.iter().filter(|image| once.insert(image.row.id));
        let wanted: Vec<&Image> = wanted.collect();
        self.with_removals(|all| self.what_if(all, &wanted))
    }

    /// Asks about removals. What is there is read once, however much is asked.
    pub(crate) fn with_removals<T>(
        &self,
        ask: impl FnOnce(&Removals<'_>) -> Result<T>,
    ) -> Result<T> {
        self.with_removals_after(&HashSet::new(), ask)
    }

    /// The same, as if these snapshots were gone.
    pub(crate) fn with_removals_after<T>(
        &self,
        gone: &HashSet<SnapshotKey>,
        ask: impl FnOnce(&Removals<'_>) -> Result<T>,
    ) -> Result<T> {
        let (mut moment, table) = self.counted()?;
        moment.roots.forget(gone);
        let sums = Sums::new(self, &moment.index, &table)?;
        let images = self.images().readable()?;
        ask(&moment.removals(&images, &sums))
    }

    /// All that statistics are about, and who shares what of it.
    pub(crate) fn counted(&self) -> Result<(Moment, Table)> {
        self.unless_changed(|| {
            let moment = self.moment()?;
            let table = self.sharing(&moment.roots)?;
            Ok((moment, table))
        })
    }

    /// All that statistics are about, as it is at one moment.
    pub(crate) fn moment(&self) -> Result<Moment> {
        let outlook = gc::Outlook::of(&self.store, &self.options.gc)?;
        self.store.db().read::<_, Error>(|rows| {
            Ok(Moment {
                roots: roots(rows)?,
                packs: gc::pack_rows(rows)?,
                containers: crate::containers::all(rows)?,
                index: self.store.reload_index()?,
                outlook,
            })
        })
    }
}

/// Rows and index of one moment.
pub(crate) struct Moment {
    pub roots: Roots,
    pub index: Arc<Index>,
    packs: Vec<(PackId, PackInfo)>,
    containers: Vec<Container>,
    outlook: gc::Outlook,
}

impl Moment {
    pub fn removals<'a>(&'a self, images: &'a [Image], sums: &'a Sums<'a>) -> Removals<'a> {
        Removals::new(self, images, sums)
    }

    fn chained(&self, chains: &[Chain], sums: &Sums<'_>) -> Chained {
        Chained::new(&self.roots, chains, sums)
    }
}

impl Stats {
    /// The lines from all content down to each piece once, by files.
    fn count_files(&mut self, chained: &Chained, sums: &Sums<'_>) {
        let files = Files::new(sums);
        self.logical = chained.logical;
        self.logical_holes = chained.holes;
        self.shared_layers = chained.logical - chained.once;
        let in_images: u64 = chained.holders.iter().map(|chain| files.of(chain)).sum();
        let once = files.of_all();
        let data = self.logical.saturating_sub(self.logical_holes);
        self.same_files_in_image = data.saturating_sub(in_images);
        self.same_files_between_images = in_images.saturating_sub(once);
        self.same_chunks = once.saturating_sub(self.unique);
    }

    /// The lines from content down to what of it is stored.
    fn count_content(&mut self, sums: &Sums<'_>) {
        for (is_content, own, below) in sums.needed() {
            let (here, base) = match is_content {
                true => (&mut self.stored_content, &mut self.base_content),
                false => (&mut self.stored_metadata, &mut self.base_metadata),
            };
            *here += own.stored;
            *base += below.stored;
            self.blobs += own.blobs;
            self.base_blobs += below.blobs;
            if is_content {
                self.unique += own.raw + below.raw;
            }
        }
        let Count {
            holes,
            repeated,
            distinct,
        } = sums.counts();
        self.holes = holes;
        self.shared_within = repeated;
        self.shared_between = distinct.saturating_sub(self.unique);
        let stored = self.stored_content + self.base_content;
        self.compression = self.unique.saturating_sub(stored);
        self.framing = stored.saturating_sub(self.unique);
    }
}
