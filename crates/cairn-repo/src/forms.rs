//! Which blobs of registries a layer came in as or went out as, so that it is pushed as one that a registry has.
//!
//! Known by the layer's diff id, and only where all of the blob was read or written here: what a manifest merely
//! claims of a layer that was present already is not believed. A row can be lost; a layer is compressed again then.

use cairn_image::Compression;
use cairn_model::Digest;
use cairn_store::codec::Stored;
use cairn_store::kinds;
use cairn_store::{Rows, Table, Txn};
use serde::{Deserialize, Serialize};

use crate::error::Result;

const FORMS_MAX: usize = 6;
/// Longest name of a repository that is kept.
const FROM_BYTES_MAX: usize = 300;

#[derive(Serialize, Deserialize)]
struct FormV1 {
    digest: [u8; 32],
    bytes: u64,
    /// 0 for none, 1 for gzip, 2 for zstd.
    compression: u8,
    from: String,
}

#[derive(Serialize, Deserialize)]
struct FormsV1(Vec<FormV1>);

impl Stored for FormsV1 {
    const KIND: kinds::Kind = kinds::FORM;
}

const FORMS: Table<FormsV1> = Table::new();

/// A blob that a layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Form {
    pub digest: Digest,
    pub bytes: u64,
    pub compression: Compression,
    /// Registry and repository that have it, or had it once.
    pub from: String,
}

/// The known forms of a layer, the latest first.
pub(crate) fn forms(rows: &dyn Rows, diff_id: &Digest) -> Result<Vec<Form>> {
    let found = FORMS.get(rows, diff_id.as_bytes())?;
    let form = |form: FormV1| {
        Some(Form {
            digest: Digest::from_bytes(form.digest),
            bytes: form.bytes,
            compression: match form.compression {
                0 => Compression::None,
                1 => Compression::Gzip,
                2 => Compression::Zstd,
                _ => return None,
            },
            from: form.from,
        })
    };
    Ok(found
        .into_iter()
        .flat_map(|forms| forms.0)
        .filter_map(form)
        .collect())
}

/// Notes a form of a layer.
pub(crate) fn remember(txn: &mut Txn<'_>, diff_id: &Digest, form: &Form) -> Result<()> {
    if form.from.len() > FROM_BYTES_MAX {
        return Ok(());
    }
    let mut all = forms(txn, diff_id)?;
    all.retain(|known| (known.digest, &known.from) != (form.digest, &form.from));
    all.insert(0, form.clone());
    all.truncate(FORMS_MAX);
    let row = |form: Form| FormV1 {
        digest: *form.digest.as_bytes(),
        bytes: form.bytes,
        compression: match form.compression {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Zstd => 2,
        },
        from: form.from,
    };
    let rows = FormsV1(all.into_iter().map(row).collect());
    Ok(FORMS.put(txn, diff_id.as_bytes(), &rows)?)
}

/// Forgets the forms of a layer that goes.
pub(crate) fn forget(txn: &mut Txn<'_>, diff_id: &Digest) {
    FORMS.delete(txn, diff_id.as_bytes());
}
