//! Why something is kept: the ways from what a user named to an image, snapshot, layer or blob.

use std::collections::{HashMap, HashSet, VecDeque};

use cairn_model::{BlobId, Kind as EntryKind, LayerId, SnapshotKey, path_display};
use cairn_snapshot::Kind;
use serde::Serialize;

use crate::containers::Container;
use crate::error::{Error, Result};
use crate::gc::{Roots, roots};
use crate::images::Image;
use crate::import::IMPORTED;
use crate::repo::Repo;
use crate::snapshots::NAMESPACE;

/// Fewest digits of an id that are looked for.
const DIGITS_MIN: usize = 8;
/// Ways that are told at most.
const WAYS_MAX: usize = 1000;

/// Something on a way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// `name`, `pin`, `image`, `container`, `containerd` (with a namespace), `snapshot`, `layer`, `file` or `blob`.
    pub kind: &'static str,
    /// What it is called.
    pub name: String,
}

/// What keeps an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Why {
    /// The object that was found.
    pub object: Step,
    /// Ways to it, each from what a user can remove down to what has it directly. Without one, a collection takes it.
    pub ways: Vec<Vec<Step>>,
}

fn step(kind: &'static str, name: impl ToString) -> Step {
    let name = name.to_string();
    Step { kind, name }
}

/// What is there, and who stands on whom.
struct Graph {
    roots: Roots,
    images: Vec<Image>,
    containers: Vec<Container>,
    children: HashMap<SnapshotKey, Vec<SnapshotKey>>,
}

impl Repo {
    /// What keeps the object that `text` names: an image, a container, a snapshot, or else a layer or blob by the
    /// first digits of its id.
    pub fn why(&self, text: &str) -> Result<Vec<Why>> {
        self.unless_changed(|| self.why_once(text))
    }

    fn why_once(&self, text: &str) -> Result<Vec<Why>> {
        let graph = self.graph()?;
        match self.images().find(text) {
            Ok(image) => return Ok(vec![graph.image(&image)]),
            Err(Error::NoImage(_)) => {}
            Err(e) => return Err(e),
        }
        if graph
            .containers
            .iter()
            .any(|container| container.name == text)
        {
            return Ok(vec![Why {
                object: step("container", text),
                ways: vec![Vec::new()],
            }]);
        }
        if let Ok(key) = text.parse::<SnapshotKey>()
            && graph.roots.find(&key).is_some()
        {
            return Ok(vec![Why {
                ways: graph.ways(&key),
                object: step("snapshot", key),
            }]);
        }
        let digits = text
            .strip_prefix("sha256:")
            .unwrap_or(text)
            .to_ascii_lowercase();
        let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hex || !(DIGITS_MIN..=64).contains(&digits.len()) {
            return Err(Error::NoImage(text.to_owned()));
        }
        let mut found = graph.layers(&digits);
        if found.is_empty() {
            found = self.blobs(&graph, &digits)?;
        }
        match found.is_empty() {
            true => Err(Error::NoImage(text.to_owned())),
            false => Ok(found),
        }
    }

    fn graph(&self) -> Result<Graph> {
        let (roots, containers) = self
            .store
            .db()
            .read::<_, Error>(|rows| Ok((roots(rows)?, crate::containers::all(rows)?)))?;
        let mut children: HashMap<SnapshotKey, Vec<SnapshotKey>> = HashMap::new();
        for snapshot in &roots.snapshots {
            if let Some(parent) = &snapshot.parent {
                let of_parent = children.entry(parent.clone()).or_default();
                of_parent.push(snapshot.key.clone());
            }
        }
        Ok(Graph {
            images: self.images().readable()?,
            roots,
            containers,
            children,
        })
    }

    /// Blobs that begin with these digits, with the layers and files that have them.
    fn blobs(&self, graph: &Graph, digits: &str) -> Result<Vec<Why>> {
        let mut ways: HashMap<Step, Vec<Vec<Step>>> = HashMap::new();
        let mut note = |blob: Step, above: Vec<Vec<Step>>, file: Option<Step>| {
            let with_file = above.into_iter().map(|mut way| {
                way.extend(file.clone());
                way
            });
            let all = ways.entry(blob).or_default();
            all.extend(with_file.take(WAYS_MAX.saturating_sub(all.len())));
        };
        let is_sought = |id: &BlobId| id.hex().starts_with(digits);
        let index = self.store.reload_index()?;
        // What a blob is the difference from, where that is sought.
        let reference = |id: &BlobId| -> Result<Option<BlobId>> {
            if index.list().recoded == 0 {
                return Ok(None);
            }
            let found = index.find(id)?.and_then(|at| at.slot.codec.reference());
            Ok(found.filter(is_sought))
        };
        // The blob itself, and what it is the difference from.
        let mut note_both = |id: &BlobId, above: &[Vec<Step>], file: Option<&Step>| {
            if is_sought(id) {
                note(step("blob", id.hex()), above.to_vec(), file.cloned());
            }
            let Some(other) = reference(id)? else {
                return Ok::<_, Error>(());
            };
            let mut above = above.to_vec();
            above.iter_mut().for_each(|way| way.extend(file.cloned()));
            note(
                step("blob", other.hex()),
                above,
                Some(step("blob", id.hex())),
            );
            Ok(())
        };
        for layer in graph.roots.layers.iter().chain(&graph.roots.unreferenced) {
            self.watch().check()?;
            let mut above = graph.ways_to_layer(&layer.id);
            let name = layer
                .diff_id
                .map_or(layer.id.to_string(), |id| id.to_string());
            above
                .iter_mut()
                .for_each(|way| way.push(step("layer", &name)));
            for stream in std::iter::once(&layer.manifest).chain(&layer.framing) {
                for id in self.store.stream_blobs(stream)? {
                    note_both(&id, &above, None)?;
                }
            }
            for entry in layer.read_entries(&self.store)? {
                let EntryKind::File(content) = &entry.kind else {
                    continue;
                };
                let blobs: HashSet<BlobId> = content.blobs().map(|(id, _)| id).collect();
                let file = step("file", format!("/{}", path_display(&entry.path)));
                for id in blobs {
                    note_both(&id, &above, Some(&file))?;
                }
            }
        }
        for image in &graph.images {
            for id in self.store.stream_blobs(&image.row.config)? {
                let mut above = graph.image(image).ways;
                above
                    .iter_mut()
                    .for_each(|way| way.push(step("image", image.row.id)));
                note_both(&id, &above, None)?;
            }
        }
        let mut found: Vec<Why> = ways
            .into_iter()
            .map(|(object, ways)| Why { object, ways })
            .collect();
        found.sort_by(|a, b| a.object.name.cmp(&b.object.name));
        Ok(found)
    }
}

