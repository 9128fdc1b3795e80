//! The table of a layer: how its tar is made of blobs, and where they are.
//!
//! `"CAIRNTBL" version:u32`, then bincode of [`TableV1`]. Whatever is in it came from a registry: every number is
//! checked before it is used.

use std::collections::HashSet;

use cairn_layer::{Layer, Limits};
use cairn_model::{BlobId, Digest};
use cairn_store::codec::{decode_bare, encode_bare};
use cairn_store::{BLOB_BYTES_MAX, Codec};
use serde::{Deserialize, Serialize};

use super::recipe::RecipeV1;

/// Longest table.
pub const TABLE_BYTES_MAX: u64 = 64 << 20;
/// Most packs of one table.
pub const PACKS_MAX: usize = 1024;
const MAGIC: &[u8; 12] = b"CAIRNTBL\x01\0\0\0";
/// A zstd frame is no longer than its content but for so much.
const FRAME_BYTES_MAX: u32 = 1024;
/// What the lists of manifest and framing may have beside them.
const LISTS_BYTES_MAX: u64 = 2 * BLOB_BYTES_MAX as u64;

#[derive(Serialize, Deserialize)]
struct TableV1 {
    recipe: RecipeV1,
    packs: Vec<PackV1>,
    blobs: Vec<BlobV1>,
}

#[derive(Serialize, Deserialize)]
struct PackV1 {
    digest: [u8; 32],
    bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct BlobV1 {
    id: [u8; 32],
    pack: u32,
    offset: u32,
    stored: u32,
    raw: u32,
    codec: u8,
}

/// A pack in a registry: the stored bytes of blobs one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pack {
    /// SHA-256 of it.
    pub digest: Digest,
    /// Its length.
    pub bytes: u64,
}

/// Where a blob is, and how it is stored there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The blob.
    pub id: BlobId,
    /// The pack, by its number in the table.
    pub pack: u32,
    /// Where it begins there.
    pub offset: u32,
    /// Bytes that it has there.
    pub stored: u32,
    /// Bytes of its content.
    pub raw: u32,
    /// How it is stored.
    pub codec: Codec,
}

/// The table of a layer.
#[derive(Debug, Clone)]
pub struct Table {
    /// How the tar is made of blobs.
    pub layer: Layer,
    /// The packs that it refers to.
    pub packs: Vec<Pack>,
    /// The places of the layer's blobs, in order of id.
    pub places: Vec<Place>,
}

/// The table of these places, which are in order of id; none where the layer cannot be described.
pub fn encode(layer: &Layer, packs: &[Pack], places: &[Place]) -> Option<Vec<u8>> {
    let table = TableV1 {
        recipe: RecipeV1::of(layer)?,
        packs: packs.iter().map(pack_out).collect(),
        blobs: places.iter().map(place_out).collect(),
    };
    let bytes = [MAGIC, &encode_bare(&table)[..]].concat();
    (bytes.len() as u64 <= TABLE_BYTES_MAX).then_some(bytes)
}

/// The table that these bytes are; `Err` says what is wrong with them.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Table, &'static str> {
    let mut rest = bytes.strip_prefix(MAGIC).ok_or("it is not a table")?;
    let table: TableV1 = decode_bare(&mut rest).ok_or("it is not a table")?;
    if !rest.is_empty() {
        return Err("something follows the table");
    }
    let packs: Vec<Pack> = table.packs.iter().map(pack_in).collect();
    let different: HashSet<Digest> = packs.iter().map(|pack| pack.digest).collect();
    if packs.len() > PACKS_MAX || different.len() < packs.len() {
        return Err("it has too many packs, or one twice");
    }
    let places: Option<Vec<Place>> = table.blobs.iter().map(place_in).collect();
    let places = places.ok_or("a blob is stored in an unknown way")?;
    let layer = table.recipe.layer(limits)?;
    check(&places, &packs)?;
    let raw: u64 = places.iter().map(|place| u64::from(place.raw)).sum();
    if raw > table.recipe.content_max() + LISTS_BYTES_MAX {
        return Err("its blobs have more bytes than the layer");
    }
    Ok(Table {
        layer,
        packs,
        places,
    })
}

/// Every place inside its pack, none over another, and each blob once.
fn check(places: &[Place], packs: &[Pack]) -> Result<(), &'static str> {
    if !places.is_sorted_by(|a, b| a.id < b.id) {
        return Err("its blobs are not in order");
    }
    for place in places {
        let pack = packs
            .get(place.pack as usize)
            .ok_or("a blob is in no pack of it")?;
        if end(place) > pack.bytes {
            return Err("a blob ends after its pack");
        }
        let fits = match place.codec {
            Codec::Plain => place.stored == place.raw,
            Codec::Zstd => place.stored <= place.raw.saturating_add(FRAME_BYTES_MAX),
            // A matter of packs; elsewhere it goes as what it holds.
            Codec::Frame | Codec::Delta(_) => false,
        };
        if !fits || place.raw as usize > BLOB_BYTES_MAX {
            return Err("the lengths of a blob cannot be right");
        }
    }
    let mut order: Vec<&Place> = places.iter().collect();
    order.sort_unstable_by_key(|place| (place.pack, place.offset, place.stored));
    let over =
        |pair: &[&Place]| pair[0].pack == pair[1].pack && u64::from(pair[1].offset) < end(pair[0]);
    match order.windows(2).any(over) {
        true => Err("two blobs overlap"),
        false => Ok(()),
    }
}

