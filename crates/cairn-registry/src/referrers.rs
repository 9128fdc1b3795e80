//! What refers to an image: signatures, descriptions, and whatever else belongs to it and is none.
//!
//! A registry that keeps track of them answers `referrers/DIGEST`. With any other one they are listed in an index
//! under the tag `sha256-HEX`, which whoever attaches something keeps (distribution specification 1.1, "Referrers
//! Tag Schema").

use std::collections::BTreeMap;

use cairn_image::RemoteBlob;
use cairn_model::{Class, Digest};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::client::Client;
use crate::error::{Failure, Result};
use crate::http::Question;

/// What an OCI image manifest is called; artifacts are manifests too.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The configuration of what has none: `{}`.
pub const EMPTY_CONFIG: &[u8] = b"{}";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Longest list of referrers, and longest manifest of one.
const DOCUMENT_BYTES_MAX: u64 = 1 << 20;

/// Something that refers to a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// Digest of its manifest.
    pub digest: Digest,
    /// What it is.
    pub artifact_type: String,
}

/// The manifest of something that is no image.
#[derive(Debug)]
pub struct Artifact {
    /// Its blobs.
    pub layers: Vec<ArtifactLayer>,
    /// The manifest as it came.
    pub bytes: Vec<u8>,
}

/// A blob of an artifact.
#[derive(Debug)]
pub struct ArtifactLayer {
    /// The blob.
    pub blob: RemoteBlob,
    /// What its manifest says of it.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default, deserialize_with = "or_default")]
    manifests: Vec<Value>,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default, deserialize_with = "or_default")]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: String,
    size: u64,
    #[serde(default, deserialize_with = "or_default")]
    media_type: String,
    #[serde(default, deserialize_with = "or_default")]
    annotations: BTreeMap<String, String>,
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    d: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(d).map(Option::unwrap_or_default)
}

/// The tag under which the referrers of a manifest are listed.
fn fallback_tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

