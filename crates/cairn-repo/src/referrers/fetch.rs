//! What a registry has beside an image.

use std::collections::{BTreeMap, HashSet, VecDeque};

use cairn_image::RemoteBlob;
use cairn_model::Digest;
use cairn_registry::Client;
use serde::Deserialize;
use serde_json::Value;

use super::Referrer;
use super::list::{Document, Kept};
use crate::chunks;
use crate::error::Result;
use crate::repo::Repo;

/// Manifests that are kept of an image, beside its own.
const REFERRERS_MAX: usize = 64;
/// How far away what refers to what refers to the image may be.
const DEPTH_MAX: usize = 3;
/// Longest document, and bytes of all of them.
pub(super) const BYTES_MAX: u64 = 32 << 20;
const TOTAL_BYTES_MAX: u64 = 128 << 20;
/// Tags by which cosign finds what belongs to a manifest.
const SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];
/// What buildkit writes into an index beside an image.
const ATTESTATION: &str = "application/vnd.docker.attestation.manifest.v1+json";

/// What is to be kept, and the documents.
pub(crate) struct Fetched {
    pub kept: Kept,
    pub documents: BTreeMap<Digest, Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: String,
    size: u64,
    #[serde(default)]
    media_type: String,
}

/// How something was found.
struct Listed {
    subject: Option<Digest>,
    tag: Option<String>,
    artifact_type: String,
}

struct Fetching<'a> {
    repo: &'a Repo,
    client: &'a Client,
    documents: BTreeMap<Digest, Vec<u8>>,
    bytes: u64,
    found: Vec<Referrer>,
    seen: HashSet<Digest>,
}

/// Fetches the manifest `image`, the index `top` that led to it if there is one, and what refers to both. What is too
/// large or too much is passed over, and the watch is told.
pub(crate) fn fetch(repo: &Repo, client: &Client, top: &Digest, image: &Digest) -> Result<Fetched> {
    let mut fetching = Fetching {
        repo,
        client,
        documents: BTreeMap::new(),
        bytes: 0,
        found: Vec::new(),
        seen: HashSet::from([*top, *image]),
    };
    let manifest = fetching.own(image)?;
    let mut todo = VecDeque::from([(*image, 0)]);
    let mut index = None;
    if top != image {
        index = Some(fetching.own(top)?);
        fetching.beside(top, image)?;
        todo.push_back((*top, 0));
    }
    while let Some((subject, depth)) = todo.pop_front() {
        let before = fetching.found.len();
        fetching.referring(&subject)?;
        if depth < DEPTH_MAX {
            let new = &fetching.found[before..];
            todo.extend(new.iter().map(|of| (of.digest, depth + 1)));
        }
    }
    Ok(Fetched {
        kept: Kept {
            manifest,
            index,
            referrers: fetching.found,
        },
        documents: fetching.documents,
    })
}

impl Fetching<'_> {
    /// The manifest or index itself.
    fn own(&mut self, digest: &Digest) -> Result<Document> {
        let bytes = self.client.artifact(digest)?.bytes;
        let document = Document::of(*digest, &bytes);
        self.bytes += bytes.len() as u64;
        self.documents.insert(*digest, bytes);
        Ok(document)
    }

    /// What the index has beside the image.
    fn beside(&mut self, index: &Digest, image: &Digest) -> Result<()> {
        let bytes = self.documents.get(index).map_or(&[][..], Vec::as_slice);
        let index: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let image = image.to_string();
        for item in index["manifests"].as_array().into_iter().flatten() {
            let digest = item["digest"].as_str().and_then(|text| text.parse().ok());
            if let Some(digest) = digest
                && item["annotations"]["vnd.docker.reference.digest"] == image
            {
                self.take(
                    digest,
                    Listed {
                        subject: None,
                        tag: None,
                        artifact_type: ATTESTATION.to_owned(),
                    },
                )?;
            }
        }
        Ok(())
    }

    /// What refers to a manifest or index, by either way.
    fn referring(&mut self, subject: &Digest) -> Result<()> {
        for referrer in self.client.referrers(subject)? {
            // Chunks belong to what the registry has of the layers, which is not kept.
            if referrer.artifact_type != chunks::ARTIFACT {
                self.take(
                    referrer.digest,
                    Listed {
                        subject: Some(*subject),
                        tag: None,
                        artifact_type: referrer.artifact_type,
                    },
                )?;
            }
        }
        for suffix in SUFFIXES {
            let tag = format!("sha256-{}.{suffix}", subject.hex());
            if let Some(artifact) = self.client.tagged_artifact(&tag)? {
                self.take(
                    cairn_image::sha256(&artifact.bytes),
                    Listed {
                        subject: Some(*subject),
                        tag: Some(tag),
                        artifact_type: String::new(),
                    },
                )?;
            }
        }
        Ok(())
    }

    /// Fetches something with all that it consists of.
    fn take(&mut self, digest: Digest, listed: Listed) -> Result<()> {
        if !self.seen.insert(digest) {
            return Ok(());
        }
        let left_out = |why: &str| {
            let what = format!("{digest}, which refers to the image");
            self.repo.watch().passed_over(&what, why);
            Ok(())
        };
        if self.found.len() == REFERRERS_MAX {
            return left_out(&format!("more than {REFERRERS_MAX} do"));
        }
        let bytes = self.client.artifact(&digest)?.bytes;
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) else {
            return left_out("it is no manifest");
        };
        let Some(layers) = manifest.layers else {
            return left_out("it is no manifest of blobs");
        };
        let parts: Option<Vec<RemoteBlob>> =
            manifest.config.iter().chain(&layers).map(blob).collect();
        let Some(parts) = parts else {
            return left_out("its manifest names no digests");
        };
        let total = parts.iter().fold(bytes.len() as u64, |sum, part| {
            sum.saturating_add(part.bytes)
        });
        if parts.iter().any(|part| part.bytes > BYTES_MAX) || self.bytes + total > TOTAL_BYTES_MAX {
            return left_out(&format!(
                "it has {total} bytes; a document may have {BYTES_MAX}, all together {TOTAL_BYTES_MAX}"
            ));
        }
        let mut documents = vec![digest];
        for part in parts {
            if !documents.contains(&part.digest) {
                documents.push(part.digest);
            }
            if !self.documents.contains_key(&part.digest) {
                let content = self.client.document_within(&part, BYTES_MAX)?;
                self.documents.insert(part.digest, content);
            }
        }
        self.bytes += total;
        self.documents.insert(digest, bytes);
        let of_config = || manifest.config.map(|config| config.media_type);
        self.found.push(Referrer {
            digest,
            artifact_type: [Some(listed.artifact_type), manifest.artifact_type]
                .into_iter()
                .flatten()
                .find(|kind| !kind.is_empty())
                .or_else(of_config)
                .unwrap_or_default(),
            subject: listed.subject,
            tag: listed.tag,
            documents,
            bytes: total,
        });
        Ok(())
    }
}

fn blob(of: &Descriptor) -> Option<RemoteBlob> {
    Some(RemoteBlob {
        digest: of.digest.parse().ok()?,
        bytes: of.size,
        media_type: of.media_type.clone(),
    })
}
