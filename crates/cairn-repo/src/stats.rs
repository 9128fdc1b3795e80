//! Where every byte is: from what users think they have down to what `du` says, line by line, each line
//! the difference to the one before.

mod forecast;

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cairn_layer::Layer;
use cairn_model::{BlobId, Kind, LayerId};
use cairn_snapshot::Snapshot;
use cairn_store::gc::{Marks, record_area};
use cairn_store::pack_bytes;

use crate::error::{At, Error, Result};
use crate::gc::roots;
use crate::images::Image;
use crate::repo::Repo;

/// What one image, layer or snapshot takes, bytes as stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    /// Name or id.
    pub name: String,
    /// Bytes of file content it shows.
    pub content_bytes: u64,
    /// Stored bytes that only it needs.
    pub exclusive_bytes: u64,
    /// Stored bytes that others need too.
    pub shared_bytes: u64,
    /// Of an image: bytes of packs that `gc` would free now, right after its name is removed; 0 where it
    /// cannot be removed. Of a layer or snapshot: what its own blobs take.
    pub freed_bytes: u64,
}

/// The whole report. All numbers are bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// File content of all images and snapshots, each counted as if it were alone.
    pub logical: u64,
    /// Zeros that no blob holds.
    pub holes: u64,
    /// Counted more than once because whole layers are shared.
    pub shared_layers: u64,
    /// Content that occurs more than once inside its layer.
    pub shared_within: u64,
    /// Content that other layers have too.
    pub shared_between: u64,
    /// What is left: each piece of content once.
    pub unique: u64,
    /// Saved by compression.
    pub compression: u64,
    /// Content as stored.
    pub stored_content: u64,
    /// Manifests, tar framing and image documents, as stored.
    pub stored_metadata: u64,
    /// Blobs that nothing needs and that are not collected yet.
    pub dead: u64,
    /// Headers, directories and trailers of packs; packs that wait for a lease.
    pub pack_overhead: u64,
    /// The index.
    pub index: u64,
    /// Database and journal.
    pub database: u64,
    /// Cached views and objects.
    pub cache: u64,
    /// What active snapshots changed.
    pub heads: u64,
    /// Containers, leases, unfinished imports, quarantine.
    pub other: u64,
    /// What the file system rounds up to, and directories.
    pub rounding: u64,
    /// All of it, as `du` counts.
    pub disk: u64,
    /// Blobs that are needed.
    pub blobs: u64,
    /// Packs.
    pub packs: u64,
    /// Per image.
    pub images: Vec<Share>,
    /// Per layer.
    pub layers: Vec<Share>,
    /// Per committed snapshot.
    pub snapshots: Vec<Share>,
}

impl Stats {
    /// What all lines below content come to: the sum that has to be [`Stats::disk`].
    pub fn sum(&self) -> u64 {
        let below = [
            self.stored_content,
            self.stored_metadata,
            self.dead,
            self.pack_overhead,
            self.index,
            self.database,
        ];
        below.iter().sum::<u64>() + self.cache + self.heads + self.other + self.rounding
    }

    /// How many times smaller the stored content and metadata are than what they stand for.
    pub fn ratio(&self) -> f64 {
        self.logical as f64
            / (self.stored_content + self.stored_metadata + self.pack_overhead + self.index).max(1)
                as f64
    }
}

/// Nobody has the blob yet.
const NONE: u32 = u32::MAX;
/// Several have it.
const MANY: u32 = u32::MAX - 1;

fn own(owner: &mut u32, who: u32) {
    *owner = match *owner {
        NONE => who,
        same if same == who => who,
        _ => MANY,
    };
}

/// A blob that is needed, as the report sees it.
#[derive(Clone, Copy)]
struct Blob {
    stored: u32,
    layer: u32,
    image: u32,
    /// How many layers and documents have it.
    users: u32,
}

/// Directory and index entry of a blob and its record header, bytes.
const BLOB_OVERHEAD: u64 = 44 + 48 + 16;

