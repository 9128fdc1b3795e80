//! Views whose contents the kernel reads from the packs: nothing is assembled, nothing is stored twice.
//!
//! `views/TREE.meta` is the image of metadata that other drivers have, too. Below it come images of contents
//! (`contents.rs`), which views share; all of them stay mounted (`shared.rs`). What cannot be read this way is an
//! object as ever, see `places.rs`. `views/TREE.packs` is a checked file (see `checked.rs`): hash and length of the image
//! of metadata, the names of the images of contents, and the contents that are objects.
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
mod places;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use cairn_layer::Tree;
use cairn_model::{BlobId, Content, ObjectId, PackFile, PackId, PackedContents, TreeId, ViewImage};
use cairn_store::codec::{decode_bare, encode_bare};
use cairn_store::{PackReader, Store};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::cache::Views;
use crate::checked::{open_regular, read_checked, write_checked};
use crate::error::{At, Error, Result};
use crate::objects::{contents, for_each};
use crate::verify::{Verify, hash};
use contents::Named;
use places::Places;

pub(crate) use contents::{CONTENTS, mount_contents};

/// Extension of images of metadata over packs.
pub(crate) const META: &str = "meta";
const LIST: &str = "packs";
/// Longest list, bytes.
const LIST_BYTES_MAX: u64 = 1 << 30;
/// A collection may take packs away while a view is made of them.
const TRIES: usize = 3;

/// BLAKE3 and length of an image.
type Stamp = ([u8; 32], u64);

#[derive(Serialize, Deserialize)]
struct List {
    metadata: Stamp,
    contents: Vec<TreeId>,
    objects: Vec<Content>,
}

/// A view that can be mounted.
pub(crate) struct PackedView {
    pub metadata: ViewImage,
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

impl Views {
    fn packed_path(&self, id: &TreeId, extension: &str) -> PathBuf {
        let name = format!("{}.{extension}", id.hex());
        self.directory().join("views").join(name)
    }

    fn list(&self, id: &TreeId) -> Option<List> {
        let bytes = read_checked(&self.packed_path(id, LIST), LIST_BYTES_MAX)?;
        decode_bare(&mut &bytes[..])
    }

    /// The list of a view whose images are as they were written, and those of contents.
    fn whole_list(&self, id: &TreeId) -> Option<(List, Vec<Named>)> {
        let list = self.list(id)?;
        if !is_whole_image(&self.packed_path(id, META), &list.metadata) {
            return None;
        }
        let whole = |name: &TreeId| Some((*name, self.whole_contents(name)?));
        let contents = list.contents.iter().map(whole).collect::<Option<_>>()?;
        Some((list, contents))
    }

    /// The view, with its contents mounted for all who need them, where that can be.
    fn packed_view(&self, store: &Store, id: &TreeId, contents: &[Named]) -> Result<PackedView> {
        let contents = contents.iter().map(|one| self.packed_contents(store, one));
        let contents = contents.collect::<Result<Vec<_>>>()?;
        for one in &contents {
            self.share(&one.image, || mount_contents(one));
        }
        Ok(PackedView {
            metadata: self.metadata_of(self.packed_path(id, META), id),
            contents,
        })
    }

    /// Trees of which there is a view over packs.
    pub fn packed_trees(&self) -> Vec<TreeId> {
        self.named_in("views", Some(META))
    }

    /// The objects that the view over packs of `id` stands on, where its images are as they were written. Contents that
    /// are gone, with the packs that they were made of, are no damage: whoever needs the view makes them anew.
    pub fn whole_packed(&self, id: &TreeId) -> Option<Vec<Content>> {
        let list = self.list(id)?;
        let is_whole =
            |name: &TreeId| !self.has_contents(name) || self.whole_contents(name).is_some();
        let whole = is_whole_image(&self.packed_path(id, META), &list.metadata)
            && list.contents.iter().all(is_whole);
        whole.then_some(list.objects)
    }

    /// The view of the tree `id` over packs, if it is there, whole, and of packs that there are.
    pub(crate) fn ready_packed(&self, store: &Store, id: &TreeId) -> Result<Option<PackedView>> {
        if self.verify() == Verify::Always {
            return Ok(None);
        }
        let Some((list, contents)) = self.whole_list(id) else {
            return Ok(None);
        };
        let view = match self.packed_view(store, id, &contents) {
            Err(Error::PackGone(_)) => return Ok(None),
            done => done?,
        };
        self.fill_objects(store, &list.objects)?;
        Ok(Some(view))
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

    /// Makes the view of the tree `id` over packs.
    pub(crate) fn make_packed(
        &self,
        store: &Store,
        id: &TreeId,
        tree: &Tree,
    ) -> Result<PackedView> {
        let files = contents(tree);
        if self.verify() == Verify::Always {
            let ids: HashSet<BlobId> = files
                .iter()
                .flat_map(|f| f.blobs().map(|(id, _)| id))
                .collect();
            let ids: Vec<BlobId> = ids.into_iter().collect();
            for_each(&ids, |id| Ok(store.get(id).map(drop)?))?;
        }
        let mut tries = 1..=TRIES;
        let (view, list) = loop {
            let last = tries.next().is_none_or(|n| n == TRIES);
            store.reload_index()?;
            match self.make_from(store, id, &files) {
                Err(Error::PackGone(_) | Error::Store(cairn_store::Error::MissingPack(_)))
                    if !last => {}
                done => break done?,
            }
        };
        // Objects first: a list that exists promises that they do.
        self.fill_objects(store, &list.objects)?;
        let metadata = self.metadata_image(store, id, tree)?;
        let list = List {
            metadata: stamp(&metadata),
            ..list
        };
        write_checked(&self.packed_path(id, LIST), &encode_bare(&list))?;
        // The last to come and the first to go: a view counts as there once it has this.
        self.put_image(&view.metadata.file, &metadata)?;
        Ok(view)
    }

    /// Contents for these files: those that there are, and one more for what they lack.
    fn make_from(
        &self,
        store: &Store,
        id: &TreeId,
        files: &[Content],
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
        let view = self.packed_view(store, id, &contents)?;
        let list = List {
            metadata: Stamp::default(),
            contents: contents.into_iter().map(|(name, _)| name).collect(),
            objects: places.objects,
        };
        Ok((view, list))
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
        for extension in [META, LIST] {
            let path = self.packed_path(id, extension);
            self.unshare(&path);
            // As above.
            let _ = std::fs::remove_file(path);
        }
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
