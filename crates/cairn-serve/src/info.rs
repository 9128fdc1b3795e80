//! Records of snapshots as they are on the wire.

use std::collections::HashMap;

use cairn_model::{SnapshotKey, Timestamp};
use cairn_repo::NAMESPACE;
use cairn_snapshot::{Labels, Snapshot};

use crate::proto::snapshots::{Info, Kind};
use crate::status::Failure;

/// Bytes of labels that one snapshot may have.
const LABELS_BYTES_MAX: usize = 1 << 20;

fn time(of: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: of.secs,
        nanos: of.nanos as i32,
    }
}

fn kind(of: cairn_snapshot::Kind) -> Kind {
    match of {
        cairn_snapshot::Kind::Committed => Kind::Committed,
        cairn_snapshot::Kind::Active => Kind::Active,
        cairn_snapshot::Kind::View => Kind::View,
    }
}

/// A record; the label that is ours is not shown.
pub(crate) fn info(mut snapshot: Snapshot) -> Info {
    snapshot.labels.remove(NAMESPACE);
    Info {
        name: snapshot.key.to_string(),
        parent: snapshot.parent.map(|p| p.to_string()).unwrap_or_default(),
        kind: kind(snapshot.kind).into(),
        created_at: Some(time(snapshot.created)),
        updated_at: Some(time(snapshot.updated)),
        labels: snapshot.labels.into_iter().collect(),
    }
}

/// Labels of a request, with ours.
pub(crate) fn labels(of: HashMap<String, String>, namespace: &str) -> Result<Labels, Failure> {
    let bytes: usize = of
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > LABELS_BYTES_MAX {
        return Err(Failure::Invalid(format!(
            "the labels have {bytes} bytes; a snapshot may have {LABELS_BYTES_MAX}"
        )));
    }
    let mut labels: Labels = of.into_iter().collect();
    labels.insert(NAMESPACE.to_owned(), namespace.to_owned());
    Ok(labels)
}

/// Label with the most bytes that a writable snapshot may take (containerd 2.4).
const BYTES_MAX: &str = "containerd.io/snapshot/max-size";

/// Refuses a snapshot that is to be limited: it would look as if it was, and fill the disk.
pub(crate) fn refuse_limits(labels: &Labels) -> Result<(), Failure> {
    let Some(bytes) = labels.get(BYTES_MAX) else {
        return Ok(());
    };
    if bytes.parse::<u64>().is_ok_and(|bytes| bytes > 0) {
        Err(Failure::Refused(format!(
            "the label {BYTES_MAX} asks for at most {bytes} bytes, which Cairn does not enforce; take it away, or use a volume of that size"
        )))
    } else {
        let words = format!("{bytes:.50?} of the label {BYTES_MAX} is no number of bytes");
        Err(Failure::Invalid(words))
    }
}

/// A key or name of a request.
pub(crate) fn key(text: &str) -> Result<SnapshotKey, Failure> {
    text.parse()
        .map_err(|e: cairn_model::NameError| Failure::Invalid(e.to_string()))
}

/// A parent; the empty one is none.
pub(crate) fn parent(text: &str) -> Result<Option<SnapshotKey>, Failure> {
    (!text.is_empty()).then(|| key(text)).transpose()
}

/// The namespace of a request: its header says so, else the key, which containerd begins with it.
pub(crate) fn namespace<T>(request: &tonic::Request<T>, key: &str) -> String {
    let header = request.metadata().get("containerd-namespace");
    let header = header.and_then(|value| value.to_str().ok());
    let of_key = || key.split_once('/').map(|(first, _)| first);
    let name = header.or_else(of_key).filter(|name| !name.is_empty());
    name.unwrap_or("default").chars().take(256).collect()
}
