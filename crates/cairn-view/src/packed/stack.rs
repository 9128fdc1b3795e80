//! Small views over others: the lists of a view and of those that it lies on, and which view a new one can lie on.
//!
//! Each small view is an image more that is mounted, and that each lookup may pass. So the stack ends at
//! [`DEPTH_MAX`]: the next view lies over the lowest one of it, with all that came since, as long as that is few.

use std::collections::HashSet;

use cairn_layer::Tree;
use cairn_model::{Content, TreeId};
use cairn_store::Store;
use serde::{Deserialize, Serialize};

use super::contents::Named;
use super::{List, Member, is_whole_image};
use crate::cache::Views;
use crate::error::{Error, Result};
use crate::small::could_hold_objects;
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

/// A view that a small one can lie over.
#[derive(Debug)]
pub struct Over {
    /// Its tree: the one that was asked for, or one below it.
    pub base: TreeId,
    /// Entries that the layers between may have.
    pub entries_max: u64,
    /// The view itself.
    pub(super) stack: Stack,
}

/// A view and all that it lies on.
#[derive(Debug, Default)]
pub(super) struct Stack {
    /// Their trees and lists, the topmost first.
    pub(super) views: Vec<(TreeId, List)>,
    /// Images of contents of all, each once.
    pub(super) contents: Vec<Named>,
}

impl Stack {
    /// Its trees, each with the one that it lies on.
    pub(super) fn members(&self) -> impl Iterator<Item = Member<'_>> {
        let views = self.views.iter();
        views.map(|(id, list)| (id, list.place.base.as_ref()))
    }

    /// Contents of all that are objects.
    pub(super) fn objects(&self) -> impl Iterator<Item = &Content> {
        self.views.iter().flat_map(|(_, list)| &list.objects)
    }

    /// Names of files with several, see `small.rs`.
    pub(super) fn linked(&self) -> impl Iterator<Item = &u64> {
        self.views.iter().flat_map(|(_, list)| &list.linked)
    }

    /// The lowest view alone.
    fn lowest(mut self) -> Self {
        self.views.drain(..self.views.len().saturating_sub(1));
        let needed: HashSet<TreeId> = self
            .views
            .iter()
            .flat_map(|(_, list)| list.contents.clone())
            .collect();
        self.contents.retain(|(name, _)| needed.contains(name));
        self
    }
}

impl Place {
    /// Of a view that has `tree` itself, over another one or over none.
    pub fn of(tree: &Tree, over: Option<&Over>) -> Self {
        let below = over.map_or(0, |over| over.stack.views.len());
        Self {
            base: over.map(|over| over.base),
            depth: below as u32 + 1,
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
    pub(super) fn whole_stack(&self, id: &TreeId) -> Option<Stack> {
        let views = self.stack(id)?;
        let mut contents: Vec<Named> = Vec::new();
        for (id, list) in &views {
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
        Some(Stack { views, contents })
    }

    /// Where a new view lies over that of the tree `id`, if one can.
    pub(crate) fn over(&self, store: &Store, id: &TreeId) -> Result<Option<Over>> {
        if self.verify() == Verify::Always {
            return Ok(None);
        }
        let Some(stack) = self.whole_stack(id) else {
            return Ok(None);
        };
        match self.all_packed_contents(store, &stack.contents) {
            Err(Error::PackGone(_)) => return Ok(None),
            done => drop(done?),
        }
        let Some((_, whole)) = stack.views.last() else {
            return Ok(None);
        };
        let entries = whole.place.entries;
        let is_possible =
            entries >= BASE_ENTRIES_MIN && stack.views.iter().all(|(_, list)| !list.place.is_top);
        let is_full = stack.views.len() >= DEPTH_MAX as usize;
        let stack = if is_full { stack.lowest() } else { stack };
        let over = |(base, _): &(TreeId, List)| (*base, entries / SHARE_MAX);
        let found = stack.views.first().filter(|_| is_possible).map(over);
        Ok(found.map(|(base, entries_max)| Over {
            base,
            entries_max,
            stack,
        }))
    }

    /// What all of these trees' views lie on, and they themselves.
    pub fn with_bases(&self, trees: HashSet<TreeId>) -> HashSet<TreeId> {
        let bases = trees.iter().filter_map(|tree| self.stack(tree));
        let bases: Vec<TreeId> = bases.flatten().map(|(tree, _)| tree).collect();
        trees.into_iter().chain(bases).collect()
    }
}
