//! Views over packs are made here.

use std::collections::{HashMap, HashSet};

use cairn_model::{BlobId, Content, ObjectId, PackFile, PackId, TreeId};
use cairn_store::Store;
use cairn_store::codec::encode_bare;
use cairn_sys::threads;

use super::places::Places;
use super::stack::{Place, Whole, members};
use super::{LIST, List, PackedView, Shape, Stamp, meta_uuid, open_pack, stamp};
use crate::cache::Views;
use crate::checked::write_checked;
use crate::error::{Error, Result};
use crate::objects::{contents, for_each};
use crate::small::{Marks, linked_names};
use crate::verify::Verify;

/// A collection may take packs away while a view is made of them.
const TRIES: usize = 3;

/// A tree, and the one whose view that of it lies over.
type Own<'a> = (&'a TreeId, Option<&'a TreeId>);

impl Views {
    /// Makes the view of the tree `id` over packs; none where what it was to lie over is gone.
    pub(crate) fn make_packed(
        &self,
        store: &Store,
        id: &TreeId,
        shape: Shape<'_>,
    ) -> Result<Option<PackedView>> {
        let files = contents(shape.tree());
        if self.verify() == Verify::Always {
            let ids: HashSet<BlobId> = files
                .iter()
                .flat_map(|f| f.blobs().map(|(id, _)| id))
                .collect();
            let ids: Vec<BlobId> = ids.into_iter().collect();
            for_each(&ids, |id| Ok(store.get(id).map(drop)?))?;
        }
        let below = match shape {
            Shape::Whole(_) => Whole::default(),
            Shape::Small(small) => match self.whole_stack(small.base()) {
                Some(below) if !small.covers(below.0.iter().map(|(_, list)| &list.linked[..])) => {
                    below
                }
                _ => return Ok(None),
            },
        };
        let (marks, base) = match shape {
            Shape::Whole(_) => (Marks::default(), None),
            Shape::Small(small) => (small.marks(), Some(small.base())),
        };
        // Neither needs the other.
        let (metadata, made) = threads::both(
            || self.metadata_image(store, &meta_uuid(id, base), shape.tree(), &marks),
            || self.make_from_packs(store, (id, base), &files, &below),
        );
        let (view, list) = match made {
            // It may be one of what is below, which is not made anew here.
            Err(Error::PackGone(_)) if matches!(shape, Shape::Small(_)) => return Ok(None),
            done => done?,
        };
        let metadata = metadata?;
        // Objects first: a list that exists promises that they do. Those below may not have been looked at since the boot.
        let objects = below.0.iter().flat_map(|(_, list)| &list.objects);
        let objects: Vec<Content> = objects.chain(&list.objects).cloned().collect();
        self.fill_objects(store, &objects)?;
        let list = List {
            metadata: stamp(&metadata),
            linked: linked_names(shape.tree()),
            place: Place::of(shape, below.0.first().map(|(_, list)| &list.place)),
            ..list
        };
        self.put_image(&self.meta_path(id, base), &metadata)?;
        write_checked(&self.packed_path(id, LIST), &encode_bare(&list))?;
        Ok(Some(view))
    }

    /// As [`make_from`](Self::make_from), from the packs that there are now.
    fn make_from_packs(
        &self,
        store: &Store,
        own: Own<'_>,
        files: &[Content],
        below: &Whole,
    ) -> Result<(PackedView, List)> {
        let mut tries = 1..=TRIES;
        loop {
            let last = tries.next().is_none_or(|n| n == TRIES);
            store.reload_index()?;
            match self.make_from(store, own, files, below) {
                Err(Error::PackGone(_) | Error::Store(cairn_store::Error::MissingPack(_)))
                    if !last => {}
                done => return done,
            }
        }
    }

    /// Contents for these files: those that there are, and one more for what they lack; with what lies below.
    fn make_from(
        &self,
        store: &Store,
        own: Own<'_>,
        files: &[Content],
        (stack, others): &Whole,
    ) -> Result<(PackedView, List)> {
        let mut wanted: HashMap<ObjectId, Content> = files
            .iter()
            .map(|file| (file.object(), file.clone()))
            .collect();
        // What there is may be read from other copies than those that were just looked at.
        let mut contents = match self.verify() {
            Verify::Always => Vec::new(),
            _ => self.take_contents(store, &mut wanted),
        };
        let rest: Vec<Content> = wanted.values().cloned().collect();
        let (places, packs) = find_places(store, &rest)?;
        if !places.encoded.files.is_empty() {
            contents.push(self.make_contents(&wanted, &places.encoded, packs)?);
        }
        let list = List {
            metadata: Stamp::default(),
            contents: contents.iter().map(|(name, _)| *name).collect(),
            objects: places.objects,
            place: Place::default(),
            linked: Vec::new(),
        };
        for other in others {
            if !contents.iter().any(|(name, _)| *name == other.0) {
                contents.push(other.clone());
            }
        }
        let trees = std::iter::once(own).chain(members(stack));
        Ok((self.packed_view(store, trees, &contents)?, list))
    }
}

/// Where contents are, and that every pack of it can be opened.
fn find_places(store: &Store, files: &[Content]) -> Result<(Places, Vec<(PackId, u64)>)> {
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
