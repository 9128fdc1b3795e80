//! What `cairn rmi NAME && cairn gc` would free, for each image or for several at once: the removal is played through on the rows
//! that were read, and the collection's own plan and forecast are asked.

use std::collections::{HashMap, HashSet};

use cairn_layer::Layer;
use cairn_model::{Digest, LayerId, PackId, SnapshotKey};
use cairn_snapshot::Kind;
use cairn_store::{PackInfo, gc};
use serde::Serialize;

use super::chains::name;
use crate::containers::Container;
use crate::error::Result;
use crate::gc::Roots;
use crate::images::Image;
use crate::import::IMPORTED;
use crate::repo::Repo;
use crate::sharing::Sums;

/// What the removal of some images would free.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WhatIf {
    /// Names of the images, or ids of those without one.
    pub images: Vec<String>,
    /// Those of them whose removal would be refused, and why; they are taken to stay.
    pub refused: Vec<RefusedRemoval>,
    /// Layers that would go.
    pub layers: usize,
    /// What nothing would need then that is needed now: bytes of blobs as stored, without their headers.
    pub unneeded_bytes: u64,
    /// Bytes of packs that `gc` would free then.
    pub freed_bytes: u64,
    /// The same for a collection that rewrites every pack with anything dead in it.
    pub freed_by_all_bytes: u64,
    /// What a collection would free if nothing were removed: what is dead already.
    pub freed_anyway_bytes: u64,
}

/// An image that cannot be removed now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefusedRemoval {
    /// Which.
    pub image: String,
    /// Why not.
    pub why: String,
}

/// What removals are played through on.
pub(crate) struct Removals<'a> {
    pub roots: &'a Roots,
    pub images: &'a [Image],
    pub containers: &'a [Container],
    pub packs: &'a [(PackId, PackInfo)],
    pub sums: &'a Sums<'a>,
    pub outlook: &'a gc::Outlook,
}

impl Repo {
    /// Bytes that the removal of the image's first name, and a collection, would free.
    pub(super) fn freed_by(&self, all: &Removals<'_>, image: &Image) -> Result<u64> {
        if image.names.len() > 1 {
            return self.freed_without(all, &HashSet::new(), self.options.gc);
        }
        let only = HashSet::from([image.row.id]);
        if all.refusal(image, &only).is_some() {
            return Ok(0);
        }
        let gone = all.holders_of(&only)?;
        self.freed_without(all, &gone, self.options.gc)
    }

    /// What the removal of all these images, by all their names, and a collection would free.
    pub(crate) fn what_if(&self, all: &Removals<'_>, wanted: &[&Image]) -> Result<WhatIf> {
        let (gone, refused) = all.removable(wanted);
        let holders = all.holders_of(&gone)?;
        let policy = self.options.gc;
        let freed = |gone: &_, policy| self.freed_without(all, gone, policy);
        Ok(WhatIf {
            images: wanted.iter().map(|image| name(image)).collect(),
            refused,
            layers: all.sums.layers_among(&holders),
            unneeded_bytes: all.sums.only_of(&holders),
            freed_bytes: freed(&holders, policy)?,
            freed_by_all_bytes: freed(&holders, policy.rewriting_all())?,
            freed_anyway_bytes: freed(&HashSet::new(), policy)?,
        })
    }

    /// Bytes that the removal of these images and a collection would free.
    pub(crate) fn freed_together(&self, all: &Removals<'_>, ids: &HashSet<Digest>) -> Result<u64> {
        let (would, _) = self.collected_without(all, ids, self.options.gc)?;
        Ok(freed(&would))
    }

    /// What a collection would come to once these images are gone, and how many bytes of packs would be dead then.
    pub(crate) fn collected_without(
        &self,
        all: &Removals<'_>,
        ids: &HashSet<Digest>,
        policy: gc::Policy,
    ) -> Result<(gc::Outcome, u64)> {
        let wanted = all
            .images
            .iter()
            .filter(|image| ids.contains(&image.row.id));
        let (gone, _) = all.removable(&wanted.collect::<Vec<_>>());
        let left = all.sums.without(&all.holders_of(&gone)?);
        let plan = gc::plan(all.packs, all.sums.index(), &left, policy);
        let dead = plan.packs.iter().map(|pack| pack.dead_bytes).sum();
        Ok((all.outlook.forecast(&plan, &left)?, dead))
    }

