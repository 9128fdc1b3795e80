//! What somebody asks who looks around step by step: images and their layers first, the files of one when it is opened.

use std::collections::{HashMap, HashSet};

use cairn_image::without_values;
use cairn_layer::Layer;
use cairn_model::{Digest, Kind, LayerId, printable};

use super::claims::{Claims, HIDDEN};
use super::files::unit;
use super::order::{Came, in_order};
use super::paths::Paths;
use super::tree::{FileTree, Nodes};
use crate::error::{Error, Result};
use crate::images::Image;
use crate::repo::Repo;
use crate::sharing::{Blobs, Holders, Sums};
use crate::stats::{Chained, Stats, chains, layer_name};

/// Files that are told one by one; smaller ones are added up by directory.
const FILES_MAX: usize = 1_000_000;

/// Images and layers of a repository.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Overview {
    /// The report of `cairn stats`, but that an image is taken to be removed by all its names.
    pub stats: Stats,
    /// Images in the order of [`Stats::images`].
    pub images: Vec<BrowsedImage>,
}

/// What is known of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrowsedImage {
    /// Its id.
    pub id: Digest,
    /// All its names.
    pub names: Vec<String>,
    /// Its layers by their places in [`Stats::layers`], lowest first, each with the step of the image's history that
    /// made it, where one is known.
    pub layers: Vec<(usize, Option<String>)>,
    /// Why it cannot be removed now.
    pub refused: Option<String>,
}

impl BrowsedImage {
    /// One without names and layers.
    pub fn new(id: Digest) -> Self {
        Self {
            id,
            names: Vec::new(),
            layers: Vec::new(),
            refused: None,
        }
    }
}

/// Whose files are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FilesOf {
    /// An image's, over all its layers.
    Image(Digest),
    /// A layer's, by its name in [`Stats::layers`].
    Layer(String),
}

/// For each layer of an image, lowest first, the step that made it.
pub(super) fn steps(image: &Image) -> Vec<Option<String>> {
    let history = image.config.history().into_iter();
    let mut steps = history.filter(|step| !step.empty_layer).map(|step| {
        let by = without_values(&step.created_by);
        let words: Vec<&str> = by.split_whitespace().collect();
        Some(printable(&words.join(" "))).filter(|by| !by.is_empty())
    });
    let layers = image.layers.iter();
    layers.map(|_| steps.next().flatten()).collect()
}

/// Where each layer is in the list of layers.
pub(super) fn places(layers: &[Layer]) -> HashMap<LayerId, usize> {
    let places = layers.iter().enumerate().rev();
    places.map(|(place, layer)| (layer.id, place)).collect()
}

impl Repo {
    /// All images and layers with what they take. No manifest is read.
    ///
    /// # Errors
    /// Where the repository cannot be read.
    pub fn overview(&self) -> Result<Overview> {
        let (moment, table) = self.counted()?;
        let sums = Sums::new(self, &moment.index, &table)?;
        let images = self.images().readable()?;
        let removals = moment.removals(&images, &sums);
        let places = places(&moment.roots.layers);
        let browsed = |image: &Image| {
            let named = image.layers.iter().zip(steps(image));
            let named = named.filter_map(|(layer, step)| Some((*places.get(&layer.id)?, step)));
            BrowsedImage {
                names: image.names.iter().map(ToString::to_string).collect(),
                layers: named.collect(),
                refused: removals.refused(image),
                ..BrowsedImage::new(image.row.id)
            }
        };
        let mut stats = self.stats_of(&moment, &sums, &images)?;
        for (share, image) in stats.images.iter_mut().zip(&images) {
            if image.names.len() > 1 {
                let only = HashSet::from([image.row.id]);
                share.freed_bytes = self.freed_together(&removals, &only)?;
            }
        }
        Ok(Overview {
            images: images.iter().map(browsed).collect(),
            stats,
        })
    }

    /// The files of an image or layer: each byte counts for the path that had it first, and as of that path alone
    /// where nothing else in the repository has it. Only the manifests of these layers are read; what others have
    /// is known of the groups of blobs.
    ///
    /// # Errors
    /// Where it is not there any more, or a manifest cannot be read.
    pub fn files(&self, of: &FilesOf) -> Result<FileTree> {
        self.unless_changed(|| self.files_once(of))
    }

    fn files_once(&self, of: &FilesOf) -> Result<FileTree> {
        let moment = self.moment()?;
        let table = self.sharing(&moment.roots)?;
        let sums = Sums::new(self, &moment.index, &table)?;
        let blobs = Blobs::new(&self.store, &moment.index, &table)?;
        let images = self.images().readable()?;
        let chained = Chained::new(&moment.roots, &chains(&moment.roots, &images)?, &sums);
        let layers = in_order(&moment.roots, &chained.times);
        let chosen = chosen(of, &layers, &images)?;
        let inside = chosen.iter().map(|(came, _)| came.layer.id);
        let inside: HashSet<LayerId> = inside.collect();
        let rows = moment.roots.layers.iter();
        let holders = rows.filter(|layer| inside.contains(&layer.id));
        let holders: Holders = holders.filter_map(|layer| sums.layer(layer)).collect();
        let outside = sums.fold(false, |above, holder| above || !holders.contains(holder));

        let (mut paths, mut claims) = (Paths::new(), Claims::new(blobs.len()));
        let mut first: Vec<i32> = Vec::new();
        let read: Vec<&Layer> = chosen.iter().map(|(came, _)| came.layer).collect();
        self.each_manifest(&read, |number, entries| {
            let (came, times) = chosen[number];
            for entry in &entries {
                let Kind::File(content) = &entry.kind else {
                    continue;
                };
                let node = paths.node(&entry.path);
                first.resize(paths.len(), -1);
                let known = &mut first[node as usize];
                *known = match *known {
                    -1 => came.place as i32,
                    known => known,
                };
                claims.count(node, times * content.size);
                for blob in content.blobs().filter_map(|(id, _)| blobs.find(&id)) {
                    claims.claim_within(node, blob, |a, b| paths.common(a, b));
                    if outside[blobs.group(blob)] {
                        claims.claim(HIDDEN, blob);
                    }
                }
            }
            Ok(())
        })?;
        first.resize(paths.len(), -1);
        let (figures, _) = claims.figures(paths.len(), |number| unit(&blobs, number));
        let nodes = Nodes {
            paths: &paths,
            figures: &figures,
            layers: &first,
        };
        Ok(nodes.tree(FILES_MAX))
    }
}

/// The layers whose files are asked for, each with how often its content counts, the oldest first.
fn chosen<'a>(
    of: &FilesOf,
    layers: &'a [Came<'a>],
    images: &[Image],
) -> Result<Vec<(&'a Came<'a>, u64)>> {
    let gone = |what: String| Error::NoImage(what);
    let mut times: HashMap<LayerId, u64> = HashMap::new();
    match of {
        FilesOf::Image(id) => {
            let image = images.iter().find(|image| image.row.id == *id);
            for layer in &image.ok_or_else(|| gone(id.short()))?.layers {
                *times.entry(layer.id).or_default() += 1;
            }
        }
        FilesOf::Layer(name) => {
            let layer = layers.iter().find(|came| layer_name(came.layer) == *name);
            let layer = layer.ok_or_else(|| gone(format!("of layer {name}")))?;
            times.insert(layer.layer.id, 1);
        }
    }
    // The same entries may be the layers of two tars: one of these is enough.
    let once = |came: &'a Came<'a>| Some((came, times.remove(&came.layer.id)?));
    Ok(layers.iter().filter_map(once).collect())
}
