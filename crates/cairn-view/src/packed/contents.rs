//! Images of contents: files that are named as objects are, and whose content lies in packs. Views share them.
//!
//! `contents/NAME.image` is one, and `contents/NAME.list` a checked file (see `checked.rs`): its hash and length, the
//! packs, and the objects that are in it. The name is a hash of these packs and objects, and half of it is the UUID of
//! the image. A view takes those that there are as far as they have what it needs, and another one for the rest: so each
//! file of an image and its later versions is in one image of contents, and has one page cache.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use cairn_layer::Tree;
use cairn_model::{
    Content, Driver, Kind, Meta, ObjectId, PackFile, PackId, PackedContents, TreeId,
};
use cairn_store::Store;
use cairn_store::codec::{decode_bare, encode_bare};
use serde::{Deserialize, Serialize};

use super::{LIST_BYTES_MAX, Stamp, is_whole_image, open_pack, stamp};
use crate::cache::{CONTENTS, Views};
use crate::checked::{read_checked, write_checked};
use crate::detached::mount_erofs;
use crate::erofs::{Encoded, contents_uuid, write_encoded};
use crate::error::{Error, Result};

const IMAGE: &str = "image";
const LIST: &str = "list";
/// Images that one view takes. Each is looked into in turn for a file that is opened first.
const TAKEN_MAX: usize = 16;
/// An image of which a view needs less than this many files, or one in so many of those it needs, is not taken.
const TAKEN_FILES_MIN: usize = 8;
const TAKEN_SHARE: usize = 100;
/// Images that are looked at, the youngest first.
const LOOKED_AT_MAX: usize = 64;

/// What an image of contents is, and what of.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ContentsList {
    image: Stamp,
    packs: Vec<(PackId, u64)>,
    /// Sorted.
    objects: Vec<ObjectId>,
}

/// An image of contents by its name.
pub(crate) type Named = (TreeId, ContentsList);

/// Mounts an image of contents over the packs that it names, in its order.
pub(crate) fn mount_contents(contents: &PackedContents) -> Result<OwnedFd> {
    let packs = contents.packs.iter().map(open_pack);
    let packs = packs.collect::<Result<Vec<_>>>()?;
    mount_erofs(&contents.image.file, &packs).map_err(|e| Error::mount(Driver::Packs, e))
}

fn name_of(packs: &[(PackId, u64)], objects: &[ObjectId]) -> TreeId {
    let mut hasher = blake3::Hasher::new_derive_key("cairn 2026 image of contents v1");
    hasher.update(&encode_bare(&(packs, objects)));
    TreeId::from_bytes(*hasher.finalize().as_bytes())
}

impl Views {
    pub(super) fn contents_path(&self, name: &TreeId, extension: &str) -> PathBuf {
        let name = format!("{}.{extension}", name.hex());
        self.directory().join(CONTENTS).join(name)
    }

    /// An image of contents, if it is there and as it was written.
    pub(super) fn whole_contents(&self, name: &TreeId) -> Option<ContentsList> {
        let list = self.contents_list(name)?;
        self.is_whole(name, &list).then_some(list)
    }

    fn is_whole(&self, name: &TreeId, list: &ContentsList) -> bool {
        is_whole_image(&self.contents_path(name, IMAGE), &list.image)
    }

    /// True where there is an image of contents of this name, whole or not.
    pub(super) fn has_contents(&self, name: &TreeId) -> bool {
        self.contents_path(name, LIST).exists()
    }

    fn contents_list(&self, name: &TreeId) -> Option<ContentsList> {
        let bytes = read_checked(&self.contents_path(name, LIST), LIST_BYTES_MAX)?;
        decode_bare(&mut &bytes[..])
    }

    /// How an image of contents is mounted.
    pub(super) fn packed_contents(
        &self,
        store: &Store,
        (name, list): &Named,
    ) -> Result<PackedContents> {
        let packs = list.packs.iter().map(|(id, bytes)| PackFile {
            path: store.pack_path(id),
            id: *id,
            bytes: *bytes,
        });
        let packs: Vec<PackFile> = packs.collect();
        packs
            .iter()
            .try_for_each(|pack| open_pack(pack).map(drop))?;
        Ok(PackedContents {
            image: self.view_image(self.contents_path(name, IMAGE), contents_uuid(name)),
            packs,
        })
    }

    /// Names of the images of contents there are.
    pub(super) fn contents_names(&self) -> Vec<TreeId> {
        self.named_in(CONTENTS, Some(LIST))
    }

