//! The JSON documents of archives and layouts, as other programs write them: a field that is null or
//! absent is empty.
//!
//! Every document is bounded before it is parsed, in bytes and in number of values: a tree of JSON values
//! takes a hundred times the bytes of its text.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::error::{Error, Result};
use crate::platform::Platform;

/// Longest document.
pub const DOCUMENT_BYTES_MAX: usize = 8 << 20;
/// Most values in one document: an image that exposes every port has 131,072.
const VALUES_MAX: usize = 1 << 18;

pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    d: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(d).map(Option::unwrap_or_default)
}

/// Refuses a document that is too long or has too many values.
pub(crate) fn bounded(bytes: &[u8], what: &str) -> Result<()> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        let why = format!(
            "it has {} bytes, but at most {DOCUMENT_BYTES_MAX} are allowed",
            bytes.len()
        );
        return Err(Error::invalid(what, why));
    }
    let (mut values, mut in_string, mut escaped) = (0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => values += 1,
            _ => {}
        }
    }
    if values > VALUES_MAX {
        let why = format!("it has more than {VALUES_MAX} values");
        return Err(Error::invalid(what, why));
    }
    Ok(())
}

/// Parses a document.
pub(crate) fn json<T: for<'de> Deserialize<'de>>(bytes: &[u8], what: &str) -> Result<T> {
    bounded(bytes, what)?;
    serde_json::from_slice(bytes).map_err(|e| Error::invalid(what, e))
}

/// An image in the `manifest.json` of `docker save`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DockerImage {
    pub config: String,
    #[serde(default, deserialize_with = "or_default")]
    pub repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub layers: Vec<String>,
}

/// What refers to a blob of a layout.
#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Descriptor {
    #[serde(deserialize_with = "or_default")]
    pub media_type: String,
    #[serde(deserialize_with = "or_default")]
    pub digest: String,
    pub size: Option<u64>,
    #[serde(deserialize_with = "or_default")]
    platform: PlatformRecord,
    #[serde(deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, Option<String>>,
}

#[derive(Deserialize, Clone, Default)]
#[serde(default)]
struct PlatformRecord {
    #[serde(deserialize_with = "or_default")]
    os: String,
    #[serde(deserialize_with = "or_default")]
    architecture: String,
    #[serde(deserialize_with = "or_default")]
    variant: String,
}

impl Descriptor {
    /// The platform it states, if it states one.
    pub fn platform(&self) -> Option<Platform> {
        let p = &self.platform;
        (!p.os.is_empty() && !p.architecture.is_empty())
            .then(|| Platform::new(&p.os, &p.architecture, &p.variant))
    }

    /// An annotation that is not empty.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations
            .get(key)?
            .as_deref()
            .filter(|value| !value.is_empty())
    }
}

/// An image index, and `index.json`.
#[derive(Deserialize)]
pub(crate) struct Index {
    #[serde(default, deserialize_with = "or_default")]
    pub manifests: Vec<Descriptor>,
}

/// An image manifest, or the manifest of something that is none.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub config: Option<Descriptor>,
    #[serde(default, deserialize_with = "or_default")]
    pub layers: Vec<Descriptor>,
    #[serde(default, deserialize_with = "or_default")]
    pub artifact_type: String,
}

/// SHA-256 of `{}`, which manifests name that have no configuration.
const EMPTY: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