struct Ledger {
    marks: Marks,
    places: HashMap<BlobId, usize>,
    blobs: Vec<Blob>,
    /// Blobs of each layer, each once.
    of_layer: Vec<Vec<usize>>,
    metadata: HashSet<usize>,
}

impl Ledger {
    fn place(&mut self, id: &BlobId) -> Result<usize> {
        if let Some(place) = self.places.get(id) {
            return Ok(*place);
        }
        let missing = || Error::from(cairn_store::Error::MissingBlob(*id));
        let found = match self.marks.mark(id)? {
            Some(found) => found,
            None => self.marks.index().find(id)?.ok_or_else(missing)?,
        };
        self.blobs.push(Blob {
            stored: found.slot.stored,
            layer: NONE,
            image: NONE,
            users: 0,
        });
        self.places.insert(*id, self.blobs.len() - 1);
        Ok(self.blobs.len() - 1)
    }
}

impl Repo {
    /// Counts everything. Reads metadata only, and takes no lock but for two moments.
    pub fn stats(&self) -> Result<Stats> {
        let roots = self.store.db().read::<_, Error>(|rows| roots(rows))?;
        let images = self.images()?;
        let mut stats = Stats::default();
        let marks = Marks::new(&self.store)?;
        let mut ledger = Ledger {
            marks,
            places: HashMap::new(),
            blobs: Vec::new(),
            of_layer: Vec::new(),
            metadata: HashSet::new(),
        };
        let mut unique_layers = 0;
        for (number, layer) in roots.layers.iter().enumerate() {
            unique_layers += layer.content_bytes;
            self.count_layer(layer, number as u32, &mut ledger, &mut stats)?;
        }
        for document in &roots.documents {
            let mut mine = HashSet::new();
            let counted = (|| {
                for id in self.store.stream_blobs(document)? {
                    let place = ledger.place(&id)?;
                    ledger.metadata.insert(place);
                    ledger.blobs[place].users += u32::from(mine.insert(place));
                }
                Ok::<_, Error>(())
            })();
            // The list of images tells which one is damaged; the others are counted all the same.
            match counted {
                Err(e) if e.is_corruption() => {}
                counted => counted?,
            }
        }
        let chains = self.chains(&roots.snapshots, &images);
        stats.logical = chains
            .iter()
            .flat_map(|(_, layers)| layers)
            .map(|l| content_of(&roots.layers, l))
            .sum();
        stats.shared_layers = stats.logical.saturating_sub(unique_layers);
        // Layers that only removed images had are in no chain; they count as logical until they go.
        stats.logical = stats.logical.max(unique_layers);
        self.shares(
            &roots.layers,
            &roots.snapshots,
            &images,
            &chains,
            &mut ledger,
            &mut stats,
        );
        self.forecast_removals(&roots, &images, &mut ledger, &mut stats)?;
        let content = ledger
            .blobs
            .iter()
            .enumerate()
            .filter(|(place, _)| !ledger.metadata.contains(place));
        stats.stored_content = content.map(|(_, blob)| u64::from(blob.stored)).sum();
        stats.stored_metadata = ledger
            .metadata
            .iter()
            .map(|place| u64::from(ledger.blobs[*place].stored))
            .sum();
        stats.compression = stats.unique.saturating_sub(stats.stored_content);
        stats.blobs = ledger.blobs.len() as u64;
        self.count_disk(&ledger.marks, &mut stats)?;
        Ok(stats)
    }