    /// Bytes that a collection would free if these holders were gone.
    fn freed_without(
        &self,
        all: &Removals<'_>,
        gone: &HashSet<u32>,
        policy: gc::Policy,
    ) -> Result<u64> {
        let left = all.sums.without(gone);
        let plan = gc::plan(all.packs, all.sums.index(), &left, policy);
        Ok(freed(&all.outlook.forecast(&plan, &left)?))
    }
}

fn freed(would: &gc::Outcome) -> u64 {
    would.removed_bytes.saturating_sub(would.written_bytes)
}

impl Removals<'_> {
    /// Those of the images that can be removed together, and why the others cannot.
    fn removable(&self, wanted: &[&Image]) -> (HashSet<Digest>, Vec<RefusedRemoval>) {
        let mut gone: HashSet<Digest> = wanted.iter().map(|image| image.row.id).collect();
        let mut all_refused = Vec::new();
        // One that stays can keep another from going, so each refusal is a reason to look again.
        loop {
            let mut again = wanted.iter().filter(|image| gone.contains(&image.row.id));
            let refused = again.find_map(|image| Some((*image, self.refusal(image, &gone)?)));
            let Some((image, why)) = refused else { break };
            gone.remove(&image.row.id);
            let image = name(image);
            all_refused.push(RefusedRemoval { image, why });
        }
        (gone, all_refused)
    }

    /// Why the image cannot be removed together with those that are `gone`; as [`Images::remove`] decides.
    pub(super) fn refusal(&self, image: &Image, gone: &HashSet<Digest>) -> Option<String> {
        if image.keep.pinned {
            return Some("it is pinned".to_owned());
        }
        let user = self
            .containers
            .iter()
            .find(|c| c.image == Some(image.row.id));
        if let Some(container) = user {
            return Some(format!("container {} uses it", container.name));
        }
        let top = image.row.top.as_ref()?;
        let mut others = self
            .images
            .iter()
            .filter(|other| !gone.contains(&other.row.id));
        if others.any(|other| other.row.top.as_ref() == Some(top)) {
            return None;
        }
        let mut children = self
            .roots
            .snapshots
            .iter()
            .filter(|s| s.parent.as_ref() == Some(top));
        let child = children.find(|child| child.kind != Kind::Committed)?;
        Some(format!("snapshot {} is based on it", child.key))
    }

    /// Snapshots that go with these images: those that an import made and nothing else needs.
    fn snapshots_of(&self, images: &HashSet<Digest>) -> Result<HashSet<&SnapshotKey>> {
        let (going, staying): (Vec<&Image>, Vec<&Image>) = self
            .images
            .iter()
            .partition(|image| images.contains(&image.row.id));
        let needed: HashSet<&SnapshotKey> =
            staying.iter().filter_map(|i| i.row.top.as_ref()).collect();
        let mut children: HashMap<&SnapshotKey, usize> = HashMap::new();
        for parent in self
            .roots
            .snapshots
            .iter()
            .filter_map(|s| s.parent.as_ref())
        {
            *children.entry(parent).or_default() += 1;
        }
        let mut gone = HashSet::new();
        for image in going {
            for snapshot in self.roots.ancestors(image.row.top.as_ref())? {
                let key = &snapshot.key;
                let has_child = children.get(key).is_some_and(|count| *count > 0);
                if has_child || needed.contains(key) || !snapshot.labels.contains_key(IMPORTED) {
                    break;
                }
                if gone.insert(key)
                    && let Some(count) = snapshot.parent.as_ref().and_then(|p| children.get_mut(p))
                {
                    *count -= 1;
                }
            }
        }
        Ok(gone)
    }

    /// Holders that nothing needs once these images are gone.
    fn holders_of(&self, images: &HashSet<Digest>) -> Result<HashSet<u32>> {
        let gone = self.snapshots_of(images)?;
        let stays = self
            .roots
            .snapshots
            .iter()
            .filter(|s| !gone.contains(&s.key));
        let needed: HashSet<LayerId> = stays.filter_map(|s| s.layer).collect();
        let (stay, go): (Vec<&Layer>, Vec<&Layer>) = self
            .roots
            .layers
            .iter()
            .partition(|layer| needed.contains(&layer.id));
        let mut holders: HashSet<u32> = go.iter().filter_map(|l| self.sums.layer(l)).collect();
        // The same entries may be the layers of two tars.
        for layer in stay {
            if let Some(number) = self.sums.layer(layer) {
                holders.remove(&number);
            }
        }
        let going = self
            .images
            .iter()
            .filter(|image| images.contains(&image.row.id));
        holders.extend(going.filter_map(|image| self.sums.document(&image.row.config)));
        Ok(holders)
    }
}
