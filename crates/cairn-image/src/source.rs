//! What an import is given, found out by looking at its content.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_model::Digest;
use serde::Deserialize;

use crate::archive::{Archive, Member};
use crate::config::ImageConfig;
use crate::error::{At, Error, Result};
use crate::platform::Platform;
use crate::probe::is_image;
use crate::sha256;
use crate::stream::{LayerStream, beginning, decompressed, is_compressed};

const INDEX_DEPTH_MAX: usize = 4;
const LAYERS_MAX: usize = 1024;

/// Something to import.
#[derive(Debug)]
pub enum Source {
    /// An archive or layout with images in it.
    Images(Vec<SourceImage>),
    /// The tar of a root file system, without any document.
    RootTar(LayerSource),
    /// A directory that is a root file system.
    Directory(PathBuf),
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

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: Option<String>,
    digest: String,
    size: u64,
    platform: Option<PlatformRecord>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct PlatformRecord {
    os: String,
    architecture: String,
    variant: Option<String>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// Looks at `path` (a file or directory) and says what is in it. A compressed archive, or one that
/// cannot be sought, is first written out to an unnamed file in `spool`.
pub fn detect(path: &Path, platform: &Platform, spool: &Path) -> Result<Source> {
    let name = path.display().to_string();
    if path.is_dir() {
        if path.join("oci-layout").is_file() {
            return images(Archive::Directory(path.into()), platform).map(Source::Images);
        }
        return Ok(Source::Directory(path.into()));
    }
    let file = if path == Path::new("-") {
        spooled(std::io::stdin().lock(), spool)?
    } else {
        let mut file = File::open(path).at("open", path)?;
        let start = beginning(&mut file).at("read", path)?;
        let regular = file.metadata().at("stat", path)?.is_file();
        let compressed = is_compressed(&start);
        match (regular, compressed) {
            (true, _) => {
                file.rewind().at("read", path)?;
                if compressed {
                    spooled(file, spool)?
                } else {
                    file
                }
            }
            (false, _) => spooled(std::io::Cursor::new(start).chain(file), spool)?,
        }
    };
    let archive = Archive::of_tar(&name, file.try_clone().at("open", path)?)?;
    if is_image(&archive) {
        return images(archive, platform).map(Source::Images);
    }
    let Archive::Tar { members, .. } = &archive else {
        return Err(Error::invalid(name, "it is no archive"));
    };
    let length = file.metadata().at("stat", path)?.len();
    if length == 0 {
        return Err(Error::invalid(name, "it is empty"));
    }
    if archive.has("repositories") && members.keys().any(|member| member.ends_with("/layer.tar")) {
        return Err(Error::invalid(
            name,
            "it was saved by a Docker older than 1.10 and names no digests; save it again with a newer one",
        ));
    }
    // No image: the file as a whole is the one layer.
    let member = "whole".to_owned();
    let members = [(
        member.clone(),
        Member::Data {
            offset: 0,
            size: length,
        },
    )]
    .into();
    let archive = Archive::Tar {
        name,
        file: Arc::new(file),
        members: Arc::new(members),
    };
    Ok(Source::RootTar(LayerSource {
        archive,
        member,
        digest: None,
    }))
}

fn spooled(input: impl Read, spool: &Path) -> Result<File> {
    let mut file = tempfile::tempfile_in(spool).at("make a temporary file in", spool)?;
    std::io::copy(&mut decompressed(input)?, &mut file).at("spool the archive into", spool)?;
    file.rewind().at("read", spool)?;
    Ok(file)
}

fn images(archive: Archive, platform: &Platform) -> Result<Vec<SourceImage>> {
    let found = if archive.has("manifest.json") {
        docker(&archive)?
    } else {
        oci(&archive, platform)?
    };
    if found.is_empty() {
        return Err(Error::invalid(archive.name(), "it has no image in it"));
    }
    Ok(found)
}

fn json<T: for<'de> Deserialize<'de>>(bytes: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::invalid(what, e))
}

/// Checks a document against the digest that its name is or that refers to it.
fn checked(bytes: Vec<u8>, expected: Digest, what: &str) -> Result<Vec<u8>> {
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

/// The digest that a file name of an archive states: `<hex>`, `<hex>.json`, `blobs/sha256/<hex>`.
fn stated(member: &str) -> Option<Digest> {
    let last = member.rsplit('/').next()?;
    let hex = last.split('.').next()?;
    format!("sha256:{hex}").parse().ok()
}

fn docker(archive: &Archive) -> Result<Vec<SourceImage>> {
    let list: Vec<DockerImage> = json(&archive.document("manifest.json")?, "manifest.json")?;
    let image = |image: DockerImage| {
        let mut bytes = archive.document(&image.config)?;
        if let Some(expected) = stated(&image.config) {
            bytes = checked(
                bytes,
                expected,
                &format!("image configuration {}", image.config),
            )?;
        }
        // Only a name in blobs/ is the digest of the file itself; elsewhere it may be anything, and the
        // layer is checked against its diff id.
        let digest = |member: &str| {
            if member.starts_with("blobs/") {
                stated(member)
            } else {
                None
            }
        };
        let layer = |member: String| LayerSource {
            archive: archive.clone(),
            digest: digest(&member),
            member,
        };
        let layers = image.layers.into_iter().map(layer).collect();
        complete(archive, image.repo_tags.unwrap_or_default(), bytes, layers)
    };
    list.into_iter().map(image).collect()
}

fn complete(
    archive: &Archive,
    names: Vec<String>,
    config: Vec<u8>,
    layers: Vec<LayerSource>,
) -> Result<SourceImage> {
    let config = ImageConfig::parse(config)?;
    if config.diff_ids().len() != layers.len() || layers.len() > LAYERS_MAX {
        let why = format!(
            "its document names {} layers and its manifest {}",
            config.diff_ids().len(),
            layers.len()
        );
        return Err(Error::invalid(
            format!("an image in {}", archive.name()),
            why,
        ));
    }
    Ok(SourceImage {
        names,
        config,
        layers,
    })
}

fn blob_name(digest: &str) -> Result<(String, Digest)> {
    let parsed: Digest = digest
        .parse()
        .map_err(|e: cairn_model::IdError| Error::invalid("descriptor", e))?;
    Ok((format!("blobs/sha256/{}", parsed.hex()), parsed))
}

fn oci_document(archive: &Archive, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let (member, digest) = blob_name(&descriptor.digest)?;
    let bytes = archive.document(&member)?;
    if bytes.len() as u64 != descriptor.size {
        return Err(Error::invalid(
            member,
            format!(
                "it has {} bytes, its descriptor says {}",
                bytes.len(),
                descriptor.size
            ),
        ));
    }
    checked(bytes, digest, &member)
}

fn oci(archive: &Archive, platform: &Platform) -> Result<Vec<SourceImage>> {
    let index: Index = json(&archive.document("index.json")?, "index.json")?;
    let mut out = Vec::new();
    let mut others = Vec::new();
    for descriptor in &index.manifests {
        let name = [
            "io.containerd.image.name",
            "org.opencontainers.image.ref.name",
        ]
        .iter()
        .find_map(|key| descriptor.annotations.get(*key));
        let names = name.cloned().into_iter().collect();
        if let Some(image) = oci_image(archive, descriptor, platform, names, 0, &mut others)? {
            out.push(image);
        }
    }
    if out.is_empty() && !others.is_empty() {
        others.dedup();
        return Err(Error::Platform {
            archive: archive.name(),
            wanted: platform.to_string(),
            present: others.join(", "),
        });
    }
    Ok(out)
}

/// The image a descriptor leads to, through indexes, for the platform.
fn oci_image(
    archive: &Archive,
    descriptor: &Descriptor,
    platform: &Platform,
    names: Vec<String>,
    depth: usize,
    others: &mut Vec<String>,
) -> Result<Option<SourceImage>> {
    if let Some(p) = &descriptor.platform {
        let present = Platform {
            os: p.os.clone(),
            architecture: p.architecture.clone(),
            variant: p.variant.clone(),
        };
        if !platform.accepts(&present) {
            others.push(present.to_string());
            return Ok(None);
        }
    }
    let bytes = oci_document(archive, descriptor)?;
    let kind = descriptor.media_type.as_deref().unwrap_or_default();
    let is_index = kind.contains("image.index")
        || kind.contains("manifest.list")
        || (kind.is_empty() && json::<Index>(&bytes, "index").is_ok());
    if is_index {
        if depth >= INDEX_DEPTH_MAX {
            return Err(Error::invalid(
                "image index",
                "indexes are nested too deeply",
            ));
        }
        let index: Index = json(&bytes, "image index")?;
        for inner in &index.manifests {
            if let Some(image) =
                oci_image(archive, inner, platform, names.clone(), depth + 1, others)?
            {
                return Ok(Some(image));
            }
        }
        return Ok(None);
    }
    let manifest: Manifest = json(&bytes, "image manifest")?;
    let config = oci_document(archive, &manifest.config)?;
    let layers = manifest.layers.iter().map(|layer| {
        let (member, digest) = blob_name(&layer.digest)?;
        let stored = archive.open(&member)?.len();
        if stored != layer.size {
            return Err(Error::invalid(
                format!("layer {}", layer.digest),
                format!("it has {stored} bytes, its descriptor says {}", layer.size),
            ));
        }
        Ok(LayerSource {
            archive: archive.clone(),
            member,
            digest: Some(digest),
        })
    });
    let image = complete(archive, names, config, layers.collect::<Result<_>>()?)?;
    if descriptor.platform.is_none() && depth > 0 && !platform.accepts(&image.config.platform()) {
        others.push(image.config.platform().to_string());
        return Ok(None);
    }
    Ok(Some(image))
}
