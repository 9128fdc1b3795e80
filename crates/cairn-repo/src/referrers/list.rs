//! What is kept of an image, as `list.json` has it.

use cairn_model::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Referrer;

const VERSION: u32 = 1;
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A manifest or index as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    pub digest: Digest,
    pub media_type: String,
}

/// What is kept of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The manifest.
    pub manifest: Document,
    /// The index that led to it.
    pub index: Option<Document>,
    /// What refers to either, each after what it refers to.
    pub referrers: Vec<Referrer>,
}

#[derive(Serialize, Deserialize)]
struct DocumentV1 {
    digest: String,
    media_type: String,
}

#[derive(Serialize, Deserialize)]
struct ReferrerV1 {
    digest: String,
    artifact_type: String,
    subject: Option<String>,
    tag: Option<String>,
    documents: Vec<String>,
    bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct ListV1 {
    version: u32,
    manifest: DocumentV1,
    index: Option<DocumentV1>,
    referrers: Vec<ReferrerV1>,
}

impl Document {
    /// By what it says of itself.
    pub fn of(digest: Digest, bytes: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let usual = match value["manifests"].is_array() {
            true => "application/vnd.oci.image.index.v1+json",
            false => MANIFEST,
        };
        Self {
            digest,
            media_type: value["mediaType"].as_str().unwrap_or(usual).to_owned(),
        }
    }

    fn row(&self) -> DocumentV1 {
        DocumentV1 {
            digest: self.digest.to_string(),
            media_type: self.media_type.clone(),
        }
    }
}

impl DocumentV1 {
    fn read(self) -> Option<Document> {
        Some(Document {
            digest: self.digest.parse().ok()?,
            media_type: self.media_type,
        })
    }
}

impl ReferrerV1 {
    fn read(self) -> Option<Referrer> {
        let digest = |text: String| text.parse::<Digest>().ok();
        let own = digest(self.digest)?;
        let documents: Vec<Digest> =
            (self.documents.into_iter().map(digest)).collect::<Option<_>>()?;
        // The manifest is the first of them.
        (documents.first() == Some(&own)).then_some(())?;
        Some(Referrer {
            digest: own,
            artifact_type: self.artifact_type,
            subject: match self.subject {
                Some(subject) => Some(digest(subject)?),
                None => None,
            },
            tag: self.tag,
            documents,
            bytes: self.bytes,
        })
    }
}

impl Kept {
    /// The file.
    pub fn text(&self) -> String {
        let referrer = |of: &Referrer| ReferrerV1 {
            digest: of.digest.to_string(),
            artifact_type: of.artifact_type.clone(),
            subject: of.subject.as_ref().map(Digest::to_string),
            tag: of.tag.clone(),
            documents: of.documents.iter().map(Digest::to_string).collect(),
            bytes: of.bytes,
        };
        let list = ListV1 {
            version: VERSION,
            manifest: self.manifest.row(),
            index: self.index.as_ref().map(Document::row),
            referrers: self.referrers.iter().map(referrer).collect(),
        };
        // Texts and numbers always can be written.
        serde_json::to_string(&list).unwrap_or_default() + "\n"
    }

    /// Reads the file; none where it is not one that was written here.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let list: ListV1 = serde_json::from_slice(bytes).ok()?;
        if list.version != VERSION {
            return None;
        }
        let referrers = list.referrers.into_iter().map(ReferrerV1::read);
        Some(Self {
            manifest: list.manifest.read()?,
            index: match list.index {
                Some(index) => Some(index.read()?),
                None => None,
            },
            referrers: referrers.collect::<Option<_>>()?,
        })
    }

    /// Digests of all documents.
    pub fn documents(&self) -> impl Iterator<Item = Digest> {
        let own = std::iter::once(&self.manifest).chain(&self.index);
        let of = self.referrers.iter().flat_map(|of| &of.documents).copied();
        own.map(|document| document.digest).chain(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written_and_nothing_else_is() {
        let digest = |n: u8| Digest::from_bytes([n; 32]);
        let kept = Kept {
            manifest: Document::of(digest(1), b"{}"),
            index: Some(Document::of(digest(2), br#"{"manifests":[]}"#)),
            referrers: vec![Referrer {
                digest: digest(3),
                artifact_type: "a/b".into(),
                subject: Some(digest(1)),
                tag: None,
                documents: vec![digest(3), digest(4)],
                bytes: 7,
            }],
        };
        let text = kept.text();
        assert_eq!(Kept::parse(text.as_bytes()), Some(kept));
        assert!(text.contains("image.index.v1+json") && text.contains(MANIFEST));
        for bad in [
            "",
            "{}",
            &text.replace(r#""version":1"#, r#""version":2"#),
            &text.replace(&digest(4).to_string(), "../../etc/passwd"),
        ] {
            assert_eq!(Kept::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
