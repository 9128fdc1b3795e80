//! The rules, over rows of the database. Everything here runs inside somebody's transaction.

use std::borrow::Borrow;
use std::collections::HashSet;

use cairn_model::{HeadId, LayerId, SnapshotKey, Timestamp, clock};
use cairn_store::codec::Stored;
use cairn_store::kinds;
use cairn_store::{Rows, Table, Txn};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::snapshot::{FieldPath, Kind, Labels, Snapshot, Usage};

#[derive(Serialize, Deserialize)]
struct SnapshotV1 {
    kind: u8,
    parent: Option<String>,
    created: (i64, u32),
    updated: (i64, u32),
    layer: Option<[u8; 32]>,
    head: Option<[u8; 16]>,
    bytes: u64,
    inodes: u64,
}

impl Stored for SnapshotV1 {
    const KIND: kinds::Kind = kinds::SNAPSHOT;
}

#[derive(Serialize, Deserialize)]
struct LabelV1 {
    key: String,
    value: String,
}

impl Stored for LabelV1 {
    const KIND: kinds::Kind = kinds::LABEL;
}

#[derive(Serialize, Deserialize)]
struct ChildV1;

impl Stored for ChildV1 {
    const KIND: kinds::Kind = kinds::CHILD;
}

const SNAPSHOTS: Table<SnapshotV1> = Table::new();
/// Keyed by snapshot, NUL, and a hash of the label's name.
const LABELS: Table<LabelV1> = Table::new();
/// Keyed by parent, NUL, child.
const CHILDREN: Table<ChildV1> = Table::new();
const LABEL_BYTES_MAX: usize = 4096;

fn label_prefix(key: &str) -> Vec<u8> {
    [key.as_bytes(), b"\0"].concat()
}

fn label_key(key: &str, label: &str) -> Vec<u8> {
    [
        key.as_bytes(),
        b"\0",
        &cairn_model::BlobId::of(label.as_bytes()).as_bytes()[..16],
    ]
    .concat()
}

fn child_key(parent: &SnapshotKey, child: &SnapshotKey) -> Vec<u8> {
    [parent.as_str().as_bytes(), b"\0", child.as_str().as_bytes()].concat()
}

fn from_row(rows: &dyn Rows, key: SnapshotKey, row: SnapshotV1) -> Result<Snapshot> {
    let corrupt = |why: &str| cairn_store::Error::corrupt(format!("row of snapshot {key}"), why);
    let kind = match row.kind {
        0 => Kind::Committed,
        1 => Kind::Active,
        2 => Kind::View,
        _ => return Err(corrupt("its kind is unknown").into()),
    };
    let parent = row
        .parent
        .map(|p| p.parse())
        .transpose()
        .map_err(|_| corrupt("its parent is not a valid name"))?;
    let labels = LABELS
        .scan(rows, label_prefix(key.as_str()))?
        .into_iter()
        .map(|(_, l)| (l.key, l.value))
        .collect();
    let time = |(secs, nanos)| Timestamp { secs, nanos };
    Ok(Snapshot {
        kind,
        parent,
        labels,
        created: time(row.created),
        updated: time(row.updated),
        layer: row.layer.map(LayerId::from_bytes),
        head: row.head.map(HeadId::from_bytes),
        usage: Usage {
            bytes: row.bytes,
            inodes: row.inodes,
        },
        key,
    })
}

fn put(txn: &mut Txn<'_>, snapshot: &Snapshot) -> Result<()> {
    for (key, value) in &snapshot.labels {
        if key.is_empty() || key.len() + value.len() > LABEL_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "label {key:.50?} is not valid: the key is empty, or key and value have more than {LABEL_BYTES_MAX} bytes"
            )));
        }
    }
    let row = SnapshotV1 {
        kind: snapshot.kind as u8,
        parent: snapshot.parent.as_ref().map(SnapshotKey::to_string),
        created: (snapshot.created.secs, snapshot.created.nanos),
        updated: (snapshot.updated.secs, snapshot.updated.nanos),
        layer: snapshot.layer.map(|l| *l.as_bytes()),
        head: snapshot.head.map(|h| *h.as_bytes()),
        bytes: snapshot.usage.bytes,
        inodes: snapshot.usage.inodes,
    };
    let key = snapshot.key.as_str();
    SNAPSHOTS.put(txn, key, &row)?;
    for (old, _) in LABELS.scan(txn, label_prefix(key))? {
        LABELS.delete(txn, old);
    }
    for (label, value) in &snapshot.labels {
        LABELS.put(
            txn,
            label_key(key, label),
            &LabelV1 {
                key: label.clone(),
                value: value.clone(),
            },
        )?;
    }
    if let Some(parent) = &snapshot.parent {
        CHILDREN.put(txn, child_key(parent, &snapshot.key), &ChildV1)?;
    }
    Ok(())
}

