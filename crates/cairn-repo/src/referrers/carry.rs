//! What is kept beside an image goes along where the image goes out with the very manifest that it came with.
//!
//! A signature is over the digest of a manifest, and so is every reference. Where layers are compressed anew they are
//! other blobs, and the manifest is another: nothing that was said of the one may be attached to the other.

use std::collections::BTreeMap;

use cairn_image::{ImageWriter, Original, OriginalIndex, sha256};
use cairn_model::{Digest, one_line};
use cairn_registry::Client;
use serde::Serialize;
use serde_json::Value;

use super::Referrer;
use super::fetch::Fetched;
use super::list::{Kept, MANIFEST};
use crate::chunks;
use crate::error::Result;
use crate::forms::Form;
use crate::images::Image;
use crate::repo::Repo;

/// What became of what is kept beside an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Carried {
    /// Went along.
    pub carried: usize,
    /// Stayed here.
    pub left: usize,
    /// Why some stayed.
    pub why: Option<&'static str>,
}

const OTHER_MANIFEST: &str =
    "its layers were compressed anew, so its manifest is not the one that they refer to";
const NO_INDEX: &str = "the index that led to it names images which are not here, so that it stays, and what refers to it";
const TAKEN: &str = "there is something else under the tags by which they are found";

/// What is kept beside an image, with the documents of the image itself.
pub(crate) struct Beside<'a> {
    repo: &'a Repo,
    kept: Kept,
    documents: BTreeMap<Digest, Vec<u8>>,
    /// Manifest and index as they came.
    pub original: Original,
}

impl Repo {
    /// What is kept beside an image, if anything is that can be read.
    pub(crate) fn beside(&self, image: &Image) -> Result<Option<Beside<'_>>> {
        let Fetched { kept, documents } = match self.all_kept(&image.row.id) {
            Err(e) if e.is_corruption() => {
                let what = format!("what refers to image {}", image.row.id);
                self.watch().passed_over(&what, &one_line(&e));
                return Ok(None);
            }
            Ok(None) => return Ok(None),
            Ok(Some(all)) => all,
            Err(e) => return Err(e),
        };
        // Both are among the documents.
        let read = |digest| documents.get(digest).cloned().unwrap_or_default();
        let manifest = read(&kept.manifest.digest);
        let index = kept.index.as_ref().and_then(|index| {
            let bytes = read(&index.digest);
            is_whole(&kept, &bytes).then(|| OriginalIndex {
                media_type: index.media_type.clone(),
                bytes,
            })
        });
        let original = Original {
            layers: layers(&manifest),
            bytes: manifest,
            media_type: kept.manifest.media_type.clone(),
            index,
        };
        Ok(Some(Beside {
            repo: self,
            kept,
            documents,
            original,
        }))
    }
}

/// True for an index of which all is here.
fn is_whole(kept: &Kept, index: &[u8]) -> bool {
    let index: Value = serde_json::from_slice(index).unwrap_or_default();
    let here = |item: &Value| {
        let digest = item["digest"].as_str().and_then(|text| text.parse().ok());
        digest.is_some_and(|digest: Digest| {
            digest == kept.manifest.digest || kept.referrers.iter().any(|of| of.digest == digest)
        })
    };
    index["manifests"]
        .as_array()
        .is_some_and(|all| all.iter().all(here))
}

fn layers(manifest: &[u8]) -> Vec<Digest> {
    let manifest: Value = serde_json::from_slice(manifest).unwrap_or_default();
    let layers = manifest["layers"].as_array().into_iter().flatten();
    layers
        .filter_map(|layer| layer["digest"].as_str()?.parse().ok())
        .collect()
}

