//! What `cairn rmi NAME && cairn gc` would free, for each image or for several at once: the removal is played through on the rows
//! that were read, and the collection's own plan and forecast are asked.

use std::cell::OnceCell;
use std::collections::HashSet;

use cairn_model::Digest;
use cairn_store::gc;
use serde::Serialize;

use super::Moment;
use super::chains::name;
use super::links::Links;
use crate::error::Result;
use crate::gc::Roots;
use crate::images::Image;
use crate::repo::Repo;
use crate::sharing::{Holders, Sums};

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
    pub sums: &'a Sums<'a>,
    links: Links<'a>,
    packs: gc::Packs,
    outlook: &'a gc::Outlook,
    /// What a collection would free without any.
    anyway: OnceCell<u64>,
}

impl Repo {
    /// Bytes that the removal of the image's first name, and a collection, would free.
    pub(super) fn freed_by(&self, all: &Removals<'_>, image: &Image) -> Result<u64> {
        if image.names.len() > 1 {
            return self.freed_anyway(all);
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
            freed_anyway_bytes: self.freed_anyway(all)?,
        })
    }

    fn freed_anyway(&self, all: &Removals<'_>) -> Result<u64> {
        if let Some(known) = all.anyway.get() {
            return Ok(*known);
        }
        let freed = self.freed_without(all, &Holders::default(), self.options.gc)?;
        Ok(*all.anyway.get_or_init(|| freed))
    }

    /// Bytes that the removal of these images and a collection would free.
    pub(crate) fn freed_together(&self, all: &Removals<'_>, ids: &HashSet<Digest>) -> Result<u64> {
        let (would, _) = self.collected_without(all, ids, self.options.gc)?;
        Ok(would.freed_bytes())
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
        let plan = all.packs.plan(&left, policy);
        let dead = plan.packs.iter().map(|pack| pack.dead_bytes).sum();
        Ok((all.outlook.forecast(&plan, &left)?, dead))
    }

    /// Bytes that a collection would free if these holders were gone.
    fn freed_without(&self, all: &Removals<'_>, gone: &Holders, policy: gc::Policy) -> Result<u64> {
        let left = all.sums.without(gone);
        let plan = all.packs.plan(&left, policy);
        Ok(all.outlook.forecast(&plan, &left)?.freed_bytes())
    }
}

impl<'a> Removals<'a> {
    pub fn new(moment: &'a Moment, images: &'a [Image], sums: &'a Sums<'a>) -> Self {
        Self {
            links: Links::new(&moment.roots, images, &moment.containers, sums),
            packs: gc::Packs::new(&moment.packs, &moment.index),
            roots: &moment.roots,
            outlook: &moment.outlook,
            anyway: OnceCell::new(),
            images,
            sums,
        }
    }

    /// Why the image cannot be removed together with those that are `gone`.
    pub(super) fn refusal(&self, image: &Image, gone: &HashSet<Digest>) -> Option<String> {
        self.links.refusal(image, gone)
    }

    fn holders_of(&self, images: &HashSet<Digest>) -> Result<Holders> {
        self.links.holders_of(images, self.sums)
    }

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
}
