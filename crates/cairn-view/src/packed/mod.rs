//! Views whose contents the kernel reads from the packs: nothing is assembled, nothing is stored twice.
//!
//! `views/TREE.meta` is the image of metadata that other drivers have, too, `views/TREE.BASE.meta` that of a small view over
//! another one (`stack.rs`). Below them come images of contents (`contents.rs`), which views share. Those and large images
//! of metadata stay mounted (`shared.rs`). What cannot be read this way is an object as ever, see `places.rs`.
//! `views/TREE.view` is a checked file (see `checked.rs`): hash and length of the image of metadata, the names of the
//! images of contents, the contents that are objects, and what the view lies over. A view is there once it has this.
//!
//! What is proved, and when: all images, against the lists, before each mount. A pack, by its header and
//! length, when it is opened for the mount, which then holds that very file. Content, by the checksum of its
//! frame, whenever the kernel decodes the whole of it; damage is an error of the read. With
//! [`Verify::Always`] every blob of the view is held against its id before each mount.
//!
//! A collection may rewrite packs that a mounted view reads; the mount holds them. The next view finds them
//! gone and is made anew. The name of an image of contents says which packs it was made for, so that
//! a plan never meets one that was made for others.

mod contents;
mod make;
mod places;
mod stack;

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use cairn_model::{Content, PackFile, PackId, PackedContents, TreeId, ViewImage};
use cairn_store::codec::decode_bare;
use cairn_store::{PackReader, Store};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::cache::Views;
use crate::checked::{open_regular, read_checked};
use crate::erofs::{metadata_uuid, small_uuid};
use crate::error::{At, Error, Result};
use crate::verify::{Verify, hash};
use contents::Named;
use stack::Place;

pub(crate) use contents::mount_contents;
pub use stack::Over;

/// Extension of images of metadata over packs.
pub(crate) const META: &str = "meta";
pub(crate) const LIST: &str = "view";
/// Longest list, bytes.
const LIST_BYTES_MAX: u64 = 1 << 30;

/// BLAKE3 and length of an image.
type Stamp = ([u8; 32], u64);

#[derive(Debug, Serialize, Deserialize)]
struct List {
    metadata: Stamp,
    contents: Vec<TreeId>,
    objects: Vec<Content>,
    place: Place,
    /// See `small.rs`.
    linked: Vec<u64>,
}

/// A tree of a stack, and the one whose view that of it lies over.
type Member<'a> = (&'a TreeId, Option<&'a TreeId>);

/// A view that can be mounted.
pub(crate) struct PackedView {
    /// Topmost first.
    pub metadata: Vec<ViewImage>,
    pub contents: Vec<PackedContents>,
}

fn is_whole_image(path: &Path, wanted: &Stamp) -> bool {
    let found = open_regular(path).and_then(|mut image| hash(&mut image));
    found.is_ok_and(|found| found == *wanted)
}

fn stamp(image: &[u8]) -> Stamp {
    (*blake3::hash(image).as_bytes(), image.len() as u64)
}

/// Opens a pack, if it is the one that is wanted.
pub(crate) fn open_pack(wanted: &PackFile) -> Result<File> {
    let path = &wanted.path;
    let file = match open_regular(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::PackGone(path.clone()));
        }
        done => done.at("open pack", path)?,
    };
    let bytes = file.metadata().at("stat pack", path)?.len();
    let reader = PackReader::new(path, file.try_clone().at("open pack", path)?);
    if bytes != wanted.bytes || reader.id()? != wanted.id {
        let why = "it is not the pack of that name; run \"cairn check --repair\"";
        let object = format!("pack {}", path.display());
        return Err(cairn_store::Error::corrupt(object, why).into());
    }
    Ok(file)
}

/// What there is of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackedLook {
    /// Its own images are as they were written; these are its own objects.
    Whole(Vec<Content>),
    /// One of them is not.
    Damaged,
    /// What it lies over is gone, or was made anew.
    Orphaned,
}

impl Views {
    fn packed_path(&self, id: &TreeId, extension: &str) -> PathBuf {
        let name = format!("{}.{extension}", id.hex());
        self.directory().join("views").join(name)
    }

    fn list(&self, id: &TreeId) -> Option<List> {
        let bytes = read_checked(&self.packed_path(id, LIST), LIST_BYTES_MAX)?;
        decode_bare(&mut &bytes[..])
    }