impl Beside<'_> {
    /// True where these blobs are those of the manifest that the image came with.
    pub fn has_layers(&self, blobs: &[&Form]) -> bool {
        let given = blobs.iter().map(|form| &form.digest);
        self.original.layers.iter().eq(given)
    }

    /// What goes along with the manifest and, where that is whole, the index.
    pub fn going(&self) -> (Vec<&Referrer>, Carried) {
        let mut subjects = vec![self.kept.manifest.digest];
        if self.original.index.is_some() {
            subjects.extend(self.kept.index.as_ref().map(|index| index.digest));
        }
        let mut going = Vec::new();
        for of in &self.kept.referrers {
            let goes = match &of.subject {
                Some(subject) => subjects.contains(subject),
                None => self.original.index.is_some(),
            };
            if goes {
                subjects.push(of.digest);
                going.push(of);
            }
        }
        let index_stays = self.kept.index.is_some() && self.original.index.is_none();
        let carried = Carried {
            carried: going.len(),
            left: self.kept.referrers.len() - going.len(),
            why: index_stays.then_some(NO_INDEX),
        };
        (going, carried)
    }

    /// Nothing goes along.
    pub fn staying(&self) -> Carried {
        let left = self.kept.referrers.len();
        Carried {
            carried: 0,
            left,
            why: (left > 0).then_some(OTHER_MANIFEST),
        }
    }

    /// The documents of something: its manifest first.
    fn documents<'b>(&'b self, of: &'b Referrer) -> impl Iterator<Item = &'b [u8]> {
        let found = of.documents.iter().map(|digest| self.documents.get(digest));
        found.map(|bytes| bytes.map_or(&[][..], Vec::as_slice))
    }

    /// What a tag leads to: the index, or else the manifest; with what it is.
    pub fn top(&self) -> (&str, &[u8]) {
        match &self.original.index {
            Some(index) => (&index.media_type, &index.bytes),
            None => (&self.original.media_type, &self.original.bytes),
        }
    }

    /// Brings all but the tag; what went along.
    pub fn bring_all(&self, client: &Client) -> Result<Carried> {
        let (going, mut carried) = self.going();
        for of in going.iter().filter(|of| of.subject.is_none()) {
            let manifest = self.bring(client, of)?;
            client.put_manifest(&of.digest.to_string(), MANIFEST, manifest)?;
        }
        // What refers to something comes after it.
        let original = &self.original;
        let own = self.kept.manifest.digest.to_string();
        client.put_manifest(&own, &original.media_type, &original.bytes)?;
        if let Some(index) = &original.index {
            let digest = sha256(&index.bytes).to_string();
            client.put_manifest(&digest, &index.media_type, &index.bytes)?;
        }
        for of in &going {
            let Some(subject) = &of.subject else { continue };
            match &of.tag {
                None => {
                    let manifest = self.bring(client, of)?;
                    client.attach(manifest, &of.artifact_type, subject, false)?;
                }
                Some(tag) if self.is_free(client, tag, of)? => {
                    let manifest = self.bring(client, of)?;
                    client.put_manifest(tag, MANIFEST, manifest)?;
                }
                Some(_) => {
                    carried.carried -= 1;
                    carried.left += 1;
                    carried.why = Some(TAKEN);
                }
            }
        }
        Ok(carried)
    }

    /// True where nothing is under a tag, or nothing that would be lost: what somebody else attached there stays.
    fn is_free(&self, client: &Client, tag: &str, of: &Referrer) -> Result<bool> {
        let Some(there) = client.tagged_artifact(tag)? else {
            return Ok(true);
        };
        let own = layers(self.documents(of).next().unwrap_or_default());
        let mut there = there.layers.iter();
        Ok(there.all(|layer| own.contains(&layer.blob.digest)))
    }

    /// Writes it all into the layout that has the manifest; what went along.
    pub fn write(&self, writer: &mut ImageWriter) -> Result<Carried> {
        let (going, carried) = self.going();
        for of in going {
            let mut documents = self.documents(of);
            let manifest = documents.next().unwrap_or_default();
            let blobs: Vec<&[u8]> = documents.collect();
            let listed = (of.subject).map(|_| (of.artifact_type.as_str(), of.tag.as_deref()));
            writer.oci_referrer(&blobs, (manifest, MANIFEST), listed)?;
        }
        Ok(carried)
    }

    /// Brings the blobs of something; its manifest.
    fn bring<'b>(&'b self, client: &Client, of: &'b Referrer) -> Result<&'b [u8]> {
        let mut documents = self.documents(of);
        let manifest = documents.next().unwrap_or_default();
        for blob in documents {
            chunks::put(self.repo, client, blob)?;
        }
        Ok(manifest)
    }
}