impl Graph {
    /// Names, pins and containers that keep an image; one without any is kept until it is removed.
    fn image(&self, image: &Image) -> Why {
        let names = image.names.iter().map(|name| step("name", name));
        let pin = image.keep.pinned.then(|| step("pin", image.row.id.short()));
        let users = self
            .containers
            .iter()
            .filter(|c| c.image == Some(image.row.id));
        let users = users.map(|container| step("container", &container.name));
        let all: Vec<Step> = names.chain(pin).chain(users).collect();
        let ways = match all.is_empty() {
            true => vec![Vec::new()],
            false => all.into_iter().map(|step| vec![step]).collect(),
        };
        Why {
            object: step("image", image.row.id),
            ways,
        }
    }

    /// Layers that begin with these digits, by either name.
    fn layers(&self, digits: &str) -> Vec<Why> {
        let all = self.roots.layers.iter().chain(&self.roots.unreferenced);
        let is_sought = |layer: &&cairn_layer::Layer| {
            let by_diff = layer.diff_id.is_some_and(|id| id.hex().starts_with(digits));
            by_diff || layer.id.hex().starts_with(digits)
        };
        all.filter(is_sought)
            .map(|layer| Why {
                object: step(
                    "layer",
                    layer
                        .diff_id
                        .map_or(layer.id.to_string(), |id| id.to_string()),
                ),
                ways: self.ways_to_layer(&layer.id),
            })
            .collect()
    }

    fn ways_to_layer(&self, id: &LayerId) -> Vec<Vec<Step>> {
        let with = self.roots.snapshots.iter().filter(|s| s.layer == Some(*id));
        let ways = with.flat_map(|snapshot| {
            let mut ways = self.ways(&snapshot.key);
            let last = || step("snapshot", &snapshot.key);
            ways.iter_mut().for_each(|way| way.push(last()));
            ways
        });
        ways.take(WAYS_MAX).collect()
    }

    /// The shortest way from each thing that keeps a snapshot: images, containers, and snapshots of users, its
    /// own key included. The snapshot itself is not on it.
    fn ways(&self, key: &SnapshotKey) -> Vec<Vec<Step>> {
        let mut found = Vec::new();
        let mut seen: HashSet<&SnapshotKey> = HashSet::from([key]);
        // Each with the snapshots between it and the one in question, nearest last.
        let mut queue: VecDeque<(&SnapshotKey, Vec<Step>)> = VecDeque::from([(key, Vec::new())]);
        while let Some((at, below)) = queue.pop_front() {
            let itself = (at != key).then(|| step("snapshot", at));
            let down: Vec<Step> = itself.into_iter().chain(below).collect();
            for keeper in self.keepers(at) {
                // A snapshot that keeps itself is there once.
                let way = match down.first() == Some(&keeper) {
                    true => down.clone(),
                    false => [&[keeper][..], &down].concat(),
                };
                found.push(way);
            }
            let children = self.children.get(at).into_iter().flatten();
            for child in children.filter(|child| seen.insert(child)) {
                queue.push_back((child, down.clone()));
            }
            if found.len() >= WAYS_MAX {
                break;
            }
        }
        found
    }

    /// What keeps a snapshot, other than those that stand on it.
    fn keepers(&self, key: &SnapshotKey) -> Vec<Step> {
        let images = self
            .images
            .iter()
            .filter(|image| image.row.top.as_ref() == Some(key));
        let name = |image: &Image| match image.names.first() {
            Some(name) => step("image", name),
            None => step("image", image.row.id),
        };
        let mut keepers: Vec<Step> = images.map(name).collect();
        let Some(snapshot) = self.roots.find(key) else {
            return keepers;
        };
        let container = self.containers.iter().find(|c| c.snapshot == *key);
        if let Some(container) = container {
            keepers.push(step("container", &container.name));
        } else if let Some(namespace) = snapshot.labels.get(NAMESPACE) {
            keepers.push(step("containerd", namespace));
        } else if snapshot.kind != Kind::Committed || !snapshot.labels.contains_key(IMPORTED) {
            // Kept until a user removes it.
            keepers.push(step("snapshot", key));
        }
        keepers
    }
}
