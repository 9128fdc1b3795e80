//! Small views over others: the lists of a view and of those that it lies on, and which view a new one can lie on.
//!
//! Each small view is an image more that is mounted, and that each lookup may pass. So the stack ends at
//! [`DEPTH_MAX`]: the next view lies over the lowest one of it, with all that came since, as long as that is few.

use std::collections::HashSet;

use cairn_model::TreeId;
use cairn_store::Store;
use serde::{Deserialize, Serialize};

use super::contents::Named;
use super::{List, Shape, is_whole_image};
use crate::cache::Views;
use crate::error::{Error, Result};
use crate::small::could_hold_objects;
use crate::source::Over;
use crate::verify::Verify;

/// Images of metadata in one view.
const DEPTH_MAX: u32 = 16;
/// A whole image of fewer entries is made in milliseconds.
const BASE_ENTRIES_MIN: u64 = 1000;
/// A small view has at most one in so many of the entries that the whole one below it has.
const SHARE_MAX: u64 = 4;

/// How a view lies over others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The one that it lies on.
    pub base: Option<TreeId>,
    /// Images of metadata, this one and all below.
    pub depth: u32,
    /// Entries of this image.
    pub entries: u64,
    /// None may lie over it.
    pub is_top: bool,
}

/// A view and all that it lies on, topmost first, and the images of contents of all.
pub(super) type Whole = (Vec<(TreeId, List)>, Vec<Named>);

/// Trees of a stack, each with the one that it lies on.
pub(super) fn members(
    stack: &[(TreeId, List)],
) -> impl Iterator<Item = (&TreeId, Option<&TreeId>)> {
    stack
        .iter()
        .map(|(id, list)| (id, list.place.base.as_ref()))
}

impl Place {
    /// Of a view that is made over another one, or over none.
    pub fn of(shape: Shape<'_>, below: Option<&Self>) -> Self {
        let tree = shape.tree();
        let base = match shape {
            Shape::Whole(_) => None,
            Shape::Small(small) => Some(*small.base()),
        };
        Self {
            base,
            depth: below.map_or(0, |below| below.depth) + 1,
            entries: tree.ids().count() as u64,
            is_top: could_hold_objects(tree),
        }
    }
}

impl Views {
    /// Lists of a view and of all that it lies on, the topmost first, without a look at what they list.
    pub(super) fn stack(&self, id: &TreeId) -> Option<Vec<(TreeId, List)>> {
        let mut out: Vec<(TreeId, List)> = Vec::new();
        let mut next = Some(*id);
        while let Some(id) = next {
            let list = self.list(&id)?;
            let depth = list.place.depth;
            // The depths say that it ends.
            let goes_down = out
                .last()
                .is_none_or(|(_, above)| above.place.depth == depth + 1);
            let ends = (depth == 1) == list.place.base.is_none();
            if !goes_down || !ends || depth == 0 || depth > DEPTH_MAX {
                return None;
            }
            next = list.place.base;
            out.push((id, list));
        }
        Some(out)
    }

    /// The same, if all images are as they were written, with those of contents; but not whether their packs are there.
    pub(super) fn whole_stack(&self, id: &TreeId) -> Option<Whole> {
        let stack = self.stack(id)?;
        let mut contents: Vec<Named> = Vec::new();
        for (id, list) in &stack {
            let image = self.meta_path(id, list.place.base.as_ref());
            if !is_whole_image(&image, &list.metadata) {
                return None;
            }
            for name in &list.contents {
                if !contents.iter().any(|(known, _)| known == name) {
                    contents.push((*name, self.whole_contents(name)?));
                }
            }
        }
        Some((stack, contents))
    }

    /// Where a new view lies over that of the tree `id`, if one can.
    pub(crate) fn over(&self, store: &Store, id: &TreeId) -> Result<Option<Over>> {
        if self.verify() == Verify::Always {
            return Ok(None);
        }
        let Some((stack, contents)) = self.whole_stack(id) else {
            return Ok(None);
        };
        for one in &contents {
            match self.packed_contents(store, one) {
                Err(Error::PackGone(_)) => return Ok(None),
                done => drop(done?),
            }
        }
        let (Some((_, top)), Some((lowest, whole))) = (stack.first(), stack.last()) else {
            return Ok(None);
        };
        let is_possible = whole.place.entries >= BASE_ENTRIES_MIN
            && stack.iter().all(|(_, list)| !list.place.is_top);
        let base = if top.place.depth < DEPTH_MAX {
            *id
        } else {
            *lowest
        };
        Ok(is_possible.then_some(Over {
            base,
            entries_max: whole.place.entries / SHARE_MAX,
        }))
    }

    /// What all of these trees' views lie on, and they themselves.
    pub fn with_bases(&self, trees: HashSet<TreeId>) -> HashSet<TreeId> {
        let bases = trees.iter().filter_map(|tree| self.stack(tree));
        let bases: Vec<TreeId> = bases.flatten().map(|(tree, _)| tree).collect();
        trees.into_iter().chain(bases).collect()
    }
}
