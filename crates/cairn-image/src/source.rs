//! What an import is given: images with their layers, or one root file system.

use std::path::PathBuf;

use cairn_model::Digest;

use crate::archive::Archive;
use crate::config::ImageConfig;
use crate::error::{Error, Result};
use crate::sha256;
use crate::stream::LayerStream;

/// Something to import.
#[derive(Debug)]
pub enum Source {
    /// An archive or layout with images in it.
    Images(Found),
    /// The tar of a root file system, without any document.
    RootTar(LayerSource),
    /// A directory that is a root file system.
    Directory(PathBuf),
}

/// What an archive has.
#[derive(Debug)]
pub struct Found {
    /// Its images for the platform, at least one.
    pub images: Vec<SourceImage>,
    /// What is in it and is no image, or gave way to another one.
    pub passed_over: Vec<PassedOver>,
}

/// Something in an archive that is not imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Which, by name or digest.
    pub what: String,
    /// Why not.
    pub why: String,
}

/// One image of an archive.
#[derive(Debug)]
pub struct SourceImage {
    /// Names it has there.
    pub names: Vec<String>,
    /// Its document.
    pub config: ImageConfig,
    /// Its layers, lowest first, one for each diff id of the document.
    pub layers: Vec<LayerSource>,
}

/// One layer of an archive.
#[derive(Debug, Clone)]
pub struct LayerSource {
    archive: Archive,
    member: String,
    /// Digest of the bytes in the archive, where it names one.
    pub digest: Option<Digest>,
}

impl LayerSource {
    pub(crate) fn new(archive: &Archive, member: String, digest: Option<Digest>) -> Self {
        Self {
            archive: archive.clone(),
            member,
            digest,
        }
    }

    /// Starts reading it.
    pub fn open(&self) -> Result<LayerStream> {
        Ok(LayerStream::start(
            self.archive.open(&self.member)?,
            self.digest,
        ))
    }

    /// Bytes it has in the archive.
    pub fn stored_bytes(&self) -> Result<u64> {
        Ok(self.archive.open(&self.member)?.len())
    }
}

/// Checks a document against the digest that its name is or that refers to it.
pub(crate) fn checked(bytes: Vec<u8>, expected: Digest, what: &str) -> Result<Vec<u8>> {
    let actual = sha256(&bytes);
    if actual == expected {
        Ok(bytes)
    } else {
        Err(Error::Digest {
            what: what.to_owned(),
            expected,
            actual,
        })
    }
}

/// The layers, where there are as many as the document names.
pub(crate) fn complete(
    archive: &Archive,
    config: &ImageConfig,
    layers: Vec<LayerSource>,
) -> Result<Vec<LayerSource>> {
    if config.diff_ids().len() == layers.len() {
        return Ok(layers);
    }
    let why = format!(
        "its configuration lists {} layers and its manifest {}",
        config.diff_ids().len(),
        layers.len()
    );
    Err(Error::invalid(
        format!("an image in {}", archive.name()),
        why,
    ))
}