    /// What images of contents take, bytes.
    pub(crate) fn contents_bytes(&self) -> u64 {
        let entries = std::fs::read_dir(self.directory().join(CONTENTS));
        let entries = entries.into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.metadata().ok())
            .map(|meta| meta.blocks() * 512)
            .sum()
    }

    /// The lists of images of contents, of the youngest ones.
    fn young_contents(&self) -> Vec<Named> {
        let made = |name: &TreeId| {
            let list = self.contents_path(name, LIST).metadata();
            list.and_then(|list| list.modified()).ok()
        };
        let mut names = self.contents_names();
        names.sort_by_cached_key(|name| Reverse(made(name)));
        let young = names.into_iter().take(LOOKED_AT_MAX);
        young
            .filter_map(|name| Some((name, self.contents_list(&name)?)))
            .collect()
    }

    /// False for one that is damaged, or of packs that are gone.
    fn is_usable(&self, store: &Store, named: &Named) -> bool {
        let (name, list) = named;
        self.is_whole(name, list) && self.packed_contents(store, named).is_ok()
    }

    /// Of the images there are, those that have what is wanted, which is taken out of `wanted`.
    pub(super) fn take_contents(
        &self,
        store: &Store,
        wanted: &mut HashMap<ObjectId, &Content>,
    ) -> Vec<Named> {
        let mut known = self.young_contents();
        let least = TAKEN_FILES_MIN.max(wanted.len() / TAKEN_SHARE);
        let mut taken = Vec::new();
        while taken.len() + 1 < TAKEN_MAX {
            let has = |list: &ContentsList| {
                let has = |object: &&ObjectId| wanted.contains_key(*object);
                list.objects.iter().filter(has).count()
            };
            let best = known.iter().map(|(_, list)| has(list)).enumerate();
            let best = best.max_by_key(|(_, count)| *count);
            let Some((at, count)) = best.filter(|(_, count)| *count > 0) else {
                break;
            };
            if count < least && count < wanted.len() {
                break;
            }
            let named = known.swap_remove(at);
            if !self.is_usable(store, &named) {
                continue;
            }
            for object in &named.1.objects {
                wanted.remove(object);
            }
            taken.push(named);
        }
        taken
    }

    /// Makes an image of contents.
    pub(super) fn make_contents(
        &self,
        files: &HashMap<ObjectId, &Content>,
        encoded: &Encoded,
        packs: Vec<(PackId, u64)>,
    ) -> Result<Named> {
        let mut objects: Vec<ObjectId> = encoded.files.keys().copied().collect();
        objects.sort_unstable();
        let name = name_of(&packs, &objects);
        let image = contents_image(&name, &objects, files, encoded)?;
        let list = ContentsList {
            image: stamp(&image),
            packs,
            objects,
        };
        self.put_image(&self.contents_path(&name, IMAGE), &image)?;
        // The list comes last: an image without one is no image.
        write_checked(&self.contents_path(&name, LIST), &encode_bare(&list))?;
        Ok((name, list))
    }

    /// Removes images of contents other than those that stay. Views of the others are made anew, and what is mounted over
    /// one stays as it is. Returns the bytes of what was removed.
    pub(super) fn retain_contents(&self, stays: impl Fn(&Named) -> bool) -> u64 {
        let mut bytes = 0;
        // One without a list was not made to its end.
        for name in self.named_in(CONTENTS, Some(IMAGE)) {
            let list = self.contents_list(&name);
            if list.is_some_and(|list| stays(&(name, list))) {
                continue;
            }
            for extension in [LIST, IMAGE] {
                let path = self.contents_path(&name, extension);
                self.unshare(&path);
                bytes += path.metadata().map_or(0, |meta| meta.len());
                // It may be gone already, and nothing relies on its being gone.
                let _ = std::fs::remove_file(path);
            }
        }
        bytes
    }
}

impl ContentsList {
    /// The packs that it needs.
    pub fn packs(&self) -> impl Iterator<Item = &PackId> {
        self.packs.iter().map(|(id, _)| id)
    }
}

/// The image that is a directory of objects, as overlayfs looks for them.
fn contents_image(
    name: &TreeId,
    objects: &[ObjectId],
    files: &HashMap<ObjectId, &Content>,
    encoded: &Encoded,
) -> Result<Vec<u8>> {
    let mut tree = Tree::new();
    for object in objects {
        let Some(file) = files.get(object) else {
            continue;
        };
        let hex = object.hex();
        let (directory, file_name) = hex.split_at(2);
        if tree.get(directory.as_bytes()).is_none() {
            tree.insert(directory.as_bytes(), Meta::root(0o755), Kind::Directory)?;
        }
        let path = format!("{directory}/{file_name}");
        tree.insert(
            path.as_bytes(),
            Meta::root(0o444),
            Kind::File(Content::clone(file)),
        )?;
    }
    let mut image = Vec::new();
    write_encoded(&tree, name, encoded, &mut image)?;
    Ok::<_, Error>(image)
}
