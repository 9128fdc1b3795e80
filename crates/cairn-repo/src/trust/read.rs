//! The signatures that a registry has of a manifest.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_image::RemoteBlob;
use cairn_model::Digest;
use cairn_registry::{Artifact, Client};
use cairn_trust::{Payload, PublicKey};

use crate::error::Result;

/// What cosign calls the document that is signed, and the annotation with the signature.
pub const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// What cosign calls a manifest of signatures that refers to the image.
const ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// Signatures that are looked at, manifests of them, and the longest document.
const SIGNATURES_MAX: usize = 128;
const ARTIFACTS_MAX: usize = 16;
const PAYLOAD_BYTES_MAX: u64 = 64 << 10;

/// A signature, which nobody has checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// What was signed.
    pub document: Vec<u8>,
    /// In DER.
    pub signature: Vec<u8>,
}

impl Signature {
    /// What it says, where this key has made it.
    pub fn said_by(&self, key: &PublicKey) -> Option<Payload> {
        let good = key.has_signed(&self.document, &self.signature);
        Payload::parse(&self.document).ok().filter(|_| good)
    }
}

/// The tag under which signatures of a manifest are.
pub fn tag(image: &Digest) -> String {
    format!("sha256-{}.sig", image.hex())
}

/// The signatures of a manifest, in both forms.
pub fn signatures(client: &Client, image: &Digest) -> Result<Vec<Signature>> {
    let mut artifacts: Vec<Artifact> = client.tagged_artifact(&tag(image))?.into_iter().collect();
    let referrers = client.referrers(image)?;
    let ours = referrers.iter().filter(|r| r.artifact_type == ARTIFACT);
    for referrer in ours.take(ARTIFACTS_MAX) {
        artifacts.push(client.artifact(&referrer.digest)?);
    }
    let mut out = Vec::new();
    for layer in artifacts.iter().flat_map(|artifact| &artifact.layers) {
        if out.len() == SIGNATURES_MAX {
            break;
        }
        out.extend(signature(client, &layer.blob, &layer.annotations)?);
    }
    Ok(out)
}

fn signature(
    client: &Client,
    blob: &RemoteBlob,
    annotations: &BTreeMap<String, String>,
) -> Result<Option<Signature>> {
    let is_payload = blob.media_type == PAYLOAD && blob.bytes <= PAYLOAD_BYTES_MAX;
    let text = annotations.get(SIGNATURE).filter(|_| is_payload);
    let Some(signature) = text.and_then(|text| STANDARD.decode(text).ok()) else {
        return Ok(None);
    };
    Ok(Some(Signature {
        document: client.document(blob)?,
        signature,
    }))
}
