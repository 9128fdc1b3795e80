//! All that the page shows, counted in one pass over the manifests.

use std::collections::{HashMap, HashSet};

use cairn_layer::Layer;
use cairn_model::{Kind, LayerId};
use serde::Serialize;

use super::breakdown::{Breakdown, Rows};
use super::browse::{places, steps};
use super::claims::Claims;
use super::classes::class;
use super::files::{NO_PACKAGE, day, unit};
use super::groups::{Pair, pairs};
use super::histogram::{Bar, Bars};
use super::order::{Came, in_order};
use super::paths::Paths;
use super::sets::{KeptBy, Needs, Sets};
use super::tree::{FileTree, Nodes};
use super::waste::{Mark, Waste, Wasting, marks};
use crate::error::Result;
use crate::images::Image;
use crate::packages::Owners;
use crate::repo::Repo;
use crate::sharing::{Blobs, Sums};
use crate::stats::{Chained, Removals, Stats, chains};
use crate::time;

/// Layers whose pairs are compared: those that take most.
const PAIRED_MAX: usize = 48;
/// Paths that are named of what an image wastes.
const WASTED_MAX: usize = 12;

/// All that is known of what is stored.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Details {
    /// When it was counted.
    pub counted: String,
    /// The report of `cairn stats`.
    pub stats: Stats,
    /// Images in the order of [`Stats::images`].
    pub images: Vec<ImageDetail>,
    /// Layers in the order of [`Stats::layers`].
    pub layers: Vec<LayerDetail>,
    /// Writable directories.
    pub heads: Vec<HeadSize>,
    /// What the removal of images makes needless.
    pub kept_by: Vec<KeptBy>,
    /// What layers have in common, of those that take most.
    pub pairs: Vec<Pair>,
    /// By kind of file.
    pub types: Breakdown,
    /// By package.
    pub packages: Breakdown,
    /// By day.
    pub days: Breakdown,
    /// All files.
    pub files: FileTree,
    /// Blobs of content by their size.
    pub chunk_sizes: Vec<Bar>,
    /// Files by their size, each once for a layer.
    pub file_sizes: Vec<Bar>,
    /// Blobs of content by how many layers and documents have them.
    pub references: Vec<Bar>,
}

/// What is known of an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ImageDetail {
    /// Its id.
    pub id: String,
    /// All names.
    pub names: Vec<String>,
    /// When it came.
    pub imported: String,
    /// Its layers by their places, lowest first.
    pub layers: Vec<usize>,
    /// Why it cannot be removed now.
    pub refused: Option<String>,
    /// What it carries in vain.
    pub waste: Waste,
}

/// What is known of a layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LayerDetail {
    /// When it came.
    pub came: String,
    /// The step of an image's history that made it, where one is known.
    pub made_by: Option<String>,
    /// Entries.
    pub entries: u64,
}

/// A writable directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HeadSize {
    /// The snapshot that writes to it.
    pub name: String,
    /// What it takes on disk.
    pub bytes: u64,
}

/// What one pass over all manifests counts.
struct Pass {
    paths: Paths,
    of_paths: Claims,
    /// By node: the layer that had it first; -1 for directories.
    first: Vec<i32>,
    types: (Rows<&'static str>, Claims),
    packages: (Rows<String>, Claims),
    days: (Rows<String>, Claims),
    file_sizes: Bars,
    /// By the place of a layer.
    marks: Vec<Vec<Mark>>,
}

impl Pass {
    fn new(units: usize, layers: usize) -> Self {
        Self {
            paths: Paths::new(),
            of_paths: Claims::new(units),
            first: Vec::new(),
            types: (Rows::default(), Claims::new(units)),
            packages: (Rows::default(), Claims::new(units)),
            days: (Rows::default(), Claims::new(units)),
            file_sizes: Bars::default(),
            marks: std::iter::repeat_with(Vec::new).take(layers).collect(),
        }
    }

