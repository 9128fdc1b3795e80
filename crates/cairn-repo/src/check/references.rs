//! Rows that name each other: what a damaged journal took with it leaves the others pointing at nothing.

use cairn_model::{Digest, ImageRef, LayerId, SnapshotKey};
use cairn_snapshot::graph;
use cairn_store::{AllRows, codec, kinds};

use super::Check;
use crate::error::{At, Error, Result};
use crate::{containers, origins, rows};

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
    let (prefix, rest) = key.split_first()?;
    let sound = match kinds::of_prefix(*prefix) {
        _ if !codec::is_whole(value) => {
            Err(Some(format!("a row of kind {:?}", char::from(*prefix))))
        }
        Some(kinds::CONTAINER) => container(all, key, value),
        Some(kind) => leads_somewhere(all, kind, rest),
        None => Err(Some("a row that refers to nothing".to_owned())),
    };
    sound.err().map(|words| Dangling {
        key: key.to_vec(),
        words,
    })
}

/// Whether a row is of use; else what it was, where that tells somebody something.
type Sound = std::result::Result<(), Option<String>>;

fn sound(is: bool, words: impl FnOnce() -> Option<String>) -> Sound {
    if is { Ok(()) } else { Err(words()) }
}

fn has_snapshot(all: &AllRows, name: &[u8]) -> bool {
    all.contains_key(&kinds::SNAPSHOT.key(name))
}

/// A row whose key, without its prefix, is `rest`.
fn leads_somewhere(all: &AllRows, kind: kinds::Kind, rest: &[u8]) -> Sound {
    let text = || String::from_utf8_lossy(rest).into_owned();
    let digest = || <[u8; 32]>::try_from(rest).map(Digest::from_bytes);
    // Name of a snapshot, NUL, something else.
    let parts = || {
        let at = rest.iter().position(|byte| *byte == 0)?;
        Some((&rest[..at], &rest[at + 1..]))
    };
    match kind {
        kinds::PACK | kinds::VERIFIED | kinds::OPTIMIZED if rest.len() == 16 => Ok(()),
        kinds::STATE if rest.is_empty() => Ok(()),
        kinds::KNOWN_TREE => Ok(()),
        kinds::LAYER if matches!(rest.len(), 32 | 64) => Ok(()),
        kinds::LABEL => {
            let there = parts().is_some_and(|(name, _)| has_snapshot(all, name));
            sound(there, || None)
        }
        kinds::CHILD => {
            let both = |(parent, child)| has_snapshot(all, parent) && has_snapshot(all, child);
            sound(parts().is_some_and(both), || None)
        }
        kinds::FORM => {
            let there = |id: Digest| all.contains_key(&kinds::DIFF.key(id.as_bytes()));
            sound(digest().is_ok_and(there), || None)
        }
        kinds::ORIGIN => {
            let there = |id: Digest| matches!(origins::image(all, &id), Ok(Some(_)));
            sound(digest().is_ok_and(there), || None)
        }
        kinds::DIFF => {
            let layer = |id| matches!(rows::layer_of_diff(all, &id), Ok(Some(_)));
            sound(digest().is_ok_and(layer), || None)
        }
        kinds::OWN_DIFF => {
            let layer = |id| matches!(rows::own_diff(all, &id), Ok(Some(_)));
            let id = <[u8; 32]>::try_from(rest).map(LayerId::from_bytes);
            sound(id.is_ok_and(layer), || None)
        }
        kinds::SNAPSHOT => snapshot(all, &text()),
        kinds::IMAGE => {
            let name = digest().map_or_else(|_| text(), |id| id.to_string());
            let words = || Some(format!("image {name}: its layers are missing"));
            sound(digest().is_ok_and(|id| image(all, &id)), words)
        }
        kinds::TAG => tag(all, &text()),
        kinds::KEEP => {
            let there = |id: Digest| all.contains_key(&kinds::IMAGE.key(id.as_bytes()));
            sound(digest().is_ok_and(there), || None)
        }
        _ => Err(Some("a row that refers to nothing".to_owned())),
    }
}

fn snapshot(all: &AllRows, name: &str) -> Sound {
    let key = name.parse::<SnapshotKey>().ok();
    let found = key.and_then(|key| graph::find(all, &key).ok().flatten());
    let whole = found.is_some_and(|found| {
        let parent = found.parent.as_ref();
        parent.is_none_or(|parent| has_snapshot(all, parent.as_str().as_bytes()))
            && found.layer.is_none_or(|id| rows::layer(all, &id).is_ok())
    });
    let words = || Some(format!("snapshot {name}: its parent or layer is missing"));
    sound(whole, words)
}

fn image(all: &AllRows, id: &Digest) -> bool {
    let found = rows::image(all, id).ok().flatten();
    found.is_some_and(|image| {
        let top = image.top.as_ref();
        top.is_none_or(|top| has_snapshot(all, top.as_str().as_bytes()))
    })
}

fn tag(all: &AllRows, name: &str) -> Sound {
    let parsed = name.parse::<ImageRef>().ok();
    let id = parsed.and_then(|name| rows::tag(all, &name).ok().flatten());
    let there = id.is_some_and(|id| all.contains_key(&kinds::IMAGE.key(id.as_bytes())));
    sound(there, || {
        Some(format!("image name {name}: its image is missing"))
    })
}

fn container(all: &AllRows, key: &[u8], value: &[u8]) -> Sound {
    let one: AllRows = [(key.to_vec(), value.to_vec())].into();
    let found = containers::all(&one).ok().and_then(|mut all| all.pop());
    let Some(found) = found else {
        return Err(Some("a container".to_owned()));
    };
    let there = has_snapshot(all, found.snapshot.as_str().as_bytes());
    let words = || Some(format!("container {}: its snapshot is missing", found.name));
    sound(there, words)
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
            let heads = heads.map(|head| head.hex());
            let containers = containers::all(rows)?.into_iter().map(|c| c.id.hex());
            Ok((heads.collect::<Vec<_>>(), containers.collect::<Vec<_>>()))
        })?;
        let disk = self.repo.store.disk();
        let kept = self.repo.layout().quarantine();
        let mut out = Vec::new();
        let layout = self.repo.layout();
        for (directory, known) in [(layout.heads(), heads), (layout.containers(), containers)] {
            let place = directory.file_name().unwrap_or_default().to_string_lossy();
            let entries = std::fs::read_dir(&directory).at("list", &directory)?;
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if known.contains(&name) {
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
