//! What a registry has beside an image.

use std::collections::{BTreeMap, HashSet, VecDeque};

use cairn_image::RemoteBlob;
use cairn_model::{Class, Digest, one_line};
use cairn_registry::Client;
use serde::Deserialize;
use serde_json::Value;

use super::Referrer;
use super::list::{Document, Kept, MANIFEST};
use crate::chunks;
use crate::error::Result;
use crate::repo::Repo;

/// Manifests that are looked at for an image, beside its own.
pub(super) const REFERRERS_MAX: usize = 64;
/// How far away what refers to what refers to the image may be.
const DEPTH_MAX: usize = 3;
/// Documents of one manifest.
const DOCUMENTS_MAX: usize = 256;
/// Longest document, and bytes of all of them.
pub(super) const BYTES_MAX: u64 = 32 << 20;
const TOTAL_BYTES_MAX: u64 = 128 << 20;
/// Longest name of a type: those of media types have at most 127 bytes on each side (RFC 6838, section 4.2).
const TYPE_BYTES_MAX: usize = 255;
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
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Value>,
    subject: Option<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: String,
    size: u64,
    media_type: Option<String>,
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
    is_full: bool,
}

/// Fetches the manifest `image`, the index `top` that led to it if there is one, and what refers to both. What cannot be
/// had, is too large or too much is passed over, and the watch is told.
pub(crate) fn fetch(repo: &Repo, client: &Client, top: &Digest, image: &Digest) -> Result<Fetched> {
    let mut fetching = Fetching {
        repo,
        client,
        documents: BTreeMap::new(),
        bytes: 0,
        found: Vec::new(),
        seen: HashSet::from([*top, *image]),
        is_full: false,
    };
    let manifest = fetching.own(image)?;
    let mut todo = VecDeque::from([(*image, 0)]);
    let mut index = None;
    if top != image {
        index = Some(fetching.own(top)?);
        todo.push_back((*top, 0));
        fetching.beside(top, image)?;
        todo.extend(fetching.found.iter().map(|of| (of.digest, 1)));
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
        let bytes = self.client.artifact_for_certain(digest)?.bytes;
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
                let listed = Listed {
                    subject: None,
                    tag: None,
                    artifact_type: ATTESTATION.to_owned(),
                };
                self.take(digest, listed)?;
            }
        }
        Ok(())
    }

    /// What refers to a manifest or index, by either way.
    fn referring(&mut self, subject: &Digest) -> Result<()> {
        let listed = self.client.referrers_for_certain(subject);
        for referrer in self.unless_refused(subject, listed)?.into_iter().flatten() {
            // Chunks belong to what the registry has of the layers, which is not kept.
            if referrer.artifact_type != chunks::ARTIFACT {
                let listed = Listed {
                    subject: Some(*subject),
                    tag: None,
                    artifact_type: referrer.artifact_type,
                };
                self.take(referrer.digest, listed)?;
            }
        }
        for suffix in SUFFIXES {
            let tag = format!("sha256-{}.{suffix}", subject.hex());
            let found = self.client.tagged_artifact(&tag);
            if let Some(artifact) = self.unless_refused(subject, found)?.flatten() {
                let listed = Listed {
                    subject: Some(*subject),
                    tag: Some(tag),
                    artifact_type: String::new(),
                };
                self.take(cairn_image::sha256(&artifact.bytes), listed)?;
            }
        }
        Ok(())
    }

    /// An answer. A registry that cannot be reached, and somebody who ends the work, end it; anything else that is
    /// wrong with what belongs to an image is no reason to go without the image.
    fn unless_refused<T>(
        &self,
        digest: &Digest,
        answer: cairn_registry::Result<T>,
    ) -> Result<Option<T>> {
        match answer {
            Err(e) if matches!(e.class(), Class::Cancelled | Class::Unavailable) => Err(e.into()),
            Err(e) => {
                self.left_out(digest, &one_line(&e));
                Ok(None)
            }
            Ok(found) => Ok(Some(found)),
        }
    }

    fn left_out(&self, digest: &Digest, why: &str) {
        let what = format!("{digest}, which belongs to what refers to the image");
        self.repo.watch().passed_over(&what, why);
    }

    /// Fetches something with all that it consists of.
    fn take(&mut self, digest: Digest, listed: Listed) -> Result<()> {
        if self.is_full || !self.seen.insert(digest) {
            return Ok(());
        }
        // The image's own are among them.
        if self.seen.len() > REFERRERS_MAX + 2 {
            self.is_full = true;
            self.left_out(
                &digest,
                &format!("more than {REFERRERS_MAX} do, the rest is not looked at"),
            );
            return Ok(());
        }
        let answer = self.client.artifact_for_certain(&digest);
        let Some(artifact) = self.unless_refused(&digest, answer)? else {
            return Ok(());
        };
        match self.judged(&artifact.bytes, &listed) {
            Err(why) => self.left_out(&digest, &why),
            Ok((artifact_type, parts)) => {
                let manifest = (digest, artifact.bytes);
                self.add(manifest, listed, artifact_type, &parts)?;
            }
        }
        Ok(())
    }

    /// Type and blobs of what may be kept; else why it may not.
    fn judged(&self, bytes: &[u8], listed: &Listed) -> Result<(String, Vec<RemoteBlob>), String> {
        let manifest: Manifest =
            serde_json::from_slice(bytes).map_err(|e| format!("it is no manifest: {e}"))?;
        let kind = manifest.media_type.as_deref().unwrap_or(MANIFEST);
        let layers = match manifest.layers {
            Some(layers) if kind == MANIFEST && manifest.manifests.is_none() => layers,
            _ => return Err("it is no OCI manifest of blobs".into()),
        };
        let is_other = |subject: &Descriptor| {
            Some(&subject.digest) != listed.subject.map(|subject| subject.to_string()).as_ref()
        };
        if listed.tag.is_none()
            && listed.subject.is_some()
            && manifest.subject.as_ref().is_none_or(is_other)
        {
            return Err("it does not say that it refers to what it is listed for".into());
        }
        let config_type = manifest
            .config
            .as_ref()
            .and_then(|config| config.media_type.clone());
        let kinds = [
            Some(listed.artifact_type.clone()),
            manifest.artifact_type,
            config_type,
        ];
        let kind = kinds
            .into_iter()
            .flatten()
            .find(|kind| !kind.is_empty())
            .unwrap_or_default();
        if kind.len() > TYPE_BYTES_MAX || !kind.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("what it calls its type is no name of a type".into());
        }
        let parts: Option<Vec<RemoteBlob>> =
            manifest.config.iter().chain(&layers).map(blob).collect();
        let parts = parts.ok_or("its manifest names no digests")?;
        let total = parts.iter().fold(bytes.len() as u64, |sum, part| {
            sum.saturating_add(part.bytes)
        });
        let is_long = parts.iter().any(|part| part.bytes > BYTES_MAX);
        if is_long
            || parts.len() >= DOCUMENTS_MAX
            || self.bytes.saturating_add(total) > TOTAL_BYTES_MAX
        {
            return Err(format!(
                "it has {total} bytes in {} documents; {BYTES_MAX} bytes a document, {DOCUMENTS_MAX} documents, and {TOTAL_BYTES_MAX} bytes for all that refers to an image are kept",
                parts.len() + 1
            ));
        }
        Ok((kind, parts))
    }

    fn add(
        &mut self,
        (digest, bytes): (Digest, Vec<u8>),
        listed: Listed,
        artifact_type: String,
        parts: &[RemoteBlob],
    ) -> Result<()> {
        let mut documents = vec![digest];
        let mut total = bytes.len() as u64;
        for part in parts {
            if documents.contains(&part.digest) {
                continue;
            }
            documents.push(part.digest);
            total += part.bytes;
            if !self.documents.contains_key(&part.digest) {
                let answer = self.client.document_within(part, BYTES_MAX);
                let Some(content) = self.unless_refused(&part.digest, answer)? else {
                    return Ok(());
                };
                self.documents.insert(part.digest, content);
            }
        }
        self.bytes += total;
        self.documents.insert(digest, bytes);
        self.found.push(Referrer {
            digest,
            artifact_type,
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
        media_type: of.media_type.clone().unwrap_or_default(),
    })
}