impl Client {
    /// What refers to a manifest, as far as the registry says, in one attempt each way.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Referrer>> {
        let listed = self.listed(subject).map_err(|failure| {
            failure.of(
                &format!("the list of what refers to {subject}"),
                &self.name(),
            )
        })?;
        Ok(listed.iter().filter_map(referrer).collect())
    }

    /// The same, tried again as everything is that is needed.
    pub fn referrers_for_certain(&self, subject: &Digest) -> Result<Vec<Referrer>> {
        let object = format!("the list of what refers to {subject}");
        let listed = self.insist(&object, || self.listed(subject))?;
        Ok(listed.iter().filter_map(referrer).collect())
    }

    fn listed(&self, subject: &Digest) -> Result<Vec<Value>, Failure> {
        match self.by_api(subject)? {
            Some(listed) => Ok(listed),
            None => self.by_tag(subject),
        }
    }

    /// What the registry itself lists; none where it keeps no lists.
    fn by_api(&self, subject: &Digest) -> Result<Option<Vec<Value>>, Failure> {
        let address = self.address(&format!("referrers/{subject}"))?;
        let mut answer = match self.get(address, &mut Question::get) {
            Err(e) if e.class == Class::Unavailable || e.class == Class::Cancelled => {
                return Err(e);
            }
            // Registries say in many ways that they do not know this.
            Err(_) => return Ok(None),
            Ok(answer) => answer,
        };
        let is_index = answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with(INDEX));
        match is_index {
            true => parse(&answer.read(DOCUMENT_BYTES_MAX)?).map(Some),
            false => Ok(None),
        }
    }

    /// What was listed under the tag for it.
    fn by_tag(&self, subject: &Digest) -> Result<Vec<Value>, Failure> {
        match self.try_manifest(&fallback_tag(subject), None) {
            Err(e) if e.class == Class::NotFound => Ok(Vec::new()),
            Err(e) => Err(e),
            Ok(index) => parse(&index.bytes),
        }
    }

    /// The manifest of an artifact, in one attempt.
    pub fn artifact(&self, digest: &Digest) -> Result<Artifact> {
        self.try_artifact(&digest.to_string(), Some(*digest))
            .map_err(|failure| failure.of(&format!("manifest {digest}"), &self.name()))
    }

    /// The same, tried again as everything is that is needed.
    pub fn artifact_for_certain(&self, digest: &Digest) -> Result<Artifact> {
        self.insist(&format!("manifest {digest}"), || {
            self.try_artifact(&digest.to_string(), Some(*digest))
        })
    }

    /// The manifest of an artifact that has a tag, and its digest; none where there is no such tag.
    pub fn tagged_artifact(&self, tag: &str) -> Result<Option<Artifact>> {
        self.unless_missing(&format!("manifest {tag}"), || self.try_artifact(tag, None))
    }

    fn try_artifact(&self, reference: &str, expected: Option<Digest>) -> Result<Artifact, Failure> {
        let manifest = self.try_manifest(reference, expected)?;
        if manifest.bytes.len() as u64 > DOCUMENT_BYTES_MAX {
            return Err(Failure::wrong(format!(
                "it has more than the {DOCUMENT_BYTES_MAX} bytes that are allowed"
            )));
        }
        let parsed: Manifest = serde_json::from_slice(&manifest.bytes)
            .map_err(|e| Failure::wrong(format!("it is no manifest: {e}")))?;
        let layers = parsed.layers.into_iter().map(layer);
        Ok(Artifact {
            layers: layers.collect::<Result<_, _>>()?,
            bytes: manifest.bytes,
        })
    }

    /// Puts the manifest of an artifact that refers to `subject`, all blobs of which are there, and sees to it that
    /// it is listed. Others of its type are not listed any more if it is to `replace` them.
    pub fn attach(
        &self,
        manifest: &[u8],
        artifact_type: &str,
        subject: &Digest,
        replace: bool,
    ) -> Result<Digest> {
        let digest = cairn_image::sha256(manifest);
        self.put_manifest(&digest.to_string(), OCI_MANIFEST, manifest)?;
        let object = format!("the list of what refers to {subject}");
        let listed = self.insist(&object, || match self.by_api(subject)? {
            Some(_) => Ok(None),
            None => self.by_tag(subject).map(Some),
        })?;
        let Some(mut listed) = listed else {
            return Ok(digest);
        };
        listed.retain(|item| {
            referrer(item).is_none_or(|known| {
                known.digest != digest && !(replace && known.artifact_type == artifact_type)
            })
        });
        listed.push(json!({
            "mediaType": OCI_MANIFEST,
            "digest": digest.to_string(),
            "size": manifest.len(),
            "artifactType": artifact_type,
        }));
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed});
        self.put_manifest(&fallback_tag(subject), INDEX, index.to_string().as_bytes())?;
        Ok(digest)
    }
}

fn layer(layer: Descriptor) -> Result<ArtifactLayer, Failure> {
    Ok(ArtifactLayer {
        blob: RemoteBlob {
            digest: layer.digest.parse().map_err(Failure::wrong)?,
            bytes: layer.size,
            media_type: layer.media_type,
        },
        annotations: layer.annotations,
    })
}

fn parse(bytes: &[u8]) -> Result<Vec<Value>, Failure> {
    let wrong = |why: String| Failure::wrong(format!("the list of referrers is wrong: {why}"));
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(wrong(format!(
            "it has more than {DOCUMENT_BYTES_MAX} bytes"
        )));
    }
    // A list would do for an index, too, as far as serde goes.
    let fields: serde_json::Map<_, _> =
        serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
    let index: Index = serde_json::from_value(fields.into()).map_err(|e| wrong(e.to_string()))?;
    Ok(index.manifests)
}

fn referrer(item: &Value) -> Option<Referrer> {
    Some(Referrer {
        digest: item["digest"].as_str()?.parse().ok()?,
        artifact_type: item["artifactType"].as_str().unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_referrers_are_bounded_and_what_is_none_in_them_is_passed_over() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let list = format!(
            r#"{{"manifests":[{{"digest":"{digest}","artifactType":"a/b"}},{{"digest":"x"}},7,null]}}"#
        );
        let listed = parse(list.as_bytes()).unwrap();
        let found: Vec<Referrer> = listed.iter().filter_map(referrer).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].artifact_type, "a/b");
        assert!(parse(br#"{"manifests":null}"#).unwrap().is_empty());
        assert!(parse(b"[]").is_err());
        assert!(parse(&vec![b' '; DOCUMENT_BYTES_MAX as usize + 1]).is_err());
    }
}