fn delete(txn: &mut Txn<'_>, snapshot: &Snapshot) -> Result<()> {
    SNAPSHOTS.delete(txn, snapshot.key.as_str());
    for (label, _) in LABELS.scan(txn, label_prefix(snapshot.key.as_str()))? {
        LABELS.delete(txn, label);
    }
    if let Some(parent) = &snapshot.parent {
        CHILDREN.delete(txn, child_key(parent, &snapshot.key));
    }
    Ok(())
}

/// One snapshot, if it exists.
pub fn find(rows: &dyn Rows, key: &SnapshotKey) -> Result<Option<Snapshot>> {
    SNAPSHOTS
        .get(rows, key.as_str())?
        .map(|row| from_row(rows, key.clone(), row))
        .transpose()
}

/// One snapshot.
pub fn stat(rows: &dyn Rows, key: &SnapshotKey) -> Result<Snapshot> {
    find(rows, key)?.ok_or_else(|| Error::NotFound(key.clone()))
}

/// All snapshots, in order of key.
pub fn list(rows: &dyn Rows) -> Result<Vec<Snapshot>> {
    let row = |(key, row): (Vec<u8>, SnapshotV1)| {
        let key = String::from_utf8(key).ok().and_then(|key| key.parse().ok());
        from_row(
            rows,
            key.ok_or_else(|| {
                cairn_store::Error::corrupt("snapshot row", "its key is not a valid name")
            })?,
            row,
        )
    };
    SNAPSHOTS.scan(rows, [])?.into_iter().map(row).collect()
}

/// Writes down again that `child` stands on `parent`, where that is not known any more. For repairs.
pub fn restore_child(txn: &mut Txn<'_>, parent: &SnapshotKey, child: &SnapshotKey) -> Result<()> {
    let key = child_key(parent, child);
    if CHILDREN.get(txn, &key)?.is_none() {
        CHILDREN.put(txn, key, &ChildV1)?;
    }
    Ok(())
}

/// Keys of the snapshots whose parent is `key`.
pub fn children(rows: &dyn Rows, key: &SnapshotKey) -> Result<Vec<SnapshotKey>> {
    let prefix = label_prefix(key.as_str());
    let name = |key: Vec<u8>| {
        String::from_utf8(key[prefix.len()..].to_vec())
            .ok()
            .and_then(|key| key.parse().ok())
    };
    Ok(CHILDREN
        .scan(rows, &prefix)?
        .into_iter()
        .filter_map(|(key, _)| name(key))
        .collect())
}

/// A snapshot and those below it, itself first, as far as `find` knows them. The one walk over a parent
/// chain: whoever asks for layers, roots or removals goes this way.
pub fn ancestors<S: Borrow<Snapshot>>(
    top: Option<&SnapshotKey>,
    mut find: impl FnMut(&SnapshotKey) -> Result<Option<S>>,
) -> impl Iterator<Item = Result<S>> {
    let mut next = top.cloned();
    let mut seen = HashSet::new();
    std::iter::from_fn(move || {
        let key = next.take()?;
        // Only damaged rows lead in a circle; without this the walk would never end.
        if !seen.insert(key.clone()) {
            let what = format!("row of snapshot {key}");
            return Some(Err(cairn_store::Error::corrupt(
                what,
                "it is its own ancestor",
            )
            .into()));
        }
        let found = find(&key).transpose()?;
        if let Ok(snapshot) = &found {
            next.clone_from(&snapshot.borrow().parent);
        }
        Some(found)
    })
}

/// Layers of a committed snapshot and all below it, lowest first; for an active one or view, those of
/// its parent and what was applied to it.
pub fn layers(rows: &dyn Rows, key: &SnapshotKey) -> Result<Vec<LayerId>> {
    let mut layers = Vec::new();
    for snapshot in ancestors(Some(key), |key| stat(rows, key).map(Some)) {
        layers.extend(snapshot?.layer);
    }
    layers.reverse();
    Ok(layers)
}

fn check_new(rows: &dyn Rows, key: &SnapshotKey, parent: Option<&SnapshotKey>) -> Result<()> {
    if SNAPSHOTS.get(rows, key.as_str())?.is_some() {
        return Err(Error::Exists(key.clone()));
    }
    let Some(parent) = parent else { return Ok(()) };
    match stat(rows, parent)?.kind {
        Kind::Committed => Ok(()),
        _ => Err(Error::ParentNotCommitted(parent.clone())),
    }
}

