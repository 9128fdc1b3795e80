//! Rows of layers, by their own ids and by the diff ids of their tars.

use std::collections::HashMap;

use cairn_layer::Layer;
use cairn_model::{Digest, LayerId, LayerName};
use cairn_store::codec::Stored;
use cairn_store::kinds;
use cairn_store::{Rows, Table, Txn};
use serde::{Deserialize, Serialize};

use super::{StreamV1, corrupt};
use crate::error::Result;

#[derive(Serialize, Deserialize)]
struct LayerV1 {
    manifest: StreamV1,
    framing: Option<StreamV1>,
    diff_id: Option<[u8; 32]>,
    tar_bytes: Option<u64>,
    entries: u64,
    content_bytes: u64,
}

impl Stored for LayerV1 {
    const KIND: kinds::Kind = kinds::LAYER;
}

#[derive(Serialize, Deserialize)]
struct DiffV1([u8; 32]);

impl Stored for DiffV1 {
    const KIND: kinds::Kind = kinds::DIFF;
}

#[derive(Serialize, Deserialize)]
struct OwnDiffV1([u8; 32]);

impl Stored for OwnDiffV1 {
    const KIND: kinds::Kind = kinds::OWN_DIFF;
}

const LAYERS: Table<LayerV1> = Table::new();
const DIFFS: Table<DiffV1> = Table::new();
/// By layer id: the diff id of the layer whose tar is the canonical one, where documents name it by its id.
const OWN_DIFFS: Table<OwnDiffV1> = Table::new();

/// Writes a layer's row, and its diff id's if known. A layer whose tar nobody wanted yet has a row without a diff id
/// until somebody does.
pub fn put_layer(txn: &mut Txn<'_>, layer: &Layer) -> Result<()> {
    if let Some(twin) = twin(txn, layer)? {
        match (twin.diff_id, layer.diff_id) {
            (Some(known), None) => return put_own_diff(txn, &layer.id, &known),
            (None, Some(new)) => {
                LAYERS.delete(txn, layer_key(&twin));
                put_own_diff(txn, &layer.id, &new)?;
            }
            _ => {}
        }
    }
    let row = LayerV1 {
        manifest: layer.manifest.into(),
        framing: layer.framing.map(Into::into),
        diff_id: layer.diff_id.map(|d| *d.as_bytes()),
        tar_bytes: layer.tar_bytes,
        entries: layer.entries,
        content_bytes: layer.content_bytes,
    };
    // The same entries can come in tars that differ (padding, order of pax records): each diff id keeps
    // a row of its own, named by both.
    LAYERS.put(txn, layer_key(layer), &row)?;
    if let Some(diff_id) = layer.diff_id {
        DIFFS.put(txn, diff_id.as_bytes(), &DiffV1(*layer.id.as_bytes()))?;
    }
    Ok(())
}

fn put_own_diff(txn: &mut Txn<'_>, id: &LayerId, diff_id: &Digest) -> Result<()> {
    Ok(OWN_DIFFS.put(txn, id.as_bytes(), &OwnDiffV1(*diff_id.as_bytes()))?)
}

/// The row of a layer with the same tar, whether or not both know its digest.
pub fn twin(rows: &dyn Rows, layer: &Layer) -> Result<Option<Layer>> {
    // A tar is what entries and framing make of it.
    for (key, row) in LAYERS.scan(rows, layer.id.as_bytes())? {
        let other = to_layer(&key, row)?;
        if other.framing == layer.framing {
            return Ok(Some(other));
        }
    }
    Ok(None)
}

fn layer_key(layer: &Layer) -> Vec<u8> {
    [
        &layer.id.as_bytes()[..],
        layer.diff_id.as_ref().map_or(&[], |d| d.as_bytes()),
    ]
    .concat()
}

fn to_layer(key: &[u8], row: LayerV1) -> Result<Layer> {
    let id = key
        .get(..32)
        .and_then(|id| id.try_into().ok())
        .ok_or_else(|| corrupt("layer row"))?;
    Ok(Layer {
        id: LayerId::from_bytes(id),
        manifest: row.manifest.into(),
        framing: row.framing.map(Into::into),
        diff_id: row.diff_id.map(Digest::from_bytes),
        tar_bytes: row.tar_bytes,
        entries: row.entries,
        content_bytes: row.content_bytes,
    })
}

fn first(rows: &dyn Rows, id: &LayerId) -> Result<Option<Layer>> {
    let found = LAYERS.scan(rows, id.as_bytes())?.into_iter().next();
    found.map(|(key, row)| to_layer(&key, row)).transpose()
}

/// The first row of a layer.
pub fn layer(rows: &dyn Rows, id: &LayerId) -> Result<Layer> {
    let gone = || cairn_store::Error::corrupt(format!("layer {id}"), "it has no row");
    Ok(first(rows, id)?.ok_or_else(gone)?)
}

/// The layer whose tar has this diff id.
pub fn layer_of_diff(rows: &dyn Rows, diff_id: &Digest) -> Result<Option<Layer>> {
    match DIFFS.get(rows, diff_id.as_bytes())? {
        Some(DiffV1(id)) => by_both(rows, &id, diff_id.as_bytes()),
        None => Ok(None),
    }
}

