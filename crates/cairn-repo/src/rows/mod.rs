//! Rows of images and tags, and of layers.

mod layers;

use std::collections::BTreeMap;

use cairn_model::{Digest, ImageRef, SnapshotKey};
use cairn_store::codec::Stored;
use cairn_store::kinds;
use cairn_store::{Rows, StreamRef, Table, Txn};
use serde::{Deserialize, Serialize};

use crate::error::Result;

pub use layers::{
    delete_layer, layer, layer_of_diff, layer_of_name, layers, named_layers, own_diff, put_layer,
    twin,
};

#[derive(Serialize, Deserialize)]
struct StreamV1([u8; 32], bool, u64);

impl From<StreamRef> for StreamV1 {
    fn from(s: StreamRef) -> Self {
        Self(*s.id.as_bytes(), s.list, s.len)
    }
}

impl From<StreamV1> for StreamRef {
    fn from(s: StreamV1) -> Self {
        Self {
            id: cairn_model::BlobId::from_bytes(s.0),
            list: s.1,
            len: s.2,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct ImageV1 {
    config: StreamV1,
    top: Option<String>,
    imported: i64,
}

impl Stored for ImageV1 {
    const KIND: kinds::Kind = kinds::IMAGE;
}

#[derive(Serialize, Deserialize)]
struct TagV1([u8; 32]);

impl Stored for TagV1 {
    const KIND: kinds::Kind = kinds::TAG;
}

const IMAGES: Table<ImageV1> = Table::new();
const TAGS: Table<TagV1> = Table::new();

/// What the database knows of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// Its id: digest of its document.
    pub id: Digest,
    /// Where its document is.
    pub config: StreamRef,
    /// The snapshot of its topmost layer.
    pub top: Option<SnapshotKey>,
    /// When it came here, seconds since 1970.
    pub imported: i64,
}

fn corrupt(what: &'static str) -> cairn_store::Error {
    cairn_store::Error::corrupt(what, "its key or a name in it does not parse")
}

/// Writes an image's row.
pub fn put_image(txn: &mut Txn<'_>, image: &ImageRow) -> Result<()> {
    let row = ImageV1 {
        config: image.config.into(),
        top: image.top.as_ref().map(SnapshotKey::to_string),
        imported: image.imported,
    };
    Ok(IMAGES.put(txn, image.id.as_bytes(), &row)?)
}

fn to_image(id: Digest, row: ImageV1) -> Result<ImageRow> {
    let top = row
        .top
        .map(|top| top.parse())
        .transpose()
        .map_err(|_| corrupt("image row"))?;
    Ok(ImageRow {
        id,
        config: row.config.into(),
        top,
        imported: row.imported,
    })
}

/// One image.
pub fn image(rows: &dyn Rows, id: &Digest) -> Result<Option<ImageRow>> {
    IMAGES
        .get(rows, id.as_bytes())?
        .map(|row| to_image(*id, row))
        .transpose()
}

/// All images.
pub fn images(rows: &dyn Rows) -> Result<Vec<ImageRow>> {
    let image = |(key, row): (Vec<u8>, ImageV1)| {
        let id = key.try_into().map_err(|_| corrupt("image row"))?;
        to_image(Digest::from_bytes(id), row)
    };
    IMAGES.scan(rows, [])?.into_iter().map(image).collect()
}

/// Removes an image's row.
pub fn delete_image(txn: &mut Txn<'_>, id: &Digest) {
    IMAGES.delete(txn, id.as_bytes());
}

/// Points a name at an image.
pub fn put_tag(txn: &mut Txn<'_>, name: &ImageRef, id: &Digest) -> Result<()> {
    // A row under another spelling of the name, as earlier versions wrote them, must not come back.
    delete_tag(txn, name)?;
    Ok(TAGS.put(txn, name.as_str(), &TagV1(*id.as_bytes()))?)
}

/// The image a name points at.
pub fn tag(rows: &dyn Rows, name: &ImageRef) -> Result<Option<Digest>> {
    if let Some(TagV1(id)) = TAGS.get(rows, name.as_str())? {
        return Ok(Some(Digest::from_bytes(id)));
    }
    let old = tags(rows)?.into_iter().find(|(old, _)| old == name);
    Ok(old.map(|(_, id)| id))
}

/// Name and image of a row.
fn to_tag(key: Vec<u8>, TagV1(id): TagV1) -> Result<(String, Digest)> {
    let key = String::from_utf8(key).map_err(|_| corrupt("tag row"))?;
    Ok((key, Digest::from_bytes(id)))
}

/// All names, in order, each once.
pub fn tags(rows: &dyn Rows) -> Result<Vec<(ImageRef, Digest)>> {
    // Earlier versions stored names as they were given, so that several rows can be of one name: the full
    // form counts before the short one, and that before any other.
    let mut found: BTreeMap<ImageRef, (u8, Digest)> = BTreeMap::new();
    for (key, row) in TAGS.scan(rows, [])? {
        let (key, id) = to_tag(key, row)?;
        let name = ImageRef::stored(&key);
        let rank = match () {
            () if key == name.as_str() => 0,
            () if key == name.to_string() => 1,
            () => 2,
        };
        if found.get(&name).is_none_or(|(other, _)| rank < *other) {
            found.insert(name, (rank, id));
        }
    }
    Ok(found
        .into_iter()
        .map(|(name, (_, id))| (name, id))
        .collect())
}

/// Removes a name, however it is spelt in its row.
pub fn delete_tag(txn: &mut Txn<'_>, name: &ImageRef) -> Result<()> {
    for (key, row) in TAGS.scan(txn, [])? {
        let (key, _) = to_tag(key, row)?;
        if ImageRef::stored(&key) == *name {
            TAGS.delete(txn, key.as_str());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, Options, Repo};

    /// Rows as an earlier version wrote them: every name as it was given, and names that are none today.
    #[test]
    fn names_that_an_earlier_version_stored_are_found_shown_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let repo = Repo::open_or_create(&directory.path().join("r"), Options::default()).unwrap();
        let id = |n: u8| Digest::from_bytes([n; 32]);
        let hex = id(9).hex();
        let put = |txn: &mut Txn<'_>| -> Result<()> {
            for n in 1..=5 {
                let config = StreamRef {
                    id: cairn_model::BlobId::from_bytes([n; 32]),
                    list: false,
                    len: 0,
                };
                let (id, top, imported) = (id(n), None, 0);
                put_image(
                    txn,
                    &ImageRow {
                        id,
                        config,
                        top,
                        imported,
                    },
                )?;
            }
            for (key, n) in [
                ("py:latest", 1),
                ("docker.io/example/app:1", 2),
                ("example/app:1", 3),
                ("library/old:1", 2),
                ("Upper/x:latest", 4),
                ("a:b:c", 4),
                (&format!("sha256:{hex}"), 5),
                (&format!("{hex}:latest"), 5),
            ] {
                TAGS.put(txn, key, &TagV1([n; 32]))?;
            }
            Ok(())
        };
        repo.store().db().write::<_, Error>(put).unwrap();
        let find = |reference: &str| {
            let row = repo
                .store()
                .db()
                .read(|rows| crate::images::resolve(rows, reference));
            row.map(|(row, _)| row.id.as_bytes()[0]).ok()
        };
        for (reference, expected) in [
            ("py", Some(1)),
            ("docker.io/library/py:latest", Some(1)),
            // The full form counts before the short one.
            ("example/app:1", Some(2)),
            ("docker.io/example/app:1", Some(2)),
            ("old:1", Some(2)),
            ("Upper/x", Some(4)),
            ("Upper/x:latest", Some(4)),
            ("a:b:c", Some(4)),
            // No id is ever looked up as a name; the name with its tag is none.
            (&hex, None),
            (&format!("sha256:{hex}"), None),
            (&format!("{hex}:latest"), Some(5)),
            (&hex[..12], None),
        ] {
            assert_eq!(find(reference), expected, "{reference}");
        }
        let names = || {
            let tags = repo.store().db().read(|rows| tags(rows)).unwrap();
            let mut names: Vec<String> = tags.iter().map(|(name, _)| name.to_string()).collect();
            names.sort();
            names
        };
        let mut all = vec![
            "Upper/x:latest".to_owned(),
            "a:b:c".to_owned(),
            "example/app:1".to_owned(),
            "old:1".to_owned(),
            "py:latest".to_owned(),
            format!("sha256:{hex}"),
            format!("{hex}:latest"),
        ];
        all.sort();
        assert_eq!(names(), all);
        // A name that is given anew has one row; what is removed does not come back in another spelling.
        repo.images()
            .tag("py", &"example/app:1".parse().unwrap())
            .unwrap();
        assert_eq!(find("example/app:1"), Some(1));
        repo.images().remove("docker.io/example/app:1").unwrap();
        assert_eq!(find("example/app:1"), None);
        repo.images().remove("a:b:c").unwrap();
        repo.images().remove("Upper/x").unwrap();
        repo.images().remove(&id(5).hex()).unwrap();
        assert_eq!(names(), ["old:1", "py:latest"]);
    }
}