/// A new active snapshot or view.
pub fn create(
    txn: &mut Txn<'_>,
    key: &SnapshotKey,
    kind: Kind,
    parent: Option<&SnapshotKey>,
    labels: Labels,
    head: Option<HeadId>,
) -> Result<Snapshot> {
    check_new(txn, key, parent)?;
    let created = clock::timestamp();
    let snapshot = Snapshot {
        key: key.clone(),
        kind,
        parent: parent.cloned(),
        labels,
        created,
        updated: created,
        layer: None,
        head,
        usage: Usage::default(),
    };
    put(txn, &snapshot)?;
    Ok(snapshot)
}

/// A new committed snapshot that comes from no active one (an import).
pub fn create_committed(
    txn: &mut Txn<'_>,
    name: &SnapshotKey,
    parent: Option<&SnapshotKey>,
    layer: LayerId,
    usage: Usage,
    labels: Labels,
) -> Result<()> {
    check_new(txn, name, parent)?;
    let created = clock::timestamp();
    let (key, parent) = (name.clone(), parent.cloned());
    put(
        txn,
        &Snapshot {
            key,
            kind: Kind::Committed,
            parent,
            labels,
            created,
            updated: created,
            layer: Some(layer),
            head: None,
            usage,
        },
    )
}

/// What a commit of an active snapshot stands on: its parent or, where it has none, `onto`.
pub fn parent_of_commit<'a>(
    active: &'a Snapshot,
    onto: Option<&'a SnapshotKey>,
) -> Result<Option<&'a SnapshotKey>> {
    match (&active.parent, onto) {
        (Some(parent), Some(onto)) if parent != onto => Err(Error::OtherParent {
            key: active.key.clone(),
            parent: parent.clone(),
        }),
        (Some(parent), _) => Ok(Some(parent)),
        (None, onto) => Ok(onto),
    }
}

/// Makes the active snapshot `key` the committed snapshot `name`; one without a parent may be put onto `onto`. Labels
/// are replaced, the time of creation is now. Returns the record that is gone.
pub fn commit(
    txn: &mut Txn<'_>,
    name: &SnapshotKey,
    key: &SnapshotKey,
    onto: Option<&SnapshotKey>,
    layer: LayerId,
    usage: Usage,
    labels: Labels,
) -> Result<Snapshot> {
    tracing::debug!(%key, %name, "commit a snapshot");
    let active = stat(txn, key)?;
    if active.kind != Kind::Active {
        return Err(Error::NotActive {
            key: key.clone(),
            kind: active.kind.as_str(),
            action: "committed",
        });
    }
    delete(txn, &active)?;
    let parent = parent_of_commit(&active, onto)?;
    create_committed(txn, name, parent, layer, usage, labels)?;
    Ok(active)
}

/// Notes that a layer lies between an active snapshot and its parent, whose content is not in the head.
pub fn apply(txn: &mut Txn<'_>, key: &SnapshotKey, layer: LayerId, usage: Usage) -> Result<()> {
    let mut active = stat(txn, key)?;
    if active.kind != Kind::Active || active.layer.is_some() {
        return Err(Error::NotActive {
            key: key.clone(),
            kind: active.kind.as_str(),
            action: "applied to, and only once",
        });
    }
    active.layer = Some(layer);
    active.usage = usage;
    active.updated = clock::timestamp();
    put(txn, &active)
}

/// Removes a snapshot without children; returns its record.
pub fn remove(txn: &mut Txn<'_>, key: &SnapshotKey) -> Result<Snapshot> {
    tracing::debug!(%key, "remove a snapshot");
    let snapshot = stat(txn, key)?;
    if let Some(child) = children(txn, key)?.into_iter().next() {
        return Err(Error::HasChildren {
            key: key.clone(),
            child,
        });
    }
    delete(txn, &snapshot)?;
    Ok(snapshot)
}

/// Changes labels. Without `fields` all are replaced; else just those that are named, and a named one
/// that has no value goes.
pub fn update(
    txn: &mut Txn<'_>,
    key: &SnapshotKey,
    labels: Labels,
    fields: &[FieldPath],
) -> Result<Snapshot> {
    let mut snapshot = stat(txn, key)?;
    if SNAPSHOTS.is_until_boot(txn, key.as_str()) {
        txn.until_boot(true);
    }
    if fields.is_empty() || fields.contains(&FieldPath::Labels) {
        snapshot.labels = labels;
    } else {
        for field in fields {
            let FieldPath::Label(name) = field else {
                continue;
            };
            match labels.get(name) {
                Some(value) if !value.is_empty() => {
                    snapshot.labels.insert(name.clone(), value.clone())
                }
                _ => snapshot.labels.remove(name),
            };
        }
    }
    snapshot.updated = clock::timestamp();
    put(txn, &snapshot)?;
    Ok(snapshot)
}