    fn file(
        &mut self,
        came: &Came<'_>,
        entry: &cairn_model::Entry,
        owners: Option<&Owners>,
        blobs: &Blobs<'_>,
    ) {
        let Kind::File(content) = &entry.kind else {
            return;
        };
        let node = self.paths.node(&entry.path);
        if self.first.len() <= node as usize {
            self.first.resize(node as usize + 1, -1);
        }
        let first = &mut self.first[node as usize];
        if *first < 0 {
            *first = came.place as i32;
        }
        let package = owners.and_then(|owners| owners.of(&entry.path));
        let rows = [
            self.types.0.number(class(&entry.path, entry.meta.mode)),
            self.packages
                .0
                .number(package.unwrap_or_else(|| NO_PACKAGE.to_owned())),
            self.days.0.number(day(came)),
        ];
        let bytes = came.times * content.size;
        self.file_sizes.add(content.size, 1, content.size);
        self.of_paths.count(node, bytes);
        let views = [&mut self.types.1, &mut self.packages.1, &mut self.days.1];
        for (row, claims) in rows.into_iter().zip(views) {
            claims.count(row, bytes);
            for blob in content.blobs().filter_map(|(id, _)| blobs.find(&id)) {
                claims.claim(row, blob);
            }
        }
        let paths = &self.paths;
        for blob in content.blobs().filter_map(|(id, _)| blobs.find(&id)) {
            self.of_paths
                .claim_within(node, blob, |a, b| paths.common(a, b));
        }
    }

    fn tree(&mut self, count: usize, blobs: &Blobs<'_>) -> FileTree {
        let nodes = self.paths.len();
        self.first.resize(nodes, -1);
        let (figures, _) = self.of_paths.figures(nodes, |number| unit(blobs, number));
        let nodes = Nodes {
            paths: &self.paths,
            figures: &figures,
            layers: &self.first,
        };
        nodes.tree(count)
    }
}

impl Repo {
    /// Everything, with at most so many files in the tree; smaller ones are added up by directory.
    ///
    /// # Errors
    /// Where a manifest cannot be read.
    pub fn details(&self, files: usize) -> Result<Details> {
        self.unless_changed(|| self.details_once(files))
    }

    fn details_once(&self, files: usize) -> Result<Details> {
        let moment = self.moment()?;
        let table = self.sharing(&moment.roots)?;
        let sums = Sums::new(self, &moment.index, &table)?;
        let blobs = Blobs::new(&self.store, &moment.index, &table)?;
        let images = self.images().readable()?;
        let chains = chains(&moment.roots, &images)?;
        let chained = Chained::new(&moment.roots, &chains, &sums);
        let layers = in_order(&moment.roots, &chained.times);
        let only_layers: Vec<_> = chains.into_iter().map(|(_, layers)| layers).collect();
        let owners = self.owners(&moment.roots.layers, &only_layers)?;

        let mut pass = Pass::new(blobs.len(), moment.roots.layers.len());
        let read: Vec<&Layer> = layers.iter().map(|came| came.layer).collect();
        self.each_manifest(&read, |number, entries| {
            let came = &layers[number];
            let owners = owners.get(&came.layer.id).map(|owners| &**owners);
            pass.marks[came.place] = marks(&mut pass.paths, &entries);
            entries
                .iter()
                .for_each(|entry| pass.file(came, entry, owners, &blobs));
            Ok(())
        })?;

        let removals = moment.removals(&images, &sums);
        let size = |number: usize| unit(&blobs, number);
        let places = places(&moment.roots.layers);
        let mut details = Details {
            counted: time::rfc3339_now(),
            files: pass.tree(files, &blobs),
            types: pass
                .types
                .0
                .view(&pass.types.1, size, |class| (*class).to_owned()),
            packages: pass.packages.0.view(&pass.packages.1, size, String::clone),
            days: pass.days.0.view(&pass.days.1, size, String::clone),
            images: image_details(&images, &removals, &places, &pass),
            layers: layer_details(&layers, &images, &places),
            heads: self.head_details()?,
            kept_by: kept_by(&removals, &sums)?,
            stats: self.stats_of(&moment, &sums, &images)?,
            file_sizes: pass.file_sizes.bars(),
            ..Details::default()
        };
        details.packages.notes = owners
            .values()
            .filter_map(|owners| owners.note())
            .take(1)
            .collect();
        details.days.rows.sort_by(|a, b| a.name.cmp(&b.name));
        details.count_blobs(&sums, &blobs);
        details.pair_layers(&moment.roots.layers, &sums);
        Ok(details)
    }

