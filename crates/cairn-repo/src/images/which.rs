//! Who still holds a content: the layers, images, snapshots and heads in which some bytes are.
//!
//! After a fix, this is how one finds what still has the bytes that were fixed.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use cairn_layer::{ContentReader, NodeKind, Tree};
use cairn_model::{
    BlobId, Content, Digest, Entry, Kind, LayerId, Piece, SnapshotKey, path_display,
};
use cairn_snapshot::{Kind as SnapshotKind, Snapshotter};
use cairn_store::Cutter;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::{Image, Images};
use crate::error::{At, Error, Result};
use crate::import::IMPORTED;

/// Fewest digits of a blob's id that are looked for.
const DIGITS_MIN: usize = 8;

/// What is looked for.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub enum Sought {
    /// The content of a file of this machine, or of a file in an image.
    Content(Whole),
    /// A blob whose id begins with these hex digits, anywhere in a file.
    Blob(String),
}

/// A whole file.
#[derive(Debug, Clone)]
pub struct Whole {
    content: Content,
    /// Where its bytes are, for files whose holes are stored otherwise.
    file: Option<PathBuf>,
}

/// Where a content is held.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// By whom.
    pub holder: Holder,
    /// The path in it, without a slash at the start.
    pub path: Vec<u8>,
    /// False where a later layer covers or deletes it: the bytes are there, and no process sees them.
    pub visible: bool,
}

/// Something that keeps content from a collection.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A layer, by its diff id where it has one.
    Layer {
        /// Name by its entries.
        id: LayerId,
        /// Digest of its tar.
        diff_id: Option<Digest>,
    },
    /// An image.
    Image {
        /// Its id.
        id: Digest,
        /// Its names.
        names: Vec<String>,
    },
    /// A snapshot that no import made.
    Snapshot(SnapshotKey),
    /// What an active snapshot changed itself.
    Head(SnapshotKey),
}

impl Holder {
    /// What it is: a layer, an image, a snapshot or a head.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Layer { .. } => "layer",
            Self::Image { .. } => "image",
            Self::Snapshot(_) => "snapshot",
            Self::Head(_) => "head",
        }
    }
}

impl Holding {
    /// The path, from the root.
    pub fn rooted_path(&self) -> String {
        format!("/{}", path_display(&self.path))
    }
}

impl Serialize for Holding {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (name, names) = match &self.holder {
            Holder::Layer { id, diff_id } => {
                (diff_id.map_or(id.to_string(), |d| d.to_string()), None)
            }
            Holder::Image { id, names } => (id.to_string(), Some(names)),
            Holder::Snapshot(key) | Holder::Head(key) => (key.to_string(), None),
        };
        let mut fields = to.serialize_struct("Holding", 5)?;
        fields.serialize_field("holder", self.holder.kind())?;
        fields.serialize_field("name", &name)?;
        fields.serialize_field("names", &names)?;
        fields.serialize_field("path", &self.rooted_path())?;
        fields.serialize_field("visible", &self.visible)?;
        fields.end()
    }
}

impl Sought {
    /// A file of this machine, if `text` is one, else the start of a blob's id.
    pub fn parse(text: &Path) -> Result<Self> {
        if text.is_file() {
            return Ok(Self::Content(Whole::read(text)?));
        }
        let digits = text.to_str().unwrap_or_default().to_ascii_lowercase();
        let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hex || !(DIGITS_MIN..=64).contains(&digits.len()) {
            return Err(Error::Invalid(format!(
                "{} is neither a file nor the start of a blob's id ({DIGITS_MIN} to 64 hex digits); for a file of an image use --in IMAGE",
                text.display()
            )));
        }
        Ok(Self::Blob(digits))
    }

    fn is_in(&self, images: &Images<'_>, content: &Content) -> Result<bool> {
        let whole = match self {
            Self::Blob(digits) => {
                let has = |(id, _): (BlobId, u32)| id.hex().starts_with(digits.as_str());
                return Ok(content.blobs().any(has));
            }
            Self::Content(whole) => whole,
        };
        if content.size != whole.content.size {
            return Ok(false);
        }
        let holes = |content: &Content| {
            let mut pieces = content.pieces.iter();
            pieces.any(|piece| matches!(piece, Piece::Hole { .. }))
        };
        if holes(content) == holes(&whole.content) || content.pieces == whole.content.pieces {
            return Ok(content.pieces == whole.content.pieces);
        }
        // The same bytes are cut otherwise where zeros were left out.
        let store = &images.repo.store;
        let stored = ContentReader::new(store, content);
        match &whole.file {
            Some(file) => same_bytes(stored, BufReader::new(File::open(file).at("open", file)?)),
            None => same_bytes(stored, ContentReader::new(store, &whole.content)),
        }
    }
}

impl Whole {
    fn read(path: &Path) -> Result<Self> {
        let mut file = File::open(path).at("open", path)?;
        let mut content = Content::default();
        let mut cutter = Cutter::default();
        let mut buffer = vec![0; 1 << 18];
        loop {
            let n = file.read(&mut buffer).at("read", path)?;
            let piece = &mut |chunk: &[u8]| {
                content.size += chunk.len() as u64;
                content.pieces.push(Piece::Data {
                    id: BlobId::of(chunk),
                    len: chunk.len() as u32,
                });
                Ok(())
            };
            if n == 0 {
                cutter.end(piece)?;
                break;
            }
            cutter.cut(&buffer[..n], piece)?;
        }
        Ok(Self {
            content,
            file: Some(path.to_owned()),
        })
    }
}

