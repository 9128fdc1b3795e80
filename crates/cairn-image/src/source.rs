//! What an import or pull is given: images with their layers, or one root file system.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use cairn_model::{Digest, Watch};

use crate::archive::Archive;
use crate::config::ImageConfig;
use crate::error::{Error, Result};
use crate::remote::{Remote, RemoteBlob};
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
    /// Digest of its manifest, where it has one that is named so.
    pub manifest: Option<Digest>,
    /// Its layers, lowest first, one for each diff id of the document.
    pub layers: Vec<LayerSource>,
}

/// One layer of an archive or registry.
#[derive(Debug, Clone)]
pub struct LayerSource {
    place: Place,
    /// Digest of the bytes as they are stored there, where it names one.
    pub digest: Option<Digest>,
}

#[derive(Debug, Clone)]
enum Place {
    Archive { archive: Archive, member: String },
    Remote(Arc<dyn Remote>, RemoteBlob),
}

impl LayerSource {
    pub(crate) fn new(archive: &Archive, member: String, digest: Option<Digest>) -> Self {
        let archive = archive.clone();
        Self {
            place: Place::Archive { archive, member },
            digest,
        }
    }

    pub(crate) fn remote(from: &Arc<dyn Remote>, blob: RemoteBlob) -> Self {
        Self {
            digest: Some(blob.digest),
            place: Place::Remote(from.clone(), blob),
        }
    }

    /// Starts reading it; `watch` is told of the bytes as they are stored.
    pub fn open(&self, watch: &Watch) -> Result<LayerStream> {
        let stored: Box<dyn Read + Send> = match &self.place {
            Place::Archive { archive, member } => Box::new(archive.open(member)?),
            Place::Remote(from, blob) => from.layer(blob)?,
        };
        Ok(LayerStream::start(stored, self.digest, watch))
    }

    /// Bytes it has there.
    pub fn stored_bytes(&self) -> Result<u64> {
        match &self.place {
            Place::Archive { archive, member } => Ok(archive.open(member)?.len()),
            Place::Remote(_, blob) => Ok(blob.bytes),
        }
    }

    /// Reserves what lies in a registry ([`Remote::reserve`]), for layers of one image.
    pub fn reserve(layers: &[&Self]) -> Result<bool> {
        let mut blobs = Vec::new();
        let mut remote = None;
        for layer in layers {
            if let Place::Remote(from, blob) = &layer.place {
                remote = Some(from);
                blobs.push(blob.clone());
            }
        }
        match remote {
            Some(from) => Ok(from.reserve(&blobs)?),
            None => Ok(false),
        }
    }

    /// The blob that it is and the repository of a registry that has it, if one has.
    pub fn remote_blob(&self) -> Option<(&RemoteBlob, String)> {
        match &self.place {
            Place::Archive { .. } => None,
            Place::Remote(from, blob) => Some((blob, from.name())),
        }
    }

    /// Lets go of what was reserved for it and its like ([`Remote::release`]).
    pub fn release(&self, published: bool) {
        if let Place::Remote(from, _) = &self.place {
            from.release(published);
        }
    }

    /// What was read was wrong; true where another attempt may read something else ([`Remote::forget`]).
    pub fn forget(&self) -> bool {
        match &self.place {
            Place::Archive { .. } => false,
            Place::Remote(from, blob) => from.forget(blob),
        }
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
    name: &str,
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
    Err(Error::invalid(format!("an image in {name}"), why))
}
