//! Rows that name each other: what a damaged journal took with it leaves the others pointing at nothing.

use cairn_model::{Digest, ImageRef, SnapshotKey};
use cairn_snapshot::graph;
use cairn_store::{AllRows, codec, kinds};

use super::Check;
use crate::error::{At, Error, Result};
use crate::{containers, rows};

/// A row that nothing can be done with: its key, and what it was where that tells somebody something.
struct Dangling {
    key: Vec<u8>,
    words: Option<String>,
}

/// Rows whose key or value does not read, and rows that need one that is gone; with those that need them.
fn dangling(mut all: AllRows) -> Vec<Dangling> {
    let mut found = Vec::new();
    loop {
        let bad: Vec<Dangling> = all
            .iter()
            .filter_map(|(key, value)| judge(&all, key, value))
            .collect();
        if bad.is_empty() {
            return found;
        }
        for row in bad {
            all.remove(&row.key);
            found.push(row);
        }
    }
}

fn judge(all: &AllRows, key: &[u8], value: &[u8]) -> Option<Dangling> {
    let bad = |words: Option<String>| {
        Some(Dangling {
            key: key.to_vec(),
            words,
        })
    };
    let (prefix, rest) = key.split_first()?;
    let text = || String::from_utf8_lossy(rest).into_owned();
    let snapshot = |name: &[u8]| all.contains_key(&kinds::SNAPSHOT.key(name));
    let split = || {
        let at = rest.iter().position(|byte| *byte == 0)?;
        Some((&rest[..at], &rest[at + 1..]))
    };
    if !codec::is_whole(value) {
        return bad(Some(format!("a row of kind {:?}", char::from(*prefix))));
    }
    let Some(kind) = kinds::of_prefix(*prefix) else {
        return bad(Some("a row that refers to nothing".to_owned()));
    };
    match kind {
        kinds::PACK | kinds::VERIFIED if rest.len() == 16 => None,
        kinds::STATE if rest.is_empty() => None,
        kinds::KNOWN_TREE => None,
        kinds::LAYER if matches!(rest.len(), 32 | 64) => None,
        kinds::LABEL => match split() {
            Some((name, _)) if snapshot(name) => None,
            _ => bad(None),
        },
        kinds::CHILD => match split() {
            Some((parent, child)) if snapshot(parent) && snapshot(child) => None,
            _ => bad(None),
        },
        kinds::DIFF => {
            let id = <[u8; 32]>::try_from(rest).map(Digest::from_bytes);
            let there = id.is_ok_and(|id| matches!(rows::layer_of_diff(all, &id), Ok(Some(_))));
            if there { None } else { bad(None) }
        }
        kinds::SNAPSHOT => {
            let found = text()
                .parse::<SnapshotKey>()
                .ok()
                .and_then(|key| graph::find(all, &key).ok().flatten());
            let whole = found.is_some_and(|s| {
                s.parent
                    .is_none_or(|parent| snapshot(parent.as_str().as_bytes()))
                    && s.layer.is_none_or(|id| rows::layer(all, &id).is_ok())
            });
            let words = format!("snapshot {}: its parent or layer is missing", text());
            if whole { None } else { bad(Some(words)) }
        }
        kinds::IMAGE => {
            let id = <[u8; 32]>::try_from(rest).map(Digest::from_bytes);
            let found = id
                .as_ref()
                .ok()
                .and_then(|id| rows::image(all, id).ok().flatten());
            let whole = found.is_some_and(|image| {
                image
                    .top
                    .is_none_or(|top| snapshot(top.as_str().as_bytes()))
            });
            let name = id.map_or_else(|_| text(), |id| id.to_string());
            if whole {
                None
            } else {
                bad(Some(format!("image {name}: its layers are missing")))
            }
        }
        kinds::TAG => {
            let id = text()
                .parse::<ImageRef>()
                .ok()
                .and_then(|name| rows::tag(all, &name).ok().flatten());
            let there = id.is_some_and(|id| all.contains_key(&kinds::IMAGE.key(id.as_bytes())));
            if there {
                None
            } else {
                bad(Some(format!("image name {}: its image is missing", text())))
            }
        }
        kinds::CONTAINER => {
            let one: AllRows = [(key.to_vec(), value.to_vec())].into();
            let found = containers::all(&one).ok().and_then(|mut all| all.pop());
            match found {
                Some(c) if snapshot(c.snapshot.as_str().as_bytes()) => None,
                Some(c) => bad(Some(format!(
                    "container {}: its snapshot is missing",
                    c.name
                ))),
                None => bad(Some("a container".to_owned())),
            }
        }
        _ => bad(Some("a row that refers to nothing".to_owned())),
    }
}

/// The rows without those that lead nowhere.
pub(crate) fn without_dangling(mut all: AllRows) -> AllRows {
    for row in dangling(all.clone()) {
        all.remove(&row.key);
    }
    all
}

impl Check<'_> {
    fn all_rows(&self) -> Result<AllRows> {
        self.repo
            .store
            .db()
            .read::<_, Error>(|rows| Ok(rows.scan(&[])?.into_iter().collect()))
    }

    /// What the rows that lead nowhere were, in words.
    pub(super) fn broken_references(&self) -> Result<Vec<String>> {
        let bad = dangling(self.all_rows()?);
        Ok(bad.into_iter().filter_map(|row| row.words).collect())
    }

    /// Takes away rows that lead nowhere; says what they were.
    pub(super) fn drop_broken_references(&self) -> Result<Vec<String>> {
        let all = self.all_rows()?;
        let bad = dangling(all.clone());
        let mut left = all;
        for row in &bad {
            left.remove(&row.key);
        }
        let snapshots = graph::list(&left)?;
        self.repo.store.db().write::<_, Error>(|txn| {
            for row in &bad {
                txn.remove_row(&row.key);
            }
            for snapshot in &snapshots {
                if let Some(parent) = &snapshot.parent {
                    graph::restore_child(txn, parent, &snapshot.key)?;
                }
            }
            Ok(())
        })?;
        Ok(bad.into_iter().filter_map(|row| row.words).collect())
    }

    /// Directories of changes and containers whose rows are lost are kept in `quarantine/`: a collection
    /// would take them for left-overs.
    pub(super) fn keep_unknown_heads(&self) -> Result<Vec<String>> {
        let (heads, containers) = self.repo.store.db().read::<_, Error>(|rows| {
            let heads = graph::list(rows)?.into_iter().filter_map(|s| s.head);
            let containers = containers::all(rows)?.into_iter().map(|c| c.id);
            Ok((heads.collect::<Vec<_>>(), containers.collect::<Vec<_>>()))
        })?;
        let disk = self.repo.store.disk();
        let kept = self.repo.root().join("quarantine");
        let mut out = Vec::new();
        for (place, known) in [("heads", heads), ("containers", containers)] {
            let directory = self.repo.root().join(place);
            let entries = std::fs::read_dir(&directory).at("list", &directory)?;
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.parse().is_ok_and(|id| known.contains(&id)) {
                    continue;
                }
                cairn_store::private_directory(&kept, disk)?;
                let to = kept.join(format!("{place}-{name}"));
                disk.rename(&entry.path(), &to)?;
                out.push(format!(
                    "the record of {place}/{name}; its contents were moved to {}",
                    to.display()
                ));
            }
        }
        Ok(out)
    }
}
