//! Writes a file of images.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;

use cairn_layer::Layer;
use cairn_model::{BlobId, LayerId};
use cairn_trust::{FileSigningKey, Prehash};
use serde::Serialize;

use super::format::{HeadV1, ImageV1, encode_head, encode_record};
use super::have::Have;
use crate::chunks::{RecipeV1, blobs_of};
use crate::error::{At, Error, Result};
use crate::export::Target;
use crate::images::{Image, Images};

/// What is left out of a file: what the other side has.
#[derive(Debug, Default)]
pub struct Missing {
    /// A list of the other side's.
    pub have: Have,
    /// Images that it has.
    pub since: Vec<Image>,
}

/// What a file has.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Transferred {
    /// Images.
    pub images: usize,
    /// Blobs of all their layers.
    pub blobs: u64,
    /// Blobs that the file has; the other side has the rest.
    pub blobs_written: u64,
    /// Length of the file.
    pub bytes: u64,
}

/// Hashes what it lets through.
struct Hashing<W> {
    out: W,
    hash: blake3::Hasher,
    prehash: Prehash,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.prehash.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Images<'_> {
    /// Writes images to a file, or to standard output for `-`, without the blobs that the other side has. With a key
    /// a signature is written beside it, under the name of the file and `.minisig`.
    pub fn transfer(
        &self,
        images: &[Image],
        output: &Path,
        missing: &Missing,
        key: Option<&FileSigningKey>,
    ) -> Result<Transferred> {
        let _span = tracing::info_span!("transfer", output = %output.display()).entered();
        if output == Path::new("-") {
            if key.is_some() {
                let why = "a signature is written beside a file; name one with --output";
                return Err(Error::Invalid(why.to_owned()));
            }
            let out = Box::new(io::stdout());
            return Ok(self.write_transfer(images, output, out, missing)?.0);
        }
        let target = Target::open(output, self.repo.watch())?;
        let (done, hash) = self.write_transfer(images, output, target.writer()?, missing)?;
        // The signature first: a file with none beside it would not be taken.
        if let Some(key) = key {
            let name = output.file_name().unwrap_or_default().to_string_lossy();
            let signature = key.sign(&hash, &format!("file:{name}\thashed"));
            let beside = super::read::signature_path(output);
            let target = Target::open(&beside, self.repo.watch())?;
            let mut out = target.writer()?;
            out.write_all(signature.text().as_bytes())
                .at("write", &beside)?;
            out.flush().at("write", &beside)?;
            drop(out);
            target.finish()?;
        }
        target.finish()?;
        Ok(done)
    }

    fn write_transfer(
        &self,
        images: &[Image],
        output: &Path,
        out: Box<dyn Write>,
        missing: &Missing,
    ) -> Result<(Transferred, Prehash)> {
        let images = &self.all_settled(images)?;
        let layers = layers_of(images);
        let since: Vec<Layer> = missing
            .since
            .iter()
            .flat_map(|i| i.layers.clone())
            .collect();
        let since = self.have_of(&since)?;
        let mut seen = HashSet::new();
        let mut wanted: Vec<BlobId> = Vec::new();
        for layer in &layers {
            let blobs = blobs_of(&self.repo.store, layer)?.into_iter();
            wanted.extend(blobs.filter(|id| seen.insert(*id)));
        }
        wanted.retain(|id| !since.has(id) && !missing.have.has(id));
        let head = head(images, &layers, wanted.len() as u64)?;
        let mut out = Hashing {
            out: io::BufWriter::with_capacity(1 << 17, out),
            hash: blake3::Hasher::new(),
            prehash: Prehash::default(),
            bytes: 0,
        };
        out.write_all(&encode_head(&head)).at("write", output)?;
        for id in &wanted {
            let packed = self.repo.store.packed(id)?;
            out.write_all(&encode_record(id, &packed))
                .at("write", output)?;
        }
        let end = out.hash.finalize();
        out.write_all(end.as_bytes()).at("write", output)?;
        out.flush().at("write", output)?;
        let done = Transferred {
            images: images.len(),
            blobs: seen.len() as u64,
            blobs_written: wanted.len() as u64,
            bytes: out.bytes,
        };
        Ok((done, out.prehash))
    }
}

/// The layers of images, each once.
fn layers_of(images: &[Image]) -> Vec<Layer> {
    let mut seen: HashSet<(LayerId, Option<cairn_model::Digest>)> = HashSet::new();
    let layers = images.iter().flat_map(|image| &image.layers).copied();
    layers
        .filter(|layer| seen.insert((layer.id, layer.diff_id)))
        .collect()
}

fn head(images: &[Image], layers: &[Layer], blobs: u64) -> Result<HeadV1> {
    let recipe = |layer: &Layer| {
        let why = || Error::Invalid(format!("layer {} is too large for such a file", layer.id));
        RecipeV1::of(layer).ok_or_else(why)
    };
    let image = |image: &Image| ImageV1 {
        document: image.config.bytes().to_vec(),
        names: image
            .names
            .iter()
            .map(|name| name.as_str().to_owned())
            .collect(),
    };
    Ok(HeadV1 {
        images: images.iter().map(image).collect(),
        layers: layers.iter().map(recipe).collect::<Result<_>>()?,
        blobs,
    })
}