    /// How these images of contents are mounted.
    fn all_packed_contents<'a>(
        &self,
        store: &Store,
        all: impl IntoIterator<Item = &'a Named>,
    ) -> Result<Vec<PackedContents>> {
        let all = all.into_iter();
        all.map(|one| self.packed_contents(store, one)).collect()
    }

    fn metadata<'a>(&self, trees: impl Iterator<Item = Member<'a>>) -> Vec<ViewImage> {
        let image = |(id, base)| self.view_image(self.meta_path(id, base), meta_uuid(id, base));
        trees.map(image).collect()
    }

    /// Trees of which there is a view over packs.
    pub fn packed_trees(&self) -> Vec<TreeId> {
        self.named_in("views", Some(LIST))
    }

    /// Looks at what the view over packs of `id` has of its own. Contents that are gone, with the packs that they were made
    /// of, are no damage: whoever needs the view makes them anew.
    pub fn look_at_packed(&self, id: &TreeId) -> PackedLook {
        let Some(list) = self.list(id) else {
            return PackedLook::Damaged;
        };
        let is_whole =
            |name: &TreeId| !self.has_contents(name) || self.whole_contents(name).is_some();
        let image = self.meta_path(id, list.place.base.as_ref());
        if !is_whole_image(&image, &list.metadata) || !list.contents.iter().all(is_whole) {
            return PackedLook::Damaged;
        }
        match self.stack(id) {
            Some(_) => PackedLook::Whole(list.objects),
            None => PackedLook::Orphaned,
        }
    }

    /// The view of the tree `id` over packs, if it is there, whole, and of packs that there are.
    pub(crate) fn ready_packed(&self, store: &Store, id: &TreeId) -> Result<Option<PackedView>> {
        if self.verify() == Verify::Always {
            return Ok(None);
        }
        let Some(stack) = self.whole_stack(id) else {
            return Ok(None);
        };
        let contents = match self.all_packed_contents(store, &stack.contents) {
            Err(Error::PackGone(_)) => return Ok(None),
            done => done?,
        };
        self.fill_objects(store, &stack.objects().cloned().collect::<Vec<_>>())?;
        Ok(Some(PackedView {
            metadata: self.metadata(stack.members()),
            contents,
        }))
    }

    fn fill_objects(&self, store: &Store, objects: &[Content]) -> Result<()> {
        let directory = self.objects();
        let directory = directory.directory();
        std::fs::create_dir_all(directory).at("create directory", directory)?;
        if objects.is_empty() {
            return Ok(());
        }
        self.look(|look| self.objects().fill(store, objects, look))
    }

    /// Removes images of contents that no view has. Nothing may make a view meanwhile. Returns the bytes of what was
    /// removed.
    pub(crate) fn drop_unneeded_contents(&self) -> u64 {
        let lists = self.packed_trees().into_iter();
        let lists = lists.filter_map(|tree| self.list(&tree));
        let needed: HashSet<TreeId> = lists.flat_map(|list| list.contents).collect();
        self.retain_contents(|(name, _)| needed.contains(name))
    }

    /// Lets go of packs that are gone: of the images of contents that are made of them. Nothing is done where views are
    /// being made.
    pub fn let_go_of_packs(&self, store: &Store) {
        if let Ok(_guard) = self.hold(FlockOperation::NonBlockingLockExclusive) {
            let is_there = |id: &PackId| store.pack_path(id).exists();
            self.retain_contents(|(_, list)| list.packs().all(is_there));
        }
    }

    pub(crate) fn drop_packed(&self, id: &TreeId) {
        let image = self.current_meta(id);
        // The list first: a view is there as long as it is.
        for path in [Some(self.packed_path(id, LIST)), image]
            .into_iter()
            .flatten()
        {
            // It may be gone already, and nothing relies on its being gone.
            let _ = std::fs::remove_file(&path);
            self.unshare(&path);
        }
    }

    /// The image of metadata that the list of a view names.
    pub(crate) fn current_meta(&self, id: &TreeId) -> Option<PathBuf> {
        let list = self.list(id)?;
        Some(self.meta_path(id, list.place.base.as_ref()))
    }

    /// The image of metadata of a view, whole or over that of `base`: another name for each, so that a plan for
    /// one never meets another.
    fn meta_path(&self, id: &TreeId, base: Option<&TreeId>) -> PathBuf {
        let extension = match base {
            None => META.to_owned(),
            Some(base) => format!("{}.{META}", &base.hex()[..16]),
        };
        self.packed_path(id, &extension)
    }
}

/// The UUID of that image.
fn meta_uuid(id: &TreeId, base: Option<&TreeId>) -> [u8; 16] {
    base.map_or_else(|| metadata_uuid(id), |base| small_uuid(id, base))
}
