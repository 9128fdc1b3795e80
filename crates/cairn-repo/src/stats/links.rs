//! Who needs whom among the rows of a moment, so that a removal is played through on what it touches alone.

use std::collections::{HashMap, HashSet};

use cairn_model::{Digest, LayerId, SnapshotKey};
use cairn_snapshot::{Kind, Snapshot};

use crate::containers::Container;
use crate::error::Result;
use crate::gc::Roots;
use crate::images::Image;
use crate::import::IMPORTED;
use crate::sharing::{Holders, Sums};

/// What a removal asks for.
pub(crate) struct Links<'a> {
    roots: &'a Roots,
    images: HashMap<Digest, &'a Image>,
    /// By image: a container that uses it.
    users: HashMap<Digest, &'a Container>,
    /// By snapshot: how many images it is the top of.
    tops: HashMap<&'a SnapshotKey, usize>,
    /// By snapshot: how many are based on it.
    children: HashMap<&'a SnapshotKey, usize>,
    /// By snapshot: one based on it that is no commit.
    writer: HashMap<&'a SnapshotKey, &'a Snapshot>,
    /// By layer: in how many snapshots it is.
    uses: HashMap<LayerId, usize>,
    /// Layers that are in none.
    idle: Vec<LayerId>,
    /// By layer: what it is among the holders. The same entries may be the layers of two tars.
    numbers: HashMap<LayerId, Vec<u32>>,
    /// By holder: the layers that it is.
    layers: HashMap<u32, Vec<LayerId>>,
}

fn counted<T: std::hash::Hash + Eq>(all: impl Iterator<Item = T>) -> HashMap<T, usize> {
    let mut counts = HashMap::new();
    for one in all {
        *counts.entry(one).or_default() += 1;
    }
    counts
}

impl<'a> Links<'a> {
    pub fn new(
        roots: &'a Roots,
        images: &'a [Image],
        containers: &'a [Container],
        sums: &Sums<'_>,
    ) -> Self {
        let snapshots = &roots.snapshots;
        let (mut users, mut writer) = (HashMap::new(), HashMap::new());
        for container in containers {
            if let Some(image) = container.image {
                users.entry(image).or_insert(container);
            }
        }
        for snapshot in snapshots.iter().filter(|s| s.kind != Kind::Committed) {
            if let Some(parent) = &snapshot.parent {
                writer.entry(parent).or_insert(snapshot);
            }
        }
        let uses = counted(snapshots.iter().filter_map(|s| s.layer));
        let idle = roots.layers.iter().map(|layer| layer.id);
        let idle = idle.filter(|id| !uses.contains_key(id)).collect();
        let mut numbers: HashMap<LayerId, Vec<u32>> = HashMap::new();
        let mut layers: HashMap<u32, Vec<LayerId>> = HashMap::new();
        for layer in &roots.layers {
            if let Some(number) = sums.layer(layer) {
                numbers.entry(layer.id).or_default().push(number);
                layers.entry(number).or_default().push(layer.id);
            }
        }
        Self {
            images: images.iter().map(|image| (image.row.id, image)).collect(),
            tops: counted(images.iter().filter_map(|image| image.row.top.as_ref())),
            children: counted(snapshots.iter().filter_map(|s| s.parent.as_ref())),
            users,
            writer,
            uses,
            idle,
            numbers,
            layers,
            roots,
        }
    }

    fn these(&self, ids: &HashSet<Digest>) -> impl Iterator<Item = &'a Image> {
        ids.iter().filter_map(|id| self.images.get(id).copied())
    }

    /// Images on this snapshot that are not among those.
    fn others_on(&self, top: &SnapshotKey, ids: &HashSet<Digest>) -> usize {
        let on_it = |image: &&Image| image.row.top.as_ref() == Some(top);
        let all = self.tops.get(top).copied().unwrap_or_default();
        all - self.these(ids).filter(on_it).count()
    }

    /// Why the image cannot be removed together with those that are `gone`; as [`Images::remove`] decides.
    ///
    /// [`Images::remove`]: crate::images::Images::remove
    pub fn refusal(&self, image: &Image, gone: &HashSet<Digest>) -> Option<String> {
        if image.keep.pinned {
            return Some("it is pinned".to_owned());
        }
        if let Some(container) = self.users.get(&image.row.id) {
            return Some(format!("container {} uses it", container.name));
        }
        let top = image.row.top.as_ref()?;
        let child = self.writer.get(top)?;
        match self.others_on(top, gone) {
            0 => Some(format!("snapshot {} is based on it", child.key)),
            _ => None,
        }
    }

    /// Snapshots that go with these images: those that an import made and nothing else needs.
    fn snapshots_of(&self, images: &HashSet<Digest>) -> Result<HashSet<&'a SnapshotKey>> {
        let mut gone_children: HashMap<&SnapshotKey, usize> = HashMap::new();
        let mut gone = HashSet::new();
        for image in self.these(images) {
            for snapshot in self.roots.ancestors(image.row.top.as_ref())? {
                let key = &snapshot.key;
                let children = self.children.get(key).copied().unwrap_or_default();
                let has_child = children > gone_children.get(key).copied().unwrap_or_default();
                let is_made = snapshot.labels.contains_key(IMPORTED);
                if has_child || !is_made || self.others_on(key, images) > 0 {
                    break;
                }
                if gone.insert(key)
                    && let Some(parent) = &snapshot.parent
                {
                    *gone_children.entry(parent).or_default() += 1;
                }
            }
        }
        Ok(gone)
    }

    /// Holders that nothing needs once these images are gone.
    pub fn holders_of(&self, images: &HashSet<Digest>, sums: &Sums<'_>) -> Result<Holders> {
        let gone = self.snapshots_of(images)?.into_iter();
        let lost = counted(gone.filter_map(|key| self.roots.find(key)?.layer));
        let uses = |of: &HashMap<LayerId, usize>, id: &LayerId| of.get(id).copied().unwrap_or(0);
        let goes = |id: &LayerId| uses(&self.uses, id) == uses(&lost, id);
        let going = lost.keys().chain(&self.idle).filter(|id| goes(id));
        let numbers = going.filter_map(|id| self.numbers.get(id)).flatten();
        let alone = numbers.filter(|number| self.layers[*number].iter().all(goes));
        let mut holders: Holders = alone.copied().collect();
        let documents = self.these(images);
        holders.extend(documents.filter_map(|image| sums.document(&image.row.config)));
        Ok(holders)
    }
}