    fn count_layer(
        &self,
        layer: &Layer,
        number: u32,
        ledger: &mut Ledger,
        stats: &mut Stats,
    ) -> Result<()> {
        let mut mine = HashSet::new();
        for stream in std::iter::once(&layer.manifest).chain(&layer.framing) {
            for id in self.store.stream_blobs(stream)? {
                let place = ledger.place(&id)?;
                ledger.metadata.insert(place);
                own(&mut ledger.blobs[place].layer, number);
                mine.insert(place);
            }
        }
        for entry in layer.read_entries(&self.store)? {
            let Kind::File(content) = &entry.kind else {
                continue;
            };
            stats.holes += content.size - content.data_bytes();
            for (id, len) in content.blobs() {
                let place = ledger.place(&id)?;
                let len = u64::from(len);
                // A small file may have the bytes of a manifest; it is content then.
                ledger.metadata.remove(&place);
                if !mine.insert(place) {
                    stats.shared_within += len;
                } else if ledger.blobs[place].layer == NONE {
                    stats.unique += len;
                } else {
                    stats.shared_between += len;
                }
                own(&mut ledger.blobs[place].layer, number);
            }
        }
        for place in &mine {
            ledger.blobs[*place].users += 1;
        }
        ledger.of_layer.push(mine.into_iter().collect());
        Ok(())
    }

    /// What is named and kept: each image with its layers, and each committed snapshot that is the top of
    /// a chain no image has.
    fn chains(&self, snapshots: &[Snapshot], images: &[Image]) -> Vec<(String, Vec<LayerId>)> {
        let by_key: HashMap<_, _> = snapshots.iter().map(|s| (&s.key, s)).collect();
        let chain = |top: &Snapshot| {
            let (mut layers, mut at) = (Vec::new(), Some(top));
            while let Some(snapshot) = at {
                layers.extend(snapshot.layer);
                at = snapshot
                    .parent
                    .as_ref()
                    .and_then(|parent| by_key.get(parent).copied());
            }
            layers
        };
        let name = |image: &Image| {
            image
                .names
                .first()
                .map_or_else(|| image.row.id.short(), ToString::to_string)
        };
        let mut out: Vec<(String, Vec<LayerId>)> = images
            .iter()
            .map(|image| (name(image), image.layers.iter().map(|l| l.id).collect()))
            .collect();
        let parents: HashSet<_> = snapshots
            .iter()
            .filter(|s| s.layer.is_some())
            .filter_map(|s| s.parent.as_ref())
            .collect();
        let tops: HashSet<_> = images
            .iter()
            .filter_map(|image| image.row.top.as_ref())
            .collect();
        for snapshot in snapshots.iter().filter(|s| s.layer.is_some()) {
            if !parents.contains(&snapshot.key) && !tops.contains(&snapshot.key) {
                out.push((snapshot.key.to_string(), chain(snapshot)));
            }
        }
        out
    }

    fn shares(
        &self,
        layers: &[Layer],
        snapshots: &[Snapshot],
        images: &[Image],
        chains: &[(String, Vec<LayerId>)],
        ledger: &mut Ledger,
        stats: &mut Stats,
    ) {
        let number: HashMap<LayerId, usize> =
            layers.iter().enumerate().map(|(i, l)| (l.id, i)).collect();
        let blobs_of = |ledger: &Ledger, chain: &[LayerId]| {
            let mut all: HashSet<usize> = HashSet::new();
            for layer in chain {
                all.extend(
                    number
                        .get(layer)
                        .into_iter()
                        .flat_map(|i| &ledger.of_layer[*i]),
                );
            }
            all
        };
        for (i, (_, chain)) in chains.iter().enumerate() {
            for place in blobs_of(ledger, chain) {
                own(&mut ledger.blobs[place].image, i as u32);
            }
        }
        let share = |name: String,
                     content_bytes,
                     places: &mut dyn Iterator<Item = usize>,
                     mine: &dyn Fn(&Blob) -> bool| {
            let mut out = Share {
                name,
                content_bytes,
                ..Share::default()
            };
            for place in places {
                let blob = &ledger.blobs[place];
                let stored = u64::from(blob.stored);
                if mine(blob) {
                    out.exclusive_bytes += stored;
                    out.freed_bytes += stored + BLOB_OVERHEAD;
                } else {
                    out.shared_bytes += stored;
                }
            }
            out
        };
        for (i, (name, chain)) in chains.iter().enumerate().take(images.len()) {
            let content = chain.iter().map(|l| content_of(layers, l)).sum();
            let places = blobs_of(ledger, chain);
            stats.images.push(share(
                name.clone(),
                content,
                &mut places.into_iter(),
                &|blob| blob.image == i as u32,
            ));
        }
        for (i, layer) in layers.iter().enumerate() {
            let name = layer
                .diff_id
                .map_or_else(|| layer.id.to_string(), |diff_id| diff_id.to_string());
            let mine = |blob: &Blob| blob.layer == i as u32;
            stats.layers.push(share(
                name,
                layer.content_bytes,
                &mut ledger.of_layer[i].iter().copied(),
                &mine,
            ));
        }
        for snapshot in snapshots {
            let Some(i) = snapshot.layer.and_then(|layer| number.get(&layer)).copied() else {
                continue;
            };
            // Two snapshots may have the same layer; then neither frees it alone.
            let twins = snapshots
                .iter()
                .filter(|s| s.layer == snapshot.layer)
                .count();
            let mine = |blob: &Blob| blob.layer == i as u32 && twins == 1;
            let name = snapshot.key.to_string();
            stats.snapshots.push(share(
                name,
                layers[i].content_bytes,
                &mut ledger.of_layer[i].iter().copied(),
                &mine,
            ));
        }
    }

