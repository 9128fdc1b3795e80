//! Views whose contents the kernel reads from the packs: nothing is assembled, nothing is stored twice.
//!
//! `views/TREE.meta` is the image of metadata that other drivers have, too. `views/TREE.data-HASH` names files
//! as objects are named, and says where in which packs their content is. What cannot be read this way is an
//! object as ever, see `places.rs`. `views/TREE.packs` is a checked file (see `checked.rs`): hash and
//! length of both images, the packs, and the contents that are objects.
//!
//! What is proved, and when: both images, against the list, before each mount. A pack, by its header and
//! length, when it is opened for the mount, which then holds that very file. Content, by the checksum of its
//! frame, whenever the kernel decodes the whole of it; damage is an error of the read. With
//! [`Verify::Always`] every blob of the view is held against its id before each mount.
//!
//! A collection may rewrite packs that a mounted view reads; the mount holds them. The next mount finds them
//! gone and makes the image anew. The name of the second image says which packs it was made for, so that
//! a plan never meets an image that was made for others.

mod places;

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use cairn_layer::Tree;
use cairn_model::{Content, Kind, Meta, PackFile, PackId, TreeId};
use cairn_store::codec::{decode_bare, encode_bare};
use cairn_store::{PackReader, Store};
use serde::{Deserialize, Serialize};

use crate::cache::Views;
use crate::checked::{open_regular, read_checked, write_checked};
use crate::erofs::{Encoded, write_encoded};
use crate::error::{At, Error, Result};
use crate::objects::{contents, for_each};
use crate::verify::{Verify, hash};
use places::Places;

/// Extension of images of metadata over packs.
pub(crate) const META: &str = "meta";
const LIST: &str = "packs";
const DATA: &str = "data-";
/// Longest list, bytes.
const LIST_BYTES_MAX: u64 = 1 << 30;
/// A collection may take packs away while a view is made of them.
const TRIES: usize = 3;

/// BLAKE3 and length of an image.
type Stamp = ([u8; 32], u64);

#[derive(Serialize, Deserialize)]
struct List {
    metadata: Stamp,
    content: Stamp,
    packs: Vec<(PackId, u64)>,
    objects: Vec<Content>,
}

/// A view that can be mounted.
pub(crate) struct PackedView {
    pub metadata: PathBuf,
    pub content: PathBuf,
    pub packs: Vec<PackFile>,
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

    fn content_path(&self, id: &TreeId, image: &Stamp) -> PathBuf {
        let (hash, _) = image;
        let number = u64::from_be_bytes(*hash.first_chunk().unwrap_or(&[0; 8]));
        self.packed_path(id, &format!("{DATA}{number:016x}"))
    }

    fn packed_view(&self, store: &Store, id: &TreeId, list: &List) -> PackedView {
        let file = |(id, bytes): &(PackId, u64)| PackFile {
            path: store.pack_path(id),
            id: *id,
            bytes: *bytes,
        };
        PackedView {
            metadata: self.packed_path(id, META),
            content: self.content_path(id, &list.content),
            packs: list.packs.iter().map(file).collect(),
        }
    }

    /// The list of a view whose images are as they were written.
    fn whole_list(&self, id: &TreeId) -> Option<List> {
        let bytes = read_checked(&self.packed_path(id, LIST), LIST_BYTES_MAX)?;
        let list: List = decode_bare(&mut &bytes[..])?;
        let is_whole = |path: &Path, wanted: &Stamp| {
            let found = open_regular(path).and_then(|mut image| hash(&mut image));
            found.is_ok_and(|found| found == *wanted)
        };
        let whole = is_whole(&self.packed_path(id, META), &list.metadata)
            && is_whole(&self.content_path(id, &list.content), &list.content);
        whole.then_some(list)
    }

