//! Images out: docker archives and OCI layouts.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use cairn_model::{Digest, ImageRef};
use cairn_sys::threads;
use serde_json::{Value, json};
use sha2::Digest as _;

use crate::blocks::Blocks;
use crate::config::ImageConfig;
use crate::error::{At, Error, Result};
use crate::sha256;

/// How layers of an OCI layout are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not; the blob's digest is the diff id.
    None,
    /// gzip level 4.
    Gzip,
    /// zstd level 3.
    Zstd,
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(format!(
                "unknown compression {text:?}: use none, gzip or zstd"
            )),
        }
    }
}

impl Compression {
    /// The one that a manifest's words for a layer mean, where they say.
    pub fn of_media_type(text: &str) -> Option<Self> {
        let known = text.contains("image.layer.") || text.contains("image.rootfs.");
        match text {
            _ if !known || text.contains("foreign") || text.contains("nondistributable") => None,
            _ if text.ends_with("zstd") => Some(Self::Zstd),
            _ if text.ends_with("gzip") => Some(Self::Gzip),
            _ if text.ends_with("tar") => Some(Self::None),
            _ => None,
        }
    }

    /// What a manifest calls a layer in this form.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// Writes a layer's tar.
pub type WriteLayer<'a> = dyn Fn(&mut dyn Write) -> io::Result<()> + Sync + 'a;

/// A layer to export.
pub struct ExportLayer<'a> {
    /// SHA-256 of its tar.
    pub diff_id: Digest,
    /// Length of its tar, bytes.
    pub tar_bytes: u64,
    /// Writes the tar.
    pub write: Box<WriteLayer<'a>>,
}

/// The manifest that an image came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// The manifest.
    pub bytes: Vec<u8>,
    /// What it calls itself.
    pub media_type: String,
    /// The blobs that it names as layers, lowest first.
    pub layers: Vec<Digest>,
    /// The index that leads to it, where all is to be written that it names.
    pub index: Option<OriginalIndex>,
}

/// The index that an image came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalIndex {
    /// The index.
    pub bytes: Vec<u8>,
    /// What it calls itself.
    pub media_type: String,
}

enum Target {
    Directory(PathBuf),
    Tar(Box<tar::Builder<Box<dyn Write>>>),
}

/// Writes images into one archive or layout.
pub struct ImageWriter {
    name: PathBuf,
    target: Target,
    present: HashSet<String>,
    docker: Vec<Value>,
    manifests: Vec<Value>,
}