    fn count_disk(&self, marks: &Marks, stats: &mut Stats) -> Result<()> {
        let (mut live, mut packs_bytes) = (0, 0);
        let framing = |blobs: u64| pack_bytes(blobs, 0) - pack_bytes(0, 0);
        for (id, row) in self.store.pack_rows()? {
            let marked = marks.live(&id);
            live += marked.stored();
            stats.dead += record_area(&row).saturating_sub(marked.bytes)
                + framing(u64::from(row.blobs).saturating_sub(marked.blobs));
            stats.packs += 1;
            packs_bytes += row.bytes;
        }
        stats.pack_overhead = packs_bytes.saturating_sub(live + stats.dead);
        let mut apparent = packs_bytes;
        let mut count = |name: &str| -> Result<u64> {
            let path = self.root().join(name);
            if !path.exists() {
                return Ok(0);
            }
            let bytes = apparent_bytes(&path)?;
            apparent += bytes;
            Ok(bytes)
        };
        stats.index = count("index")?;
        stats.database = count("db")? + count("journal")? + count("journal.copy")?;
        stats.cache = count("cache")?;
        stats.heads = count("heads")?;
        for name in [
            "containers",
            "leases",
            "tmp",
            "quarantine",
            "format",
            "lock",
            "gc.lock",
            "cairn.toml",
            "db.broken",
            "reserve",
        ] {
            stats.other += count(name)?;
        }
        stats.disk = disk_bytes(self.root())?;
        stats.rounding = stats.disk.saturating_sub(apparent);
        Ok(())
    }
}

fn content_of(layers: &[Layer], id: &LayerId) -> u64 {
    layers
        .iter()
        .find(|layer| layer.id == *id)
        .map_or(0, |layer| layer.content_bytes)
}

fn walk(root: &Path, count: &mut dyn FnMut(&std::fs::Metadata)) -> Result<()> {
    let mut seen = HashSet::new();
    let mut stack = vec![root.to_owned()];
    while let Some(path) = stack.pop() {
        // Files of a live repository come and go under a walk.
        let Ok(meta) = path.symlink_metadata() else {
            continue;
        };
        if seen.insert((meta.dev(), meta.ino())) {
            count(&meta);
        }
        if meta.is_dir() {
            for entry in std::fs::read_dir(&path).at("list", &path)?.flatten() {
                stack.push(entry.path());
            }
        }
    }
    Ok(())
}

/// Lengths of all files, holes left out.
fn apparent_bytes(root: &Path) -> Result<u64> {
    let mut sum = 0;
    walk(root, &mut |meta| {
        if !meta.is_dir() {
            sum += meta.len().min(meta.blocks() * 512);
        }
    })?;
    Ok(sum)
}

/// As `du` counts: blocks of files and directories.
fn disk_bytes(root: &Path) -> Result<u64> {
    let mut sum = 0;
    walk(root, &mut |meta| sum += meta.blocks() * 512)?;
    Ok(sum)
}