    /// Trees of which there is a view over packs.
    pub fn packed_trees(&self) -> HashSet<TreeId> {
        let entries = std::fs::read_dir(self.directory().join("views"));
        let tree = |entry: std::fs::DirEntry| {
            let path = entry.path();
            let is_view = path.extension().is_some_and(|e| e == META);
            path.file_stem()?.to_str()?.parse().ok().filter(|_| is_view)
        };
        let entries = entries.into_iter().flatten().flatten();
        entries.filter_map(tree).collect()
    }

    /// The objects that the view over packs of `id` stands on, where its images are as they were written.
    pub fn whole_packed(&self, id: &TreeId) -> Option<Vec<Content>> {
        self.whole_list(id).map(|list| list.objects)
    }

    /// The view of the tree `id` over packs, if it is there, whole, and of packs that there are.
    pub(crate) fn ready_packed(&self, store: &Store, id: &TreeId) -> Result<Option<PackedView>> {
        if self.verify() == Verify::Always {
            return Ok(None);
        }
        let Some(list) = self.whole_list(id) else {
            return Ok(None);
        };
        let view = self.packed_view(store, id, &list);
        for pack in &view.packs {
            match open_pack(pack) {
                Ok(_) => {}
                Err(Error::PackGone(_)) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
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
        let mut tries = 1..=TRIES;
        let (places, packs) = loop {
            let last = tries.next().is_none_or(|n| n == TRIES);
            store.reload_index()?;
            match find_places(store, &files) {
                Err(Error::PackGone(_) | Error::Store(cairn_store::Error::MissingPack(_)))
                    if !last => {}
                done => break done?,
            }
        };
        if self.verify() == Verify::Always {
            for_each(&places.blobs, |id| Ok(store.get(id).map(drop)?))?;
        }
        // Objects first: a list that exists promises that they do.
        self.fill_objects(store, &places.objects)?;
        let metadata = self.metadata_image(store, id, tree)?;
        let content = content_image(id, &files, &places.encoded)?;
        let list = List {
            metadata: stamp(&metadata),
            content: stamp(&content),
            packs,
            objects: places.objects,
        };
        let view = self.packed_view(store, id, &list);
        self.put_image(&view.content, &content)?;
        write_checked(&self.packed_path(id, LIST), &encode_bare(&list))?;
        // The last to come and the first to go: a view counts as there once it has this.
        self.put_image(&view.metadata, &metadata)?;
        self.drop_content(id, Some(&view.content));
        Ok(view)
    }

    /// Removes images of content of a tree other than `keep`: they are of packs that are gone.
    fn drop_content(&self, id: &TreeId, keep: Option<&Path>) {
        let prefix = format!("{}.{DATA}", id.hex());
        let entries = std::fs::read_dir(self.directory().join("views"));
        for entry in entries.into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(prefix.as_bytes())
                && Some(&*entry.path()) != keep
            {
                // It may be gone already, and nothing relies on its being gone.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    pub(crate) fn drop_packed(&self, id: &TreeId) {
        for extension in [META, LIST] {
            // As above.
            let _ = std::fs::remove_file(self.packed_path(id, extension));
        }
        self.drop_content(id, None);
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

/// The image that is a directory of objects, as overlayfs looks for them.
fn content_image(id: &TreeId, files: &[Content], encoded: &Encoded) -> Result<Vec<u8>> {
    let mut tree = Tree::new();
    for file in files {
        let object = file.object();
        if !encoded.files.contains_key(&object) {
            continue;
        }
        let hex = object.hex();
        let (directory, name) = hex.split_at(2);
        if tree.get(directory.as_bytes()).is_none() {
            tree.insert(directory.as_bytes(), Meta::root(0o755), Kind::Directory)?;
        }
        let path = format!("{directory}/{name}");
        tree.insert(path.as_bytes(), Meta::root(0o444), Kind::File(file.clone()))?;
    }
    let mut image = Vec::new();
    write_encoded(&tree, id, encoded, &mut image)?;
    Ok(image)
}
