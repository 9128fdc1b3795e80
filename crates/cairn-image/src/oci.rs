//! OCI layouts, the directories that skopeo's `dir:` writes, and the repositories of registries.

use std::collections::HashMap;
use std::sync::Arc;

use cairn_model::Digest;

use crate::archive::Archive;
use crate::choose::{Candidate, Finds, Place};
use crate::config::ImageConfig;
use crate::documents::{Descriptor, Index, Manifest, json};
use crate::error::{Error, Result};
use crate::platform::Platform;
use crate::remote::{Remote, RemoteBlob};
use crate::source::{Found, LayerSource, PassedOver, checked, complete};

const INDEX_DEPTH_MAX: usize = 4;
/// Descriptors looked at, through all indexes.
const DESCRIPTORS_MAX: usize = 1 << 16;
/// Bytes of all manifests, indexes and configurations of one layout together.
const DOCUMENTS_BYTES_MAX: usize = 64 << 20;

/// How blobs are named in a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// `blobs/sha256/<hex>`, as the OCI image layout has it.
    Layout,
    /// `<hex>`, and `<hex>.manifest.json` for manifests: skopeo's `dir:`.
    Flat,
}

/// Where manifests, documents and layers are.
#[derive(Debug, Clone, Copy)]
enum Blobs<'a> {
    Archive(&'a Archive, Naming),
    Remote(&'a Arc<dyn Remote>),
}

/// The images of an OCI layout.
pub fn layout(archive: &Archive, platform: &Platform) -> Result<Found> {
    let index: Index = json(&archive.document("index.json")?, "index.json")?;
    let mut reader = Reader::new(Blobs::Archive(archive, Naming::Layout), platform);
    for (number, descriptor) in index.manifests.iter().enumerate() {
        let name = [
            "io.containerd.image.name",
            "org.opencontainers.image.ref.name",
        ]
        .iter()
        .find_map(|key| descriptor.annotation(key));
        let place = match name {
            Some(name) => Place::Named(name.to_owned()),
            None if is_index(descriptor) => Place::Index(number),
            None => Place::Loose,
        };
        reader.descriptor(descriptor, &place, 0)?;
    }
    reader.finish()
}

/// The image of a directory that skopeo wrote.
pub fn flat(archive: &Archive, platform: &Platform) -> Result<Found> {
    let bytes = archive.document("manifest.json")?;
    let mut reader = Reader::new(Blobs::Archive(archive, Naming::Flat), platform);
    reader.top(&bytes, None, "manifest.json")?;
    reader.finish()
}

/// The image of a manifest or index of a registry.
pub fn remote(
    from: &Arc<dyn Remote>,
    bytes: &[u8],
    name: Option<&str>,
    platform: &Platform,
) -> Result<Found> {
    let mut reader = Reader::new(Blobs::Remote(from), platform);
    let what = format!("manifest {} of {}", crate::sha256(bytes), from.name());
    reader.top(bytes, name, &what)?;
    reader.finish()
}

fn is_index(descriptor: &Descriptor) -> bool {
    let kind = &descriptor.media_type;
    kind.contains("image.index") || kind.contains("manifest.list")
}

/// True for an index. A document that could be read as both is neither: who verified the one would get the
/// other.
fn has_manifests(bytes: &[u8], what: &str) -> Result<bool> {
    #[derive(serde::Deserialize)]
    struct Probe {
        manifests: Option<serde::de::IgnoredAny>,
        layers: Option<serde::de::IgnoredAny>,
        #[serde(rename = "fsLayers")]
        old_layers: Option<serde::de::IgnoredAny>,
    }
    let probe: Probe = json(bytes, what)?;
    if probe.old_layers.is_some() {
        let why = "it is of schema 1, which names no configuration; push the image again with a current program";
        return Err(Error::invalid(what, why));
    }
    if probe.manifests.is_some() && probe.layers.is_some() {
        let why = "it is an index and an image manifest at once";
        return Err(Error::invalid(what, why));
    }
    Ok(probe.manifests.is_some())
}

struct Reader<'a> {
    blobs: Blobs<'a>,
    platform: &'a Platform,
    finds: Finds<Vec<Descriptor>>,
    /// Manifests read before, and where they are among the candidates.
    known: HashMap<Digest, usize>,
    descriptors: usize,
    bytes: usize,
}