impl ImageWriter {
    /// Into a directory, made if it is missing.
    pub fn directory(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path.join("blobs/sha256")).at("create directory", path)?;
        Ok(Self::new(path, Target::Directory(path.into())))
    }

    /// Into a tar written to `out`; `name` is for messages.
    pub fn tar(name: &Path, out: Box<dyn Write>) -> Self {
        Self::new(name, Target::Tar(Box::new(tar::Builder::new(out))))
    }

    fn new(name: &Path, target: Target) -> Self {
        Self {
            name: name.into(),
            target,
            present: HashSet::new(),
            docker: Vec::new(),
            manifests: Vec::new(),
        }
    }

    fn put(&mut self, member: &str, size: u64, content: &mut dyn Read) -> Result<()> {
        if !self.present.insert(member.to_owned()) {
            return Ok(());
        }
        match &mut self.target {
            Target::Directory(root) => {
                let path = root.join(member);
                let mut file = File::create(&path).at("create", &path)?;
                io::copy(content, &mut file).at("write", &path)?;
            }
            Target::Tar(tar) => {
                let mut header = tar::Header::new_ustar();
                header.set_mode(0o644);
                header.set_size(size);
                tar.append_data(&mut header, member, content)
                    .at("write", &self.name)?;
            }
        }
        Ok(())
    }

    fn put_bytes(&mut self, member: &str, bytes: &[u8]) -> Result<()> {
        self.put(member, bytes.len() as u64, &mut &bytes[..])
    }

    /// Adds an image in the form of `docker save`: layers as they are, uncompressed. Names are in the
    /// short form, as Docker writes them.
    pub fn docker_image(
        &mut self,
        names: &[ImageRef],
        config: &ImageConfig,
        layers: &[ExportLayer<'_>],
    ) -> Result<()> {
        let mut members = Vec::new();
        for layer in layers {
            let member = format!("{}.tar", layer.diff_id.hex());
            if !self.present.contains(&member) {
                self.stream(&member, layer)?;
            }
            members.push(member);
        }
        let document = format!("{}.json", config.digest().hex());
        self.put_bytes(&document, config.bytes())?;
        // An image without a name has no list of names, as Docker has it.
        let tags: Vec<String> = names.iter().map(ImageRef::to_string).collect();
        let tags = if tags.is_empty() {
            Value::Null
        } else {
            json!(tags)
        };
        self.docker
            .push(json!({"Config": document, "RepoTags": tags, "Layers": members}));
        Ok(())
    }

    /// Writes a layer straight into the archive. No pipe lies between, so that a full disk is an error of
    /// the archive and not a broken pipe.
    fn stream(&mut self, member: &str, layer: &ExportLayer<'_>) -> Result<()> {
        self.present.insert(member.to_owned());
        let name = match &self.target {
            Target::Directory(root) => root.join(member),
            Target::Tar(_) => self.name.clone(),
        };
        let padding = match &self.target {
            Target::Directory(_) => 0,
            Target::Tar(_) => layer.tar_bytes.wrapping_neg() % 512,
        };
        let (mut file, mut header);
        let out: &mut dyn Write = match &mut self.target {
            Target::Directory(_) => {
                file = File::create(&name).at("create", &name)?;
                &mut file
            }
            Target::Tar(tar) => {
                header = tar::Header::new_ustar();
                header.set_mode(0o644);
                header.set_size(layer.tar_bytes);
                header.set_path(member).at("write", &name)?;
                header.set_cksum();
                let out = tar.get_mut();
                out.write_all(header.as_bytes()).at("write", &name)?;
                out
            }
        };
        let mut out = Exactly {
            out: io::BufWriter::with_capacity(1 << 16, out),
            left: layer.tar_bytes,
        };
        (layer.write)(&mut out).at("export a layer into", &name)?;
        if out.left > 0 {
            let why = "it is shorter than recorded";
            return Err(Error::invalid(format!("layer {}", layer.diff_id), why));
        }
        let mut out = out.out;
        out.write_all(&[0; 512][..padding as usize])
            .at("write", &name)?;
        out.flush().at("write", &name)
    }

    /// Adds an image in the form of the OCI image layout. Layers are compressed anew, so their blobs'
    /// digests need not be those of the archive they came from; diff ids and image id are. Names are in
    /// the full form, as containerd writes them. Where the layers come out as the blobs that the image came
    /// with, its manifest is the `original`, and true is returned.
    pub fn oci_image(
        &mut self,
        names: &[ImageRef],
        config: &ImageConfig,
        layers: &[ExportLayer<'_>],
        (compression, spool): (Compression, &Path),
        original: Option<&Original>,
    ) -> Result<bool> {
        let mut descriptors = Vec::new();
        let mut blobs = Vec::new();
        let cores = threads::cores();
        for layers in layers.chunks(cores) {
            let packed =
                threads::map(cores, layers, |layer| pack(layer, compression, None, spool))?;
            for Packed {
                mut file,
                bytes: size,
                digest,
            } in packed
            {
                file.rewind().at("read", spool)?;
                self.put(&format!("blobs/sha256/{}", digest.hex()), size, &mut file)?;
                descriptors.push(json!({"mediaType": compression.media_type(), "digest": digest.to_string(), "size": size}));
                blobs.push(digest);
            }
        }
        self.put_bytes(
            &format!("blobs/sha256/{}", config.digest().hex()),
            config.bytes(),
        )?;
        let original = original.filter(|original| original.layers == blobs);
        let mut descriptor = match original {
            Some(original) => self.put_original(original)?,
            None => self.put_manifest(config, descriptors)?,
        };
        if original.is_none_or(|original| original.index.is_none()) {
            let platform = config.platform();
            descriptor["platform"] =
                json!({"os": platform.os, "architecture": platform.architecture});
            if let Some(variant) = &platform.variant {
                descriptor["platform"]["variant"] = json!(variant);
            }
        }
        let names: Vec<Option<&ImageRef>> = if names.is_empty() {
            vec![None]
        } else {
            names.iter().map(Some).collect()
        };
        for name in names {
            let mut descriptor = descriptor.clone();
            if let Some(name) = name {
                descriptor["annotations"] = json!({
                    "org.opencontainers.image.ref.name": name.tag(),
                    "io.containerd.image.name": name.as_str(),
                });
            }
            self.manifests.push(descriptor);
        }
        Ok(original.is_some())
    }

    /// Writes a manifest of these layers; its descriptor.
    fn put_manifest(&mut self, config: &ImageConfig, layers: Vec<Value>) -> Result<Value> {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config.digest().to_string(),
                "size": config.bytes().len(),
            },
            "layers": layers,
        });
        self.put_document(manifest.to_string().as_bytes(), kind)
    }

    /// Writes the manifest that an image came with, and its index; the descriptor of what leads to it.
    fn put_original(&mut self, original: &Original) -> Result<Value> {
        let manifest = self.put_document(&original.bytes, &original.media_type)?;
        match &original.index {
            Some(index) => self.put_document(&index.bytes, &index.media_type),
            None => Ok(manifest),
        }
    }

    fn put_document(&mut self, bytes: &[u8], media_type: &str) -> Result<Value> {
        let digest = sha256(bytes);
        self.put_bytes(&format!("blobs/sha256/{}", digest.hex()), bytes)?;
        let digest = digest.to_string();
        Ok(json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}))
    }

    /// Adds something that refers to an image: the blobs of a manifest, and the manifest itself. It is listed as what
    /// it is, under its tag if it has one, or not at all where an index has it.
    pub fn oci_referrer(
        &mut self,
        blobs: &[&[u8]],
        manifest: (&[u8], &str),
        listed: Option<(&str, Option<&str>)>,
    ) -> Result<()> {
        for blob in blobs {
            self.put_document(blob, "")?;
        }
        let mut descriptor = self.put_document(manifest.0, manifest.1)?;
        if let Some((artifact_type, tag)) = listed {
            descriptor["artifactType"] = json!(artifact_type);
            if let Some(tag) = tag {
                descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
            }
            self.manifests.push(descriptor);
        }
        Ok(())
    }

    /// Writes the lists of what is in the archive, and makes it durable.
    pub fn finish(mut self) -> Result<()> {
        if !self.docker.is_empty() {
            let list = Value::Array(std::mem::take(&mut self.docker)).to_string();
            self.put_bytes("manifest.json", list.as_bytes())?;
        }
        if !self.manifests.is_empty() {
            self.put_bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
            let list = json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": std::mem::take(&mut self.manifests),
            });
            self.put_bytes("index.json", list.to_string().as_bytes())?;
        }
        if let Target::Tar(tar) = self.target {
            tar.into_inner()
                .and_then(|mut out| out.flush())
                .at("write", &self.name)?;
        }
        Ok(())
    }
}