impl Manifest {
    /// Why this is no image, if it is none: a signature, an SBOM, a chart.
    pub fn foreign(&self) -> Option<String> {
        let of_type = |kind: &str| Some(format!("it is not an image but of type {kind}"));
        let Some(config) = &self.config else {
            return Some("it is not an image: it has no configuration".into());
        };
        let kind = config.media_type.as_str();
        let known = matches!(
            kind,
            "" | "application/vnd.oci.image.config.v1+json"
                | "application/vnd.docker.container.image.v1+json"
                | "application/json"
                | "application/octet-stream"
        );
        if !known || config.digest == EMPTY {
            return of_type(if self.artifact_type.is_empty() {
                kind
            } else {
                &self.artifact_type
            });
        }
        let layer = |layer: &&Descriptor| {
            let kind = layer.media_type.as_str();
            let tar = kind.is_empty()
                || kind == "application/octet-stream"
                || kind.starts_with("application/vnd.oci.image.layer.")
                || kind.starts_with("application/vnd.docker.image.rootfs.")
                || kind.starts_with("application/x-tar")
                || kind.starts_with("application/tar")
                || kind.starts_with("application/x-gzip")
                || kind.starts_with("application/gzip");
            !tar || kind.ends_with("+encrypted")
        };
        self.layers
            .iter()
            .find(layer)
            .and_then(|layer| of_type(&layer.media_type))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_absent_are_empty() {
        let images: Vec<DockerImage> = json(
            br#"[{"Config":"c","RepoTags":null,"Layers":null},{"Config":"c"}]"#,
            "x",
        )
        .unwrap();
        assert!(
            images
                .iter()
                .all(|i| i.layers.is_empty() && i.repo_tags.is_empty())
        );
        let index: Index = json(
            br#"{"manifests":[{"digest":"d","annotations":null,"platform":null,"mediaType":null,"size":null},
                {"annotations":{"a":null},"platform":{"os":"linux"}},{"platform":{}}]}"#,
            "x",
        )
        .unwrap();
        assert!(index.manifests.iter().all(|d| d.platform().is_none()));
        assert!(
            json::<Index>(br#"{"manifests":null}"#, "x")
                .unwrap()
                .manifests
                .is_empty()
        );
        let manifest: Manifest = json(br#"{"config":{},"layers":null}"#, "x").unwrap();
        assert!(manifest.foreign().is_none());
    }

    #[test]
    fn a_document_is_bounded_in_bytes_and_in_values() {
        assert!(bounded(&vec![b' '; DOCUMENT_BYTES_MAX + 1], "x").is_err());
        let many = format!("[{}0]", "0,".repeat(VALUES_MAX));
        assert!(bounded(many.as_bytes(), "x").is_err());
        let text = format!("[\"\\\"{}\"]", ",".repeat(VALUES_MAX * 2));
        assert!(bounded(text.as_bytes(), "x").is_ok());
    }

    #[test]
    fn what_is_no_image_is_recognised() {
        for (text, foreign) in [
            (
                r#"{"config":{"mediaType":"application/vnd.oci.image.config.v1+json"},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+zstd"}]}"#,
                false,
            ),
            (
                r#"{"config":{"mediaType":"application/vnd.docker.container.image.v1+json"},"layers":[{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip"}]}"#,
                false,
            ),
            (
                r#"{"config":{"mediaType":"application/vnd.oci.image.config.v1+json"},"layers":[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json"}]}"#,
                true,
            ),
            (
                r#"{"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json"},"layers":[{"mediaType":"application/vnd.cncf.helm.chart.content.v1.tar+gzip"}]}"#,
                true,
            ),
            (
                r#"{"config":{"mediaType":"application/vnd.oci.empty.v1+json"},"artifactType":"text/spdx+json","layers":[]}"#,
                true,
            ),
            (
                r#"{"config":{"mediaType":"application/vnd.oci.image.config.v1+json"},"layers":[{"mediaType":"text/spdx+json"}]}"#,
                true,
            ),
            (
                r#"{"config":{"mediaType":"application/vnd.oci.image.config.v1+json"},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip+encrypted"}]}"#,
                true,
            ),
            (r#"{"artifactType":"x/y","blobs":[]}"#, true),
        ] {
            let manifest: Manifest = json(text.as_bytes(), "x").unwrap();
            assert_eq!(manifest.foreign().is_some(), foreign, "{text}");
        }
    }
}