fn end(place: &Place) -> u64 {
    u64::from(place.offset) + u64::from(place.stored)
}

fn pack_out(pack: &Pack) -> PackV1 {
    PackV1 {
        digest: *pack.digest.as_bytes(),
        bytes: pack.bytes,
    }
}

fn pack_in(pack: &PackV1) -> Pack {
    Pack {
        digest: Digest::from_bytes(pack.digest),
        bytes: pack.bytes,
    }
}

fn place_out(place: &Place) -> BlobV1 {
    BlobV1 {
        id: *place.id.as_bytes(),
        pack: place.pack,
        offset: place.offset,
        stored: place.stored,
        raw: place.raw,
        codec: place.codec.number(),
    }
}

fn place_in(blob: &BlobV1) -> Option<Place> {
    Some(Place {
        id: BlobId::from_bytes(blob.id),
        pack: blob.pack,
        offset: blob.offset,
        stored: blob.stored,
        raw: blob.raw,
        codec: Codec::of(blob.codec)?,
    })
}

#[cfg(test)]
mod tests {
    use cairn_model::LayerId;
    use cairn_store::StreamRef;

    use super::*;

    fn layer(tar_bytes: u64) -> Layer {
        Layer {
            id: LayerId::from_bytes([1; 32]),
            manifest: StreamRef {
                id: BlobId::from_bytes([2; 32]),
                list: false,
                len: 100,
            },
            framing: None,
            diff_id: Some(Digest::from_bytes([3; 32])),
            tar_bytes: Some(tar_bytes),
            entries: 1,
            content_bytes: 10,
        }
    }

    fn place(id: u8, pack: u32, offset: u32, stored: u32) -> Place {
        Place {
            id: BlobId::from_bytes([id; 32]),
            pack,
            offset,
            stored,
            raw: stored,
            codec: Codec::Plain,
        }
    }

    fn packs() -> Vec<Pack> {
        let pack = |byte| Pack {
            digest: Digest::from_bytes([byte; 32]),
            bytes: 100,
        };
        vec![pack(8), pack(9)]
    }

    fn read(places: &[Place], packs: &[Pack]) -> Result<Table, &'static str> {
        decode(
            &encode(&layer(1000), packs, places).unwrap(),
            &Limits::default(),
        )
    }

    #[test]
    fn tables_come_back_and_cuts_are_refused() {
        let places = [place(1, 0, 0, 50), place(2, 1, 0, 100), place(3, 0, 50, 50)];
        let bytes = encode(&layer(1000), &packs(), &places).unwrap();
        let table = decode(&bytes, &Limits::default()).unwrap();
        assert_eq!((table.places, table.layer), (places.to_vec(), layer(1000)));
        assert_eq!(table.packs, packs());
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len], &Limits::default()).is_err(), "{len}");
        }
        assert!(decode(&[&bytes[..], b"x"].concat(), &Limits::default()).is_err());
    }

    #[test]
    fn golden_bytes() {
        let bytes = encode(&layer(1000), &packs(), &[place(1, 0, 0, 50)]).unwrap();
        assert_eq!(BlobId::of(&bytes).short(), "ee025fdbbe10");
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        let wrong = |places: &[Place], words: &str| {
            let told = read(places, &packs()).unwrap_err();
            assert!(told.contains(words), "{told}");
        };
        wrong(&[place(1, 0, 60, 50)], "ends after");
        wrong(&[place(1, 0, u32::MAX, u32::MAX)], "ends after");
        wrong(&[place(1, 2, 0, 1)], "no pack");
        wrong(&[place(1, 0, 0, 50), place(2, 0, 49, 10)], "overlap");
        wrong(&[place(1, 0, 0, 50), place(2, 0, 0, 50)], "overlap");
        wrong(&[place(2, 0, 0, 50), place(1, 0, 50, 50)], "order");
        wrong(&[place(1, 0, 0, 50), place(1, 0, 50, 50)], "order");
        let lengths = Place {
            raw: 60,
            ..place(1, 0, 0, 50)
        };
        wrong(&[lengths], "lengths");
        let huge = Place {
            raw: 1 << 24,
            codec: Codec::Zstd,
            ..place(1, 0, 0, 50)
        };
        wrong(&[huge], "lengths");
        let many = |id| Place {
            raw: 0xff_0000,
            codec: Codec::Zstd,
            ..place(id, 0, u32::from(id), 1)
        };
        wrong(&[many(1), many(2), many(3)], "more bytes than the layer");
        assert!(read(&[], &[packs(), packs()].concat()).is_err());
        let small = Limits {
            bytes_max: 999,
            ..Limits::default()
        };
        let bytes = encode(&layer(1000), &[], &[]).unwrap();
        assert!(decode(&bytes, &small).is_err());
    }
}