impl<'a> Reader<'a> {
    fn new(blobs: Blobs<'a>, platform: &'a Platform) -> Self {
        Self {
            blobs,
            platform,
            finds: Finds::default(),
            known: HashMap::new(),
            descriptors: 0,
            bytes: 0,
        }
    }

    fn finish(self) -> Result<Found> {
        let open = |config: &ImageConfig, layers: &Vec<Descriptor>| {
            let source = |layer| self.blobs.layer(layer);
            let sources = layers.iter().map(source).collect::<Result<Vec<_>>>()?;
            complete(&self.blobs.name(), config, sources)
        };
        let name = self.blobs.name();
        self.finds.choose(&name, self.platform, open)
    }

    /// Reads the one document that leads to the others.
    fn top(&mut self, bytes: &[u8], name: Option<&str>, what: &str) -> Result<()> {
        let named = name.map(|name| Place::Named(name.to_owned()));
        if has_manifests(bytes, what)? {
            let index: Index = json(bytes, what)?;
            let place = named.unwrap_or(Place::Index(0));
            return index
                .manifests
                .iter()
                .try_for_each(|descriptor| self.descriptor(descriptor, &place, 1));
        }
        let place = named.unwrap_or(Place::Loose);
        self.manifest(bytes, &Descriptor::default(), place, 0, what)?;
        Ok(())
    }

    fn pass_over(&mut self, descriptor: &Descriptor, place: &Place, why: impl Into<String>) {
        let what = match place {
            Place::Named(name) => name.clone(),
            _ => descriptor.digest.clone(),
        };
        let why = why.into();
        self.finds.passed_over.push(PassedOver { what, why });
    }

    /// Finds the images that a descriptor leads to, through indexes.
    fn descriptor(&mut self, descriptor: &Descriptor, place: &Place, depth: usize) -> Result<()> {
        self.descriptors += 1;
        if self.descriptors > DESCRIPTORS_MAX {
            let why = "its indexes contain too many descriptors";
            return Err(Error::invalid(self.blobs.name(), why));
        }
        if descriptor.annotation("vnd.docker.reference.type").is_some() {
            self.pass_over(descriptor, place, "it is an attestation, not an image");
            return Ok(());
        }
        let stated = descriptor.platform();
        if let Some(stated) = &stated {
            if stated.os == "unknown" || stated.architecture == "unknown" {
                self.pass_over(descriptor, place, "it is an attestation, not an image");
                return Ok(());
            }
            if self.platform.rank(stated).is_none() {
                self.finds.others.push(stated.to_string());
                return Ok(());
            }
        }
        let kind = descriptor.media_type.as_str();
        if !kind.is_empty() && !is_index(descriptor) && !is_manifest(kind) {
            let why = format!("it is not an image but of type {kind}");
            self.pass_over(descriptor, place, why);
            return Ok(());
        }
        let digest = parse_digest(&descriptor.digest)?;
        if let Some(at) = self.known.get(&digest) {
            self.finds.candidates[*at].places.push(place.clone());
            return Ok(());
        }
        let bytes = self.document(descriptor, true)?;
        if is_index(descriptor) || (kind.is_empty() && has_manifests(&bytes, "manifest")?) {
            if depth >= INDEX_DEPTH_MAX {
                let why = "indexes are nested too deeply";
                return Err(Error::invalid("image index", why));
            }
            let index: Index = json(&bytes, "image index")?;
            for inner in &index.manifests {
                self.descriptor(inner, place, depth + 1)?;
            }
            return Ok(());
        }
        let what = format!("image manifest {digest}");
        if self.manifest(&bytes, descriptor, place.clone(), depth, &what)? {
            self.known.insert(digest, self.finds.candidates.len() - 1);
        }
        Ok(())
    }

