//! What takes space and has nobody who asks for it by name.

use std::collections::HashSet;

use cairn_model::SnapshotKey;
use cairn_snapshot::Kind;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::gc::roots;
use crate::images::Image;
use crate::import::IMPORTED;
use crate::repo::Repo;
use crate::snapshots::NAMESPACE;
use crate::stats::Removals;

/// Something that may have been forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Orphan {
    /// `image`, `snapshot` or `data`.
    pub kind: &'static str,
    /// What it is called.
    pub name: String,
    /// Bytes that removing it would free, where they are known.
    pub bytes: Option<u64>,
    /// Why it is here.
    pub why: String,
    /// The command that removes it.
    pub remove: String,
}

impl Repo {
    /// Images without a name, snapshots that no image, container or other snapshot needs, and data that nothing
    /// refers to.
    pub fn orphans(&self) -> Result<Vec<Orphan>> {
        let mut out = self.unnamed_images()?;
        out.extend(self.lone_snapshots()?);
        let dead = self.stats()?.dead;
        if dead > 0 {
            out.push(Orphan {
                kind: "data",
                name: "unreferenced blobs".to_owned(),
                bytes: Some(dead),
                why: "no image or snapshot needs them".to_owned(),
                remove: "cairn gc --all".to_owned(),
            });
        }
        Ok(out)
    }

    fn unnamed_images(&self) -> Result<Vec<Orphan>> {
        let orphan = |all: &Removals<'_>, image: &Image| {
            let freed = self.what_if(all, &[image])?;
            let used = freed.refused.first().map(|refused| &refused.why);
            Ok(Orphan {
                kind: "image",
                name: image.row.id.short(),
                bytes: used.is_none().then_some(freed.freed_bytes),
                why: used.map_or("it has no name".to_owned(), |why| {
                    format!("it has no name; {why}")
                }),
                remove: format!("cairn rmi {}", image.row.id.short()),
            })
        };
        self.with_removals(|all| {
            let unnamed = all.images.iter().filter(|image| image.names.is_empty());
            unnamed.map(|image| orphan(all, image)).collect()
        })
    }

    fn lone_snapshots(&self) -> Result<Vec<Orphan>> {
        let (roots, containers) = self
            .store
            .db()
            .read::<_, Error>(|rows| Ok((roots(rows)?, crate::containers::all(rows)?)))?;
        let images = self.images().list()?;
        let tops = images.iter().filter_map(|image| image.row.top.as_ref());
        let parents = roots.snapshots.iter().filter_map(|s| s.parent.as_ref());
        let written = containers.iter().map(|container| &container.snapshot);
        let needed: HashSet<&SnapshotKey> = tops.chain(parents).chain(written).collect();
        let views = containers
            .iter()
            .map(|c| format!("container/{}/", c.id.hex()));
        let views: Vec<String> = views.collect();
        let is_lone = |snapshot: &&cairn_snapshot::Snapshot| {
            let key = snapshot.key.as_str();
            !needed.contains(&snapshot.key)
                && !snapshot.labels.contains_key(NAMESPACE)
                && !views.iter().any(|view| key.starts_with(view.as_str()))
        };
        let orphan = |snapshot: &cairn_snapshot::Snapshot| {
            let why = match snapshot.kind {
                Kind::Committed if snapshot.labels.contains_key(IMPORTED) => "its image is gone",
                Kind::Committed => "no image or snapshot is based on it",
                _ => "no container uses it",
            };
            Orphan {
                kind: "snapshot",
                name: snapshot.key.to_string(),
                bytes: None,
                why: why.to_owned(),
                remove: format!("cairn snapshot rm {}", snapshot.key),
            }
        };
        Ok(roots.snapshots.iter().filter(is_lone).map(orphan).collect())
    }
}