/// Lets a number of bytes through, and no more: the header before them has said how many come.
struct Exactly<W> {
    out: W,
    left: u64,
}

impl<W: Write> Write for Exactly<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::Error::other("it is longer than recorded"));
        }
        let n = self.out.write(bytes)?;
        self.left -= n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

struct Counting<W> {
    out: W,
    hasher: sha2::Sha256,
    bytes: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A layer as it goes out.
#[derive(Debug)]
pub struct Packed {
    /// A file without a name, with all of it.
    pub file: File,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of it.
    pub digest: Digest,
}

/// Level without another wish: two thirds of the time of 6, and two percent more.
const GZIP_LEVEL: u32 = 4;

/// Compresses a layer into a file without a name in `spool`, in blocks on all processors, the same way each time. Without a
/// level it is 4 for gzip and 3 for zstd.
pub fn pack(
    layer: &ExportLayer<'_>,
    compression: Compression,
    level: Option<u32>,
    spool: &Path,
) -> Result<Packed> {
    let file = tempfile::tempfile_in(spool).at("create a temporary file in", spool)?;
    let out = Counting {
        out: io::BufWriter::with_capacity(1 << 17, file),
        hasher: sha2::Sha256::new(),
        bytes: 0,
    };
    let packed = || -> io::Result<Counting<io::BufWriter<File>>> {
        let compress = Arc::new(move |block: &[u8]| compressed(block, compression, level));
        let mut out = match compression {
            Compression::None => {
                let mut out = out;
                (layer.write)(&mut out)?;
                return Ok(out);
            }
            _ => Blocks::new(out, threads::cores(), compress),
        };
        (layer.write)(&mut out)?;
        out.finish()
    };
    let Counting { out, hasher, bytes } = packed().at("export a layer into", spool)?;
    let file = out
        .into_inner()
        .map_err(io::IntoInnerError::into_error)
        .at("export a layer into", spool)?;
    Ok(Packed {
        file,
        bytes,
        digest: Digest::from_bytes(hasher.finalize().into()),
    })
}

/// A block as a gzip member or zstd frame of its own.
fn compressed(block: &[u8], compression: Compression, level: Option<u32>) -> io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(block.to_vec()),
        Compression::Gzip => {
            let level = flate2::Compression::new(level.unwrap_or(GZIP_LEVEL).min(9));
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
            gzip.write_all(block)?;
            gzip.finish()
        }
        Compression::Zstd => zstd::encode_all(block, level.unwrap_or(3).min(19) as i32),
    }
}