    /// Adds the image of a manifest; false where it is none.
    fn manifest(
        &mut self,
        bytes: &[u8],
        descriptor: &Descriptor,
        place: Place,
        depth: usize,
        what: &str,
    ) -> Result<bool> {
        let manifest: Manifest = json(bytes, what)?;
        let config = match (manifest.foreign(), &manifest.config) {
            (None, Some(config)) => config,
            (why, _) => {
                self.pass_over(descriptor, &place, why.unwrap_or_default());
                return Ok(false);
            }
        };
        let config = ImageConfig::parse(self.document(config, false)?)?;
        let stated = descriptor.platform();
        // What the configuration says counts; descriptors often leave it out, and know the variant better.
        let mut of_image = config.platform();
        if let Some(stated) = &stated {
            if of_image.architecture.is_empty() {
                of_image = stated.clone();
            }
            if stated.variant.is_some() {
                of_image.variant.clone_from(&stated.variant);
            }
        }
        self.finds.candidates.push(Candidate {
            config,
            manifest: Some(crate::sha256(bytes)),
            layers: manifest.layers,
            places: vec![place],
            rank: self.platform.rank(&of_image),
            must_fit: stated.is_some() || depth > 0,
        });
        Ok(true)
    }

    fn document(&mut self, descriptor: &Descriptor, manifest: bool) -> Result<Vec<u8>> {
        let digest = parse_digest(&descriptor.digest)?;
        let (what, bytes) = match self.blobs {
            Blobs::Archive(archive, naming) => {
                let member = match naming {
                    Naming::Layout => format!("blobs/sha256/{}", digest.hex()),
                    Naming::Flat if manifest => format!("{}.manifest.json", digest.hex()),
                    Naming::Flat => digest.hex(),
                };
                let bytes = archive.document(&member)?;
                (member, bytes)
            }
            Blobs::Remote(from) => {
                let what = format!("{digest} of {}", from.name());
                let bytes = match manifest {
                    true => from.manifest(&digest)?,
                    false => from.document(&remote_blob(descriptor)?)?,
                };
                (what, bytes)
            }
        };
        self.bytes += bytes.len();
        if self.bytes > DOCUMENTS_BYTES_MAX {
            let why = format!("its documents are larger than {DOCUMENTS_BYTES_MAX} bytes in total");
            return Err(Error::invalid(self.blobs.name(), why));
        }
        check_size(&what, bytes.len() as u64, descriptor)?;
        checked(bytes, digest, &what)
    }
}

impl Blobs<'_> {
    fn name(&self) -> String {
        match self {
            Self::Archive(archive, _) => archive.name(),
            Self::Remote(from) => from.name(),
        }
    }

    fn layer(&self, layer: &Descriptor) -> Result<LayerSource> {
        match self {
            Self::Archive(archive, naming) => layer_source(archive, *naming, layer),
            Self::Remote(from) => Ok(LayerSource::remote(from, remote_blob(layer)?)),
        }
    }
}

fn remote_blob(descriptor: &Descriptor) -> Result<RemoteBlob> {
    let why = "it states no size";
    let unknown = || Error::invalid(format!("descriptor of {}", descriptor.digest), why);
    Ok(RemoteBlob {
        digest: parse_digest(&descriptor.digest)?,
        bytes: descriptor.size.ok_or_else(unknown)?,
        media_type: descriptor.media_type.clone(),
    })
}

fn is_manifest(kind: &str) -> bool {
    matches!(
        kind,
        "application/vnd.oci.image.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v2+json"
    )
}

fn parse_digest(text: &str) -> Result<Digest> {
    text.parse()
        .map_err(|e: cairn_model::IdError| Error::invalid("descriptor", e))
}

fn check_size(what: &str, bytes: u64, descriptor: &Descriptor) -> Result<()> {
    match descriptor.size {
        Some(size) if size != bytes => {
            let why = format!("it has {bytes} bytes, but its descriptor says {size}");
            Err(Error::invalid(what, why))
        }
        _ => Ok(()),
    }
}

fn layer_source(archive: &Archive, naming: Naming, layer: &Descriptor) -> Result<LayerSource> {
    let digest = parse_digest(&layer.digest)?;
    let hex = digest.hex();
    let member = match naming {
        Naming::Layout => format!("blobs/sha256/{hex}"),
        // Before its version 1.1 skopeo added the ending.
        Naming::Flat if !archive.has(&hex) => format!("{hex}.tar"),
        Naming::Flat => hex,
    };
    let stored = archive.open(&member)?.len();
    check_size(&format!("layer {}", layer.digest), stored, layer)?;
    Ok(LayerSource::new(archive, member, Some(digest)))
}
