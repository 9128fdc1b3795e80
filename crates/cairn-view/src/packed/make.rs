//! Views over packs are made here.

use std::collections::{HashMap, HashSet};
use std::iter::once;

use cairn_layer::Tree;
use cairn_model::{BlobId, Content, ObjectId, PackFile, PackId, PackedContents, TreeId};
use cairn_store::Store;
use cairn_store::codec::encode_bare;
use cairn_sys::threads;

use super::contents::Named;
use super::places::Places;
use super::stack::{Over, Place, Stack};
use super::{LIST, List, PackedView, meta_uuid, open_pack, stamp};
use crate::cache::Views;
use crate::checked::write_checked;
use crate::erofs::INLINE_BYTES_MAX;
use crate::error::{Error, Result};
use crate::objects::{each_content, for_each};
use crate::small::{Marks, Small, linked_names};
use crate::verify::Verify;

/// A collection may take packs away while a view is made of them.
const TRIES: usize = 3;

/// Contents by their objects.
type Files<'a> = HashMap<ObjectId, &'a Content>;

/// What a view has of its own beside the metadata.
struct Made {
    contents: Vec<Named>,
    objects: Vec<Content>,
    /// All contents of the view, with those of what it lies over.
    mounted: Vec<PackedContents>,
}

impl Views {
    /// Makes the whole view of the tree `id` over packs.
    pub(crate) fn make_packed(
        &self,
        store: &Store,
        id: &TreeId,
        tree: &Tree,
    ) -> Result<PackedView> {
        self.make_view(store, id, tree, None)
    }

    /// Makes a small view; none where it cannot lie over the other one after all.
    pub(crate) fn make_small_packed(
        &self,
        store: &Store,
        id: &TreeId,
        over: &Over,
        small: &Small,
    ) -> Result<Option<PackedView>> {
        if small.covers(over.stack.linked()) {
            return Ok(None);
        }
        match self.make_view(store, id, small.tree(), Some((over, small.marks()))) {
            // It may be one of what is below, which is not made anew here.
            Err(Error::PackGone(_)) => Ok(None),
            done => done.map(Some),
        }
    }

    /// Makes a view that has `tree` itself, alone or with what it tells overlayfs of another one below.
    fn make_view(
        &self,
        store: &Store,
        id: &TreeId,
        tree: &Tree,
        small: Option<(&Over, Marks)>,
    ) -> Result<PackedView> {
        let (over, marks) = small.unzip();
        let (base, marks) = (over.map(|over| &over.base), marks.unwrap_or_default());
        let files: Files<'_> = each_content(tree, |content| content.size > INLINE_BYTES_MAX)
            .into_iter()
            .collect();
        if self.verify() == Verify::Always {
            let blobs = files.values().flat_map(|file| file.blobs());
            let ids: HashSet<BlobId> = blobs.map(|(id, _)| id).collect();
            let ids: Vec<BlobId> = ids.into_iter().collect();
            for_each(&ids, |id| Ok(store.get(id).map(drop)?))?;
        }
        let none = Stack::default();
        let below = over.map_or(&none, |over| &over.stack);
        // Neither needs the other.
        let (metadata, made) = threads::both(
            || self.metadata_image(store, &meta_uuid(id, base), tree, &marks),
            || self.make_from_packs(store, &files, below),
        );
        let (made, metadata) = (made?, metadata?);
        // Objects first: a list that exists promises that they do. Those below may not have been looked at since the boot.
        let objects = below.objects().chain(&made.objects).cloned();
        self.fill_objects(store, &objects.collect::<Vec<_>>())?;
        let list = List {
            metadata: stamp(&metadata),
            contents: made.contents.iter().map(|(name, _)| *name).collect(),
            objects: made.objects,
            place: Place::of(tree, over),
            linked: linked_names(tree),
        };
        self.put_image(&self.meta_path(id, base), &metadata)?;
        write_checked(&self.packed_path(id, LIST), &encode_bare(&list))?;
        Ok(PackedView {
            metadata: self.metadata(once((id, base)).chain(below.members())),
            contents: made.mounted,
        })
    }

    /// As [`make_from`](Self::make_from), from the packs that there are now.
    fn make_from_packs(&self, store: &Store, files: &Files<'_>, below: &Stack) -> Result<Made> {
        let mut tries = 1..=TRIES;
        loop {
            let last = tries.next().is_none_or(|n| n == TRIES);
            store.reload_index()?;
            match self.make_from(store, files, below) {
                Err(Error::PackGone(_) | Error::Store(cairn_store::Error::MissingPack(_)))
                    if !last => {}
                done => return done,
            }
        }
    }

    /// Contents for these files: those that there are, and one more for what they lack.
    fn make_from(&self, store: &Store, files: &Files<'_>, below: &Stack) -> Result<Made> {
        let mut wanted = files.clone();
        // What there is may be read from other copies than those that were just looked at.
        let mut contents = match self.verify() {
            Verify::Always => Vec::new(),
            _ => self.take_contents(store, &mut wanted),
        };
        let rest: Vec<(ObjectId, &Content)> =
            wanted.iter().map(|(id, file)| (*id, *file)).collect();
        let (places, packs) = find_places(store, &rest)?;
        if !places.encoded.files.is_empty() {
            contents.push(self.make_contents(&wanted, &places.encoded, packs)?);
        }
        let is_own = |other: &&Named| contents.iter().any(|(name, _)| *name == other.0);
        let others = below.contents.iter().filter(|other| !is_own(other));
        let mounted = self.all_packed_contents(store, contents.iter().chain(others))?;
        Ok(Made {
            contents,
            objects: places.objects,
            mounted,
        })
    }
}

/// Where contents are, and that every pack of it can be opened.
fn find_places(
    store: &Store,
    files: &[(ObjectId, &Content)],
) -> Result<(Places, Vec<(PackId, u64)>)> {
    let places = Places::find(store, files)?;
    let mut packs = Vec::new();
    for (id, bytes) in places.packs.iter().zip(&places.encoded.devices) {
        open_pack(&PackFile {
            path: store.pack_path(id),
            id: *id,
            bytes: *bytes,
        })?;
        packs.push((*id, *bytes));
    }
    Ok((places, packs))
}
