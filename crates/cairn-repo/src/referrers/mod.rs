//! What a registry has beside an image, kept on request: the manifest and index as they came, and what refers to
//! them (signatures, descriptions, attestations).
//!
//! It lies beside the packs, in `referrers/IMAGE/`: a file for each document, named by its digest, and `list.json`. The
//! image needs none of it: what is lost or damaged here is pulled again.

mod carry;
mod directory;
mod fetch;
mod list;

use cairn_model::Digest;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::images::{Image, Images};
use crate::report;

pub(crate) use carry::Beside;
pub use carry::Carried;
pub(crate) use directory::{check, stray_bytes, sweep};
pub(crate) use fetch::fetch;

/// Something that refers to an image, or stands beside it in its index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Referrer {
    /// Digest of its manifest.
    #[serde(serialize_with = "report::text")]
    pub digest: Digest,
    /// What it is.
    pub artifact_type: String,
    /// The manifest or index that it refers to; none for what stands in the index.
    #[serde(serialize_with = "subject")]
    pub subject: Option<Digest>,
    /// The tag by which it is found, where that is how it refers to the image.
    pub tag: Option<String>,
    /// Its documents: manifest, configuration, and what they describe, each by its digest.
    #[serde(serialize_with = "report::texts")]
    pub documents: Vec<Digest>,
    /// Their bytes together.
    pub bytes: u64,
}

impl Images<'_> {
    /// What is kept of what refers to an image.
    pub fn referrers(&self, image: &Image) -> Result<Vec<Referrer>> {
        let kept = self.repo.kept_referrers(&image.row.id)?;
        Ok(kept.map_or_else(Vec::new, |kept| kept.referrers))
    }

    /// A document that is kept beside an image.
    pub fn document(&self, image: &Image, digest: &Digest) -> Result<Vec<u8>> {
        let id = &image.row.id;
        let kept = self.repo.kept_referrers(id)?;
        if kept.is_none_or(|kept| kept.documents().all(|known| known != *digest)) {
            return Err(Error::Invalid(format!(
                "{digest} is no document that is kept beside image {id}; \"cairn inspect\" lists them as \"referrers\""
            )));
        }
        self.repo.kept_document(id, digest)
    }
}

fn subject<S: serde::Serializer>(subject: &Option<Digest>, to: S) -> Result<S::Ok, S::Error> {
    subject.as_ref().map(ToString::to_string).serialize(to)
}
