//! What a signature of an image is over: the container world's "simple signing" document.

use cairn_model::Digest;
use serde::Deserialize;
use serde_json::json;

use crate::error::{Error, Result};

const TYPE: &str = "cosign container image signature";
/// Longest document.
const BYTES_MAX: usize = 64 << 10;

#[derive(Deserialize)]
struct Document {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    identity: IdentityV1,
    image: ImageV1,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct IdentityV1 {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Deserialize)]
struct ImageV1 {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// What a signature says: this manifest is that of this image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Registry and repository, perhaps with a tag.
    pub reference: String,
}

impl Payload {
    /// The document of these bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let wrong = |why: String| Error::Signature(why);
        if bytes.len() > BYTES_MAX {
            return Err(wrong(format!(
                "its document has more than {BYTES_MAX} bytes"
            )));
        }
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|e| wrong(format!("its document is not as it should be: {e}")))?;
        let critical = document.critical;
        if critical.kind != TYPE {
            return Err(wrong(format!("it is of type {:?}", critical.kind)));
        }
        let digest = critical.image.digest.parse();
        Ok(Self {
            digest: digest.map_err(|e| wrong(format!("its document names no digest: {e}")))?,
            reference: critical.identity.reference,
        })
    }

    /// The document to be signed.
    pub fn document(&self) -> Vec<u8> {
        json!({
            "critical": {
                "identity": {"docker-reference": self.reference},
                "image": {"docker-manifest-digest": self.digest.to_string()},
                "type": TYPE,
            },
            "optional": null,
        })
        .to_string()
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_come_back_and_others_are_refused() {
        let payload = Payload {
            digest: Digest::from_bytes([7; 32]),
            reference: "localhost:5000/app".to_owned(),
        };
        let document = payload.document();
        assert_eq!(Payload::parse(&document).unwrap(), payload);
        let text = String::from_utf8(document).unwrap();
        for (from, to) in [
            (
                "cosign container image signature",
                "atomic container signature",
            ),
            ("sha256:", "sha512:"),
            ("critical", "optional2"),
            ("docker-reference", "reference"),
        ] {
            assert!(
                Payload::parse(text.replace(from, to).as_bytes()).is_err(),
                "{from}"
            );
        }
        assert!(Payload::parse(&vec![b' '; BYTES_MAX + 1]).is_err());
    }
}
