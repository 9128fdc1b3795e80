//! Signs an image in a registry.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_image::sha256;
use cairn_model::Digest;
use cairn_registry::{Client, Location, OCI_MANIFEST};
use cairn_trust::{Payload, SigningKey};
use serde_json::{Value, json};

use super::read::{PAYLOAD, SIGNATURE, tag};
use super::verify::full_name;
use crate::chunks::put;
use crate::error::{Error, Result};
use crate::images::Images;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

impl Images<'_> {
    /// Signs what `location` leads to; its digest.
    pub fn sign(&self, client: &Client, location: &Location, key: &SigningKey) -> Result<Digest> {
        let digest = client.resolve(location)?;
        self.sign_digest(client, location, &digest, key)?;
        Ok(digest)
    }

    /// Signs a manifest, as cosign does: the signature joins those that are there.
    pub(crate) fn sign_digest(
        &self,
        client: &Client,
        location: &Location,
        digest: &Digest,
        key: &SigningKey,
    ) -> Result<()> {
        let name = full_name(location);
        let payload = Payload {
            digest: *digest,
            reference: location
                .tag()
                .map_or(name.clone(), |tag| format!("{name}:{tag}")),
        };
        let document = payload.document();
        let layer = json!({
            "mediaType": PAYLOAD,
            "digest": sha256(&document).to_string(),
            "size": document.len(),
            "annotations": {SIGNATURE: STANDARD.encode(key.sign(&document)?)},
        });
        let mut layers = self.earlier(client, digest, key)?;
        layers.push(layer);
        // cosign gives signatures a configuration whose diff ids are the documents.
        let ids: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
        let config = json!({
            "architecture": "", "os": "", "config": {},
            "rootfs": {"type": "layers", "diff_ids": ids},
        });
        let config = config.to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": CONFIG, "digest": sha256(config.as_bytes()).to_string(), "size": config.len()},
            "layers": layers,
        });
        put(self.repo, client, &document)?;
        put(self.repo, client, config.as_bytes())?;
        client.put_manifest(&tag(digest), OCI_MANIFEST, manifest.to_string().as_bytes())?;
        Ok(())
    }

    /// The signatures that are there, but for one that says the same with the same key.
    fn earlier(&self, client: &Client, digest: &Digest, key: &SigningKey) -> Result<Vec<Value>> {
        let Some(artifact) = client.tagged_artifact(&tag(digest))? else {
            return Ok(Vec::new());
        };
        let manifest: Value = serde_json::from_slice(&artifact.bytes)
            .map_err(|e| Error::Invalid(format!("the signatures of {digest}: {e}")))?;
        let mut layers = manifest["layers"].as_array().cloned().unwrap_or_default();
        let public = key.public();
        let mut keep = Vec::new();
        for layer in &artifact.layers {
            let signature = layer.annotations.get(SIGNATURE);
            let signature = signature.and_then(|text| STANDARD.decode(text).ok());
            let own = signature.is_some_and(|signature| {
                let document = client.document(&layer.blob);
                document.is_ok_and(|document| public.has_signed(&document, &signature))
            });
            keep.push(!own);
        }
        let mut keep = keep.into_iter();
        layers.retain(|_| keep.next().unwrap_or(true));
        Ok(layers)
    }
}
