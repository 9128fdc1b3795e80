//! What `cairn rmi NAME && cairn gc` would free, for each image: the removal is played through on the rows
//! that were read, and the collection's own plan and forecast are asked.

use std::collections::{HashMap, HashSet};

use cairn_model::{BlobId, LayerId, SnapshotKey};
use cairn_snapshot::{Kind, Snapshot};
use cairn_store::gc;

use super::Stats;
use super::ledger::Ledger;
use crate::containers::Container;
use crate::error::Result;
use crate::gc::Roots;
use crate::images::Image;
use crate::import::IMPORTED;
use crate::repo::Repo;

/// What the removal of a name does.
enum Removal {
    /// It is refused.
    Refused,
    /// The image has other names.
    Untagged,
    /// The image goes, and with it these snapshots.
    Image(HashSet<SnapshotKey>),
}

impl Repo {
    pub(super) fn forecast_removals(
        &self,
        roots: &Roots,
        images: &[Image],
        ledger: &mut Ledger,
        stats: &mut Stats,
    ) -> Result<()> {
        let containers = self.containers().list()?;
        let packs = self.store.pack_rows()?;
        let ids: HashMap<usize, BlobId> = ledger.places.iter().map(|(id, at)| (*at, *id)).collect();
        for (i, image) in images.iter().enumerate() {
            let dead = match removal(image, images, roots, &containers)? {
                Removal::Refused => {
                    stats.images[i].freed_bytes = 0;
                    continue;
                }
                Removal::Untagged => Vec::new(),
                Removal::Image(gone) => self.dying(image, &gone, roots, ledger)?,
            };
            for place in &dead {
                ledger.marks.unmark(&ids[place])?;
            }
            let plan = gc::plan(&packs, &ledger.marks, self.options.gc);
            let would = gc::forecast(&self.store, &plan, &ledger.marks);
            for place in &dead {
                ledger.marks.mark(&ids[place])?;
            }
            let would = would?;
            let freed = would.removed_bytes.saturating_sub(would.written_bytes);
            stats.images[i].freed_bytes = freed;
        }
        Ok(())
    }

    /// Blobs that nothing needs once the image and these snapshots are gone.
    fn dying(
        &self,
        image: &Image,
        gone: &HashSet<SnapshotKey>,
        roots: &Roots,
        ledger: &mut Ledger,
    ) -> Result<Vec<usize>> {
        let stays = roots.snapshots.iter().filter(|s| !gone.contains(&s.key));
        let needed: HashSet<LayerId> = stays.filter_map(|s| s.layer).collect();
        let mut lost: HashMap<usize, u32> = HashMap::new();
        for (layer, places) in roots.layers.iter().zip(&ledger.of_layer) {
            if !needed.contains(&layer.id) {
                for place in places {
                    *lost.entry(*place).or_default() += 1;
                }
            }
        }
        let document: HashSet<BlobId> = self
            .store
            .stream_blobs(&image.row.config)?
            .into_iter()
            .collect();
        for id in document {
            *lost.entry(ledger.place(&id)?).or_default() += 1;
        }
        let all_lost =
            |(place, lost): (usize, u32)| (ledger.blobs[place].users == lost).then_some(place);
        Ok(lost.into_iter().filter_map(all_lost).collect())
    }
}

/// As [`Images::remove`] does it, by the image's first name.
fn removal(
    image: &Image,
    images: &[Image],
    roots: &Roots,
    containers: &[Container],
) -> Result<Removal> {
    if image.names.len() > 1 {
        return Ok(Removal::Untagged);
    }
    if containers.iter().any(|c| c.image == Some(image.row.id)) {
        return Ok(Removal::Refused);
    }
    let others: HashSet<&SnapshotKey> = images
        .iter()
        .filter(|other| other.row.id != image.row.id)
        .filter_map(|other| other.row.top.as_ref())
        .collect();
    let mut gone = HashSet::new();
    let top = image.row.top.as_ref();
    let children = |key: &SnapshotKey, gone: &HashSet<SnapshotKey>| -> Vec<&Snapshot> {
        let all = roots.snapshots.iter();
        all.filter(|s| s.parent.as_ref() == Some(key) && !gone.contains(&s.key))
            .collect()
    };
    if let Some(top) = top
        && !others.contains(top)
        && children(top, &gone)
            .iter()
            .any(|s| s.kind != Kind::Committed)
    {
        return Ok(Removal::Refused);
    }
    for snapshot in roots.ancestors(top)? {
        let key = &snapshot.key;
        let needed = !children(key, &gone).is_empty() || others.contains(key);
        if needed || !snapshot.labels.contains_key(IMPORTED) {
            break;
        }
        gone.insert(key.clone());
    }
    Ok(Removal::Image(gone))
}
