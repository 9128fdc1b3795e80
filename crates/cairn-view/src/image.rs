//! EROFS images of trees, `views/TREE.erofs`, each with a list beside it of what it stands on.
//!
//! `TREE.list` is a checked file (see `checked.rs`): BLAKE3 and length of the image, and the pieces of every object
//! that the image refers to. So a mount can tell without reading any layer whether image and objects are
//! what they were made as, and an object can be made again from the list alone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use cairn_layer::Tree;
use cairn_model::{Content, ObjectId, TreeId};
use cairn_store::Store;
use cairn_store::codec::{decode_bare, encode_bare};
use cairn_sys::threads;
use serde::{Deserialize, Serialize};

use crate::cache::Views;
use crate::checked::{open_regular, read_checked, remove_other_than_file, write_checked};
use crate::erofs::{INLINE_BYTES_MAX, metadata_uuid, write_metadata};
use crate::error::{At, Error, Result};
use crate::objects::{Look, contents, each_content};
use crate::small::Marks;
use crate::verified::Verified;
use crate::verify::hash;

/// Longest list, bytes; that of a tree of a hundred million pieces.
const LIST_BYTES_MAX: u64 = 4 << 30;

#[derive(Serialize, Deserialize)]
struct List {
    image_hash: [u8; 32],
    image_bytes: u64,
    objects: Vec<Content>,
}

impl Views {
    pub(crate) fn image_path(&self, id: &TreeId) -> PathBuf {
        let name = format!("{}.erofs", id.hex());
        self.directory().join("views").join(name)
    }

    pub(crate) fn look<T>(&self, work: impl FnOnce(&Look<'_>) -> Result<T>) -> Result<T> {
        work(&Look {
            verify: self.verify(),
            verified: &Verified::load(self.directory()),
            spent: &|_| (),
        })
    }

    /// True where the image of the tree `id` is there and whole; the objects it stands on then are, too.
    pub(crate) fn has_image(&self, store: &Store, id: &TreeId) -> Result<bool> {
        if self.is_as_seen(id) {
            return Ok(true);
        }
        let Some(objects) = self.whole_image(id) else {
            return Ok(false);
        };
        let before = self.before_look(id, &objects);
        self.look(|look| self.objects().fill(store, &objects, look))?;
        if let Some(before) = before {
            self.remember_look(id, &before);
        }
        Ok(true)
    }

    /// Makes the image of the tree `id` and what is missing of its objects, verified as always here.
    pub(crate) fn make_image_for_use(&self, store: &Store, id: &TreeId, tree: &Tree) -> Result<()> {
        self.look(|look| self.make_image(store, id, tree, look))
    }

    /// What the image of `id` stands on, where image and list are as they were written.
    pub fn whole_image(&self, id: &TreeId) -> Option<Vec<Content>> {
        let path = self.image_path(id);
        let bytes = read_checked(&path.with_extension("list"), LIST_BYTES_MAX)?;
        let list: List = decode_bare(&mut &bytes[..])?;
        let mut image = open_regular(&path).ok()?;
        let found = hash(&mut image).ok()?;
        (found == (list.image_hash, list.image_bytes)).then_some(list.objects)
    }

    /// Objects first: an image that exists promises that they do.
    pub(crate) fn make_image(
        &self,
        store: &Store,
        id: &TreeId,
        tree: &Tree,
        look: &Look<'_>,
    ) -> Result<()> {
        let objects = contents(tree);
        self.objects().fill(store, &objects, look)?;
        let path = self.image_path(id);
        let image = self.metadata_image(store, &metadata_uuid(id), tree, &Marks::default())?;
        let list = List {
            image_hash: *blake3::hash(&image).as_bytes(),
            image_bytes: image.len() as u64,
            objects,
        };
        write_checked(&path.with_extension("list"), &encode_bare(&list))?;
        self.put_image(&path, &image)
    }

    /// Puts an image in place of whatever is there.
    pub(crate) fn put_image(&self, path: &Path, image: &[u8]) -> Result<()> {
        let directory = path.parent().unwrap_or(self.directory());
        std::fs::create_dir_all(directory).at("create directory", directory)?;
        let mut file =
            tempfile::NamedTempFile::new_in(directory).at("make a temporary file in", directory)?;
        std::io::Write::write_all(&mut file, image).at("write", path)?;
        remove_other_than_file(path)?;
        file.persist(path)
            .map_err(|e| e.error)
            .at("put in place", path)?;
        // What was replaced may be damaged.
        self.unshare(path);
        Ok(())
    }

    /// The image of metadata of a tree, with this UUID; it may lie over others in an overlay.
    pub(crate) fn metadata_image(
        &self,
        store: &Store,
        uuid: &[u8],
        tree: &Tree,
        marks: &Marks,
    ) -> Result<Vec<u8>> {
        let mut image = Vec::new();
        let tiny = tiny_contents(store, tree)?;
        let inline = |content: &Content, out: &mut Vec<u8>| {
            out.extend(tiny.get(&content.object()).into_iter().flatten());
            Ok(())
        };
        let left_out = write_metadata(tree, uuid, marks, &inline, &mut image)?;
        if left_out > 0 {
            let words = format!("left out {left_out} extended attributes that a view cannot hold");
            store.db().say(&words);
        }
        Ok(image)
    }
}

/// Contents that an image holds itself, each read once, on all cores.
fn tiny_contents(store: &Store, tree: &Tree) -> Result<HashMap<ObjectId, Vec<u8>>> {
    let wanted = each_content(tree, |content| content.size <= INLINE_BYTES_MAX);
    let count = threads::for_items(wanted.len());
    let read = |(_, content): &(ObjectId, &Content)| {
        let mut bytes = Vec::new();
        cairn_layer::read_content(store, content, &mut bytes)?;
        Ok::<_, Error>(bytes)
    };
    let contents = threads::map(count, &wanted, read)?;
    let objects = wanted.into_iter().map(|(object, _)| object);
    Ok(objects.zip(contents).collect())
}