fn same_bytes(one: impl Read, other: impl Read) -> Result<bool> {
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let n = one.read(&mut a).map_err(cairn_layer::Error::Read)?;
        if n == 0 {
            return Ok(other.read(&mut b).map_err(cairn_layer::Error::Read)? == 0);
        }
        match other.read_exact(&mut b[..n]) {
            Ok(()) if a[..n] == b[..n] => {}
            Ok(()) => return Ok(false),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(e) => return Err(cairn_layer::Error::Read(e).into()),
        }
    }
}

/// Paths with the content that is looked for.
type Paths = Vec<Vec<u8>>;

impl Images<'_> {
    /// The content of a file in an image. Symbolic links are followed inside the image.
    pub fn content_of(&self, image: &Image, path: &[u8]) -> Result<Sought> {
        let tree = self.repo.tree(&image.layers)?;
        let found = tree.resolve(path).and_then(|path| tree.get(&path));
        match found.map(|id| &tree.node(id).kind) {
            Some(NodeKind::File(content)) => Ok(Sought::Content(Whole {
                content: content.clone(),
                file: None,
            })),
            _ => Err(Error::Invalid(format!(
                "{} is not a file in image {}",
                String::from_utf8_lossy(path),
                image.row.id.short()
            ))),
        }
    }

    /// All that hold a content: layers, then images, snapshots and heads.
    pub fn which(&self, sought: &Sought) -> Result<Vec<Holding>> {
        self.repo.unless_changed(|| self.which_once(sought))
    }

    fn which_once(&self, sought: &Sought) -> Result<Vec<Holding>> {
        let mut out = Vec::new();
        let mut in_layers: HashMap<LayerId, Paths> = HashMap::new();
        let layers = self.repo.store.db().read(crate::rows::layers)?;
        for layer in layers {
            let entries = layer.read_entries(&self.repo.store)?;
            let paths = self.paths(sought, &entries)?;
            for path in &paths {
                out.push(Holding {
                    holder: Holder::Layer {
                        id: layer.id,
                        diff_id: layer.diff_id,
                    },
                    path: path.clone(),
                    visible: true,
                });
            }
            if !paths.is_empty() {
                in_layers.insert(layer.id, paths);
            }
        }
        for image in self.readable()? {
            let holder = Holder::Image {
                id: image.row.id,
                names: image.names.iter().map(ToString::to_string).collect(),
            };
            self.add(&mut out, &in_layers, &image.layers, sought, holder)?;
        }
        for snapshot in self.repo.snapshots().walk(&[])? {
            let below = match snapshot.labels.contains_key(IMPORTED) {
                true => Vec::new(),
                false => self.repo.layers_of(&snapshot.key)?,
            };
            let holder = Holder::Snapshot(snapshot.key.clone());
            self.add(&mut out, &in_layers, &below, sought, holder)?;
            if snapshot.kind == SnapshotKind::Active {
                let tree = self.repo.tree(&below)?;
                // Stored for the comparison only; it is gone when the ingest is dropped.
                let ingest = self.repo.store.ingest()?;
                let changed = self.repo.heads().read(&snapshot, &tree, &ingest)?;
                for path in self.paths(sought, &changed.entries)? {
                    let holder = Holder::Head(snapshot.key.clone());
                    out.push(Holding {
                        holder,
                        path,
                        visible: true,
                    });
                }
            }
        }
        Ok(out)
    }

    fn paths(&self, sought: &Sought, entries: &[Entry]) -> Result<Paths> {
        let mut out = Vec::new();
        for entry in entries {
            if let Kind::File(content) = &entry.kind
                && sought.is_in(self, content)?
            {
                out.push(entry.path.clone());
            }
        }
        Ok(out)
    }

    /// What a chain of layers holds, once for each path, and whether it is seen through all of them.
    fn add(
        &self,
        out: &mut Vec<Holding>,
        in_layers: &HashMap<LayerId, Paths>,
        layers: &[cairn_layer::Layer],
        sought: &Sought,
        holder: Holder,
    ) -> Result<()> {
        let held = layers.iter().filter_map(|layer| in_layers.get(&layer.id));
        let mut paths: BTreeMap<&[u8], bool> =
            held.flatten().map(|path| (&path[..], false)).collect();
        if paths.is_empty() {
            return Ok(());
        }
        let tree = self.repo.tree(layers)?;
        for (path, visible) in &mut paths {
            *visible = self.sees(&tree, path, sought)?;
        }
        out.extend(paths.into_iter().map(|(path, visible)| Holding {
            holder: holder.clone(),
            path: path.to_vec(),
            visible,
        }));
        Ok(())
    }

    fn sees(&self, tree: &Tree, path: &[u8], sought: &Sought) -> Result<bool> {
        match tree.get(path).map(|id| &tree.node(id).kind) {
            Some(NodeKind::File(content)) => sought.is_in(self, content),
            _ => Ok(false),
        }
    }
}