    fn head_details(&self) -> Result<Vec<HeadSize>> {
        let sizes = self.head_sizes()?.into_iter();
        Ok(sizes
            .map(|(name, bytes)| HeadSize { name, bytes })
            .collect())
    }
}

impl Details {
    fn count_blobs(&mut self, sums: &Sums<'_>, blobs: &Blobs<'_>) {
        let (mut sizes, mut references) = (Bars::default(), Bars::default());
        let holders: Vec<u64> = (0..sums.own().len())
            .map(|group| match sums.content_holders(group).next() {
                Some(_) => sums.holders(group).count() as u64,
                None => 0,
            })
            .collect();
        for number in 0..blobs.len() {
            let held = holders[blobs.group(number)];
            if held > 0 {
                let raw = u64::from(blobs.size(number).raw);
                sizes.add(raw, 1, raw);
                references.add(held, 1, raw);
            }
        }
        self.chunk_sizes = sizes.bars();
        self.references = references.bars();
    }

    fn pair_layers(&mut self, layers: &[Layer], sums: &Sums<'_>) {
        let takes = |at: &usize| {
            let layer = &self.stats.layers[*at];
            layer.exclusive_bytes + layer.shared_bytes
        };
        let mut largest: Vec<usize> = (0..layers.len()).collect();
        largest.sort_by_key(|at| (std::cmp::Reverse(takes(at)), *at));
        let largest: HashSet<usize> = largest.into_iter().take(PAIRED_MAX).collect();
        let holder = |(at, layer): (usize, &Layer)| {
            let wanted = largest.contains(&at);
            sums.layer(layer).filter(|_| wanted)
        };
        let holders: Vec<Option<u32>> = layers.iter().enumerate().map(holder).collect();
        self.pairs = pairs(sums, &holders);
    }
}

fn image_details(
    images: &[Image],
    removals: &Removals<'_>,
    places: &HashMap<LayerId, usize>,
    pass: &Pass,
) -> Vec<ImageDetail> {
    let mut wasting = Wasting::new(&pass.paths);
    let mut detail = |image: &Image| {
        let known = image
            .layers
            .iter()
            .filter_map(|layer| places.get(&layer.id));
        let layers: Vec<usize> = known.copied().collect();
        let marks: Vec<&[Mark]> = layers.iter().map(|at| &pass.marks[*at][..]).collect();
        ImageDetail {
            id: image.row.id.to_string(),
            names: image.names.iter().map(ToString::to_string).collect(),
            imported: time::rfc3339(image.row.imported),
            refused: removals.refused(image),
            waste: wasting.of(&marks, WASTED_MAX),
            layers,
        }
    };
    images.iter().map(&mut detail).collect()
}

fn layer_details(
    layers: &[Came<'_>],
    images: &[Image],
    places: &HashMap<LayerId, usize>,
) -> Vec<LayerDetail> {
    let mut out = vec![LayerDetail::default(); layers.len()];
    for came in layers {
        out[came.place] = LayerDetail {
            came: time::rfc3339(came.when.secs),
            made_by: None,
            entries: came.layer.entries,
        };
    }
    for image in images {
        for (layer, step) in image.layers.iter().zip(steps(image)) {
            if let (Some(at), Some(step)) = (places.get(&layer.id), step) {
                out[*at].made_by = Some(step);
            }
        }
    }
    out
}

/// Stored bytes by the images that keep them.
fn kept_by(removals: &Removals<'_>, sums: &Sums<'_>) -> Result<Vec<KeptBy>> {
    let mut needs: HashMap<u32, Needs> = HashMap::new();
    for (holder, images) in removals.keepers()? {
        let need = images.map_or(Needs::Always, Needs::Images);
        needs.insert(holder, need);
    }
    let mut sets = Sets::new();
    let of_groups = sums.fold(0, |set, holder| {
        let need = needs.get(&holder).unwrap_or(&Needs::Always);
        sets.join(set, holder, need)
    });
    let mut kept: HashMap<usize, KeptBy> = HashMap::new();
    for (set, sum) in of_groups.iter().zip(sums.own()) {
        let Some(images) = sets.images(*set).filter(|images| !images.is_empty()) else {
            continue;
        };
        let row = kept.entry(*set).or_insert_with(|| KeptBy {
            images: images.to_vec(),
            blobs: 0,
            stored_bytes: 0,
        });
        row.blobs += sum.blobs;
        row.stored_bytes += sum.stored;
    }
    let mut kept: Vec<KeptBy> = kept.into_values().filter(|row| row.blobs > 0).collect();
    kept.sort_by(|a, b| a.images.cmp(&b.images));
    Ok(kept)
}