fn by_both(rows: &dyn Rows, id: &[u8; 32], diff_id: &[u8; 32]) -> Result<Option<Layer>> {
    let key = [&id[..], diff_id].concat();
    let row = LAYERS.get(rows, &key)?;
    row.map(|row| to_layer(&key, row)).transpose()
}

/// The layer with the canonical tar of these entries, where its digest is known.
pub fn own_diff(rows: &dyn Rows, id: &LayerId) -> Result<Option<Layer>> {
    match OWN_DIFFS.get(rows, id.as_bytes())? {
        Some(OwnDiffV1(diff_id)) => by_both(rows, id.as_bytes(), &diff_id),
        None => Ok(None),
    }
}

/// The layer that documents call so.
pub fn layer_of_name(rows: &dyn Rows, name: &LayerName) -> Result<Option<Layer>> {
    match name {
        LayerName::Tar(diff_id) => layer_of_diff(rows, diff_id),
        LayerName::Own(id) => match own_diff(rows, id)? {
            // Of one whose digest nobody asked for the row without comes first. Whichever it is, its entries are the same.
            None => first(rows, id),
            found => Ok(found),
        },
    }
}

/// All layers, by the names that documents have for them.
pub fn named_layers(rows: &dyn Rows) -> Result<HashMap<LayerName, Layer>> {
    let own_diffs = OWN_DIFFS.scan(rows, [])?.into_iter();
    let own_diffs: HashMap<Vec<u8>, [u8; 32]> = own_diffs
        .map(|(id, OwnDiffV1(diff_id))| (id, diff_id))
        .collect();
    let mut named = HashMap::new();
    for layer in layers(rows)? {
        let own = LayerName::Own(layer.id);
        named.entry(own).or_insert(layer);
        if let Some(diff_id) = layer.diff_id {
            named.insert(LayerName::Tar(diff_id), layer);
            if own_diffs.get(&layer.id.as_bytes()[..]) == Some(diff_id.as_bytes()) {
                named.insert(own, layer);
            }
        }
    }
    Ok(named)
}

/// All layers.
pub fn layers(rows: &dyn Rows) -> Result<Vec<Layer>> {
    LAYERS
        .scan(rows, [])?
        .into_iter()
        .map(|(key, row)| to_layer(&key, row))
        .collect()
}

/// Removes a layer's row.
pub fn delete_layer(txn: &mut Txn<'_>, layer: &Layer) {
    LAYERS.delete(txn, layer_key(layer));
    OWN_DIFFS.delete(txn, layer.id.as_bytes());
    if let Some(diff_id) = layer.diff_id {
        DIFFS.delete(txn, diff_id.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use cairn_store::StreamRef;

    use super::*;
    use crate::{Error, Options, Repo};

    /// A tar has one row, whether its digest is known at first, later or never; another tar of the same entries has its own.
    #[test]
    fn a_layer_is_found_by_both_names_in_whatever_order_they_come() {
        let directory = tempfile::tempdir().unwrap();
        let repo = Repo::open_or_create(&directory.path().join("r"), Options::default()).unwrap();
        let stream = |n: u8| StreamRef {
            id: cairn_model::BlobId::from_bytes([n; 32]),
            list: false,
            len: 1,
        };
        let bare = Layer {
            id: LayerId::from_bytes([1; 32]),
            manifest: stream(1),
            framing: None,
            diff_id: None,
            tar_bytes: Some(10),
            entries: 1,
            content_bytes: 1,
        };
        let digest = |n: u8| Digest::from_bytes([n; 32]);
        let known = Layer {
            diff_id: Some(digest(2)),
            ..bare
        };
        let other = Layer {
            framing: Some(stream(9)),
            diff_id: Some(digest(3)),
            ..bare
        };
        let (own, tar) = (LayerName::Own(bare.id), LayerName::Tar(digest(2)));
        let db = repo.store().db();
        for order in [
            [bare, known, other],
            [known, bare, other],
            [other, bare, known],
            [bare, other, known],
            [known, other, bare],
        ] {
            db.write::<_, Error>(|txn| {
                order.iter().try_for_each(|layer| put_layer(txn, layer))?;
                let mut all = layers(txn)?;
                all.sort_by_key(|layer| layer.diff_id);
                assert_eq!(all, [known, other]);
                let named = named_layers(txn)?;
                for (name, layer) in [
                    (own, known),
                    (tar, known),
                    (LayerName::Tar(digest(3)), other),
                ] {
                    assert_eq!(layer_of_name(txn, &name)?, Some(layer), "{name}");
                    assert_eq!(named.get(&name), Some(&layer), "{name}");
                }
                assert_eq!(own_diff(txn, &bare.id)?, Some(known));
                all.iter().for_each(|layer| delete_layer(txn, layer));
                assert_eq!(own_diff(txn, &bare.id)?, None);
                assert!(named_layers(txn)?.is_empty());
                Ok(())
            })
            .unwrap();
        }
        // One that nobody asked for goes by its own name alone, beside another tar of the same entries.
        db.write::<_, Error>(|txn| {
            put_layer(txn, &other)?;
            put_layer(txn, &bare)?;
            assert_eq!(layer_of_name(txn, &own)?, Some(bare));
            assert_eq!(named_layers(txn)?.get(&own), Some(&bare));
            assert_eq!(layer_of_name(txn, &tar)?, None);
            Ok(())
        })
        .unwrap();
    }
}
