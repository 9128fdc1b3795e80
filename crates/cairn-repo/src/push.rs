//! Images to a registry. A layer goes out as a blob that the registry has, if it came in or went out as one; else
//! it is compressed, the same way each time, and uploaded.

use std::str::FromStr;

use cairn_image::{Compression, ExportLayer, Packed, pack, sha256};
use cairn_layer::Layer;
use cairn_model::{Digest, Transfer, TransferState};
use cairn_registry::{Client, Location};
use cairn_sys::threads;
use cairn_trust::SigningKey;
use serde::Serialize;
use serde_json::{Value, json};

use crate::chunks::{Attachment, ChunksPushed};
use crate::error::{Error, Result};
use crate::forms::{self, Form};
use crate::images::{Image, Images};
use crate::origins;
use crate::referrers::{Beside, Carried};
use crate::report;
use crate::rows;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Repositories that blobs are taken from: each one is asked for in the token.
const MOUNTS_MAX: usize = 4;

/// How layers are compressed: `gzip`, `zstd:19`, `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// By what.
    pub compression: Compression,
    /// How hard, where it is not the usual level.
    pub level: Option<u32>,
}

impl FromStr for Packing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level)),
            None => (text, None),
        };
        let compression: Compression = name.parse()?;
        let max = match compression {
            Compression::None => 0,
            Compression::Gzip => 9,
            Compression::Zstd => 19,
        };
        let level = level.map(|level| {
            let number = level.parse().ok().filter(|level| (1..=max).contains(level));
            number.ok_or_else(|| format!("{level:?} is not a level of {name}; use 1 to {max}"))
        });
        Ok(Self {
            compression,
            level: level.transpose()?,
        })
    }
}

/// What a push is asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct PushOptions<'a> {
    /// How layers are compressed, and that those are compressed so which the registry has in another form; without
    /// it any form will do, and gzip where none is there.
    pub packing: Option<Packing>,
    /// Layers that are compressed and sent at once; as many as there are processors where it is not given.
    pub jobs: Option<usize>,
    /// Attach what other repositories of Cairn need to fetch single blobs.
    pub chunks: bool,
    /// Sign the manifest with this key, before the tag leads to it.
    pub sign_by: Option<&'a SigningKey>,
}

/// What a push brought to the registry.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Pushed {
    /// Id of the image.
    #[serde(serialize_with = "report::text")]
    pub id: Digest,
    /// Digest of its manifest there.
    #[serde(serialize_with = "report::text")]
    pub digest: Digest,
    /// Number of layers.
    pub layers: usize,
    /// Layers that the registry had.
    pub layers_present: usize,
    /// Bytes of the blobs that were uploaded for the image.
    pub bytes_sent: u64,
    /// What was attached, where that was asked for.
    pub chunks: Option<ChunksPushed>,
    /// What became of what is kept beside the image, where something is.
    pub referrers: Option<Carried>,
}

/// A layer that is in the registry.
struct There {
    diff_id: Digest,
    form: Form,
    sent: u64,
}

impl Images<'_> {
    /// Brings an image to `location`. `client` makes the client for it, which may also take blobs from some
    /// repositories of the same registry.
    pub fn push(
        &self,
        reference: &str,
        location: &Location,
        client: &dyn Fn(&[String]) -> Client,
        options: &PushOptions<'_>,
    ) -> Result<Pushed> {
        let _span = tracing::info_span!("push", reference = %location).entered();
        let Some(tag) = location.tag() else {
            return Err(Error::Invalid(format!(
                "{location} names a digest; an image is pushed to a tag"
            )));
        };
        let image = self.settled(self.find(reference)?)?;
        let layers = once_each(&image.layers);
        let beside = self.repo.beside(&image)?;
        let mut known = self.known(&layers, options)?;
        let came = beside
            .as_ref()
            .map_or(&[][..], |beside| &beside.original.layers);
        // With the blobs that it came with the manifest is the one that it came with.
        let first = |form: &Form| !came.contains(&form.digest);
        known.iter_mut().for_each(|forms| forms.sort_by_key(first));
        let client = client(&mounts(&known, location));
        let push = Push {
            images: *self,
            client: &client,
            options,
            registry: location.registry(),
            came,
        };
        let attachment = match options.chunks {
            true => Some(Attachment::begin(self.repo, &client, tag)?),
            false => None,
        };
        let sent_chunks = attachment.as_ref().map(|a| a.send(&layers)).transpose()?;
        let todo: Vec<(Layer, Vec<Form>)> = layers.into_iter().zip(known).collect();
        let there = threads::map(
            options.jobs.unwrap_or_else(threads::cores),
            &todo,
            |(layer, known)| push.layer(layer, known),
        )?;
        let mut sent = crate::chunks::put(self.repo, &client, image.config.bytes())?;
        let blobs = image.layers.iter().map(|layer| blob(layer, &there));
        let blobs = blobs.collect::<Result<Vec<&Form>>>()?;
        let same = beside.as_ref().filter(|beside| beside.has_layers(&blobs));
        let manifest = match same {
            Some(beside) => beside.original.bytes.clone(),
            None => manifest(&image, &blobs).into_bytes(),
        };
        let of_manifest = sha256(&manifest);
        let carried = match same {
            Some(beside) => Some(beside.bring_all(&client)?),
            None => beside.as_ref().map(Beside::staying),
        };
        let (kind, top) = same.map_or((MANIFEST, &manifest[..]), Beside::top);
        if let Some(key) = options.sign_by {
            // Whoever verifies asks for what the tag leads to, or for the manifest in the end.
            let mut digests = vec![sha256(top), of_manifest];
            digests.dedup();
            for digest in &digests {
                self.sign_digest(&client, location, digest, key)?;
            }
        }
        // Last, so that the tag leads to an image that has all that belongs to it.
        let digest = client.put_manifest(tag, kind, top)?;
        let attach = |(attachment, chunks): (&Attachment<'_>, _)| {
            attachment.finish(chunks, &of_manifest, manifest.len())
        };
        let chunks = attachment
            .as_ref()
            .zip(sent_chunks)
            .map(attach)
            .transpose()?;
        sent += there.iter().map(|layer| layer.sent).sum::<u64>();
        self.remember(&image.row.id, &[digest, of_manifest], &there)?;
        Ok(Pushed {
            id: image.row.id,
            digest,
            layers: image.layers.len(),
            layers_present: there.iter().filter(|layer| layer.sent == 0).count(),
            bytes_sent: sent,
            chunks,
            referrers: carried,
        })
    }

    /// Notes what the registry has now.
    fn remember(&self, id: &Digest, leading: &[Digest], there: &[There]) -> Result<()> {
        self.repo.store.db().write::<_, Error>(|txn| {
            for layer in there {
                // Removed and collected meanwhile, perhaps.
                if rows::layer_of_diff(txn, &layer.diff_id)?.is_some() {
                    forms::remember(txn, &layer.diff_id, &layer.form)?;
                }
            }
            let mut leading = leading.iter();
            leading.try_for_each(|digest| origins::remember(txn, digest, id))
        })
    }

    /// Forms of each layer that will do.
    fn known(&self, layers: &[Layer], options: &PushOptions<'_>) -> Result<Vec<Vec<Form>>> {
        let wanted = options.packing.map(|packing| packing.compression);
        self.repo.store.db().read(|rows| {
            let of = |layer: &Layer| match &layer.diff_id {
                Some(diff_id) => forms::forms(rows, diff_id),
                None => Ok(Vec::new()),
            };
            let fits = |form: &Form| wanted.is_none_or(|wanted| form.compression == wanted);
            let mut all = layers.iter().map(of).collect::<Result<Vec<_>>>()?;
            all.iter_mut().for_each(|forms| forms.retain(fits));
            Ok(all)
        })
    }
}

/// A layer that occurs twice is one blob.
fn once_each(layers: &[Layer]) -> Vec<Layer> {
    let mut out: Vec<Layer> = Vec::new();
    for layer in layers {
        if out.iter().all(|known| known.diff_id != layer.diff_id) {
            out.push(*layer);
        }
    }
    out
}

/// Repositories of the same registry that have, or had, forms of these layers.
fn mounts(known: &[Vec<Form>], location: &Location) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for form in known.iter().flatten() {
        if let Some(from) = elsewhere(form, location.registry())
            && from != location.repository()
            && !out.iter().any(|known| known == from)
            && out.len() < MOUNTS_MAX
        {
            out.push(from.to_owned());
        }
    }
    out
}

/// The repository of this registry that a form comes from.
fn elsewhere<'a>(form: &'a Form, registry: &str) -> Option<&'a str> {
    let (host, repository) = form.from.split_once('/')?;
    (host == registry).then_some(repository)
}

struct Push<'a> {
    images: Images<'a>,
    client: &'a Client,
    options: &'a PushOptions<'a>,
    registry: &'a str,
    /// Blobs of the manifest that the image came with, where that is kept.
    came: &'a [Digest],
}

impl Push<'_> {
    fn layer(&self, layer: &Layer, known: &[Form]) -> Result<There> {
        let repo = self.images.repo;
        let layer = repo.export_layer(layer)?;
        for form in known {
            if self.client.has_blob(&form.digest, form.bytes)? {
                return Ok(self.there(&layer, form.clone(), 0));
            }
        }
        for form in known {
            if let Some(from) = elsewhere(form, self.registry)
                && self.client.mount_blob(&form.digest, from)?
            {
                return Ok(self.there(&layer, form.clone(), 0));
            }
        }
        // The form that it came in, where that is to come out again.
        let mut came = (known.iter()).filter(|form| self.came.contains(&form.digest));
        let usual = came.next().map(|form| form.compression);
        let packing = self.options.packing.unwrap_or(Packing {
            compression: usual.unwrap_or(Compression::Gzip),
            level: None,
        });
        let Packed {
            file,
            bytes,
            digest,
        } = pack(&layer, packing.compression, packing.level, &repo.spool())?;
        let form = Form {
            digest,
            bytes,
            compression: packing.compression,
            from: String::new(),
        };
        let is_new = known.iter().all(|known| known.digest != digest);
        if is_new && self.client.has_blob(&digest, bytes)? {
            return Ok(self.there(&layer, form, 0));
        }
        repo.watch().total(bytes);
        self.client.put_blob(&digest, &file, bytes)?;
        Ok(self.there(&layer, form, bytes))
    }

    fn there(&self, layer: &ExportLayer<'_>, form: Form, sent: u64) -> There {
        if sent == 0 {
            self.images.repo.watch().transfer(&Transfer {
                digest: form.digest,
                bytes: form.bytes,
                total: form.bytes,
                state: TransferState::Present,
            });
        }
        There {
            diff_id: layer.diff_id,
            form: Form {
                from: self.client.name(),
                ..form
            },
            sent,
        }
    }
}

/// The blob that the registry has of a layer.
fn blob<'a>(layer: &Layer, there: &'a [There]) -> Result<&'a Form> {
    let mut there = there.iter();
    let found = there.find(|there| Some(there.diff_id) == layer.diff_id);
    Ok(&found.ok_or(Error::LayerGone)?.form)
}

/// The manifest of the image, of the blobs that the registry has.
fn manifest(image: &Image, blobs: &[&Form]) -> String {
    let descriptor = |form: &&Form| {
        let kind = form.compression.media_type();
        json!({"mediaType": kind, "digest": form.digest.to_string(), "size": form.bytes})
    };
    let layers: Vec<Value> = blobs.iter().map(descriptor).collect();
    let config = image.config.bytes();
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": sha256(config).to_string(), "size": config.len()},
        "layers": layers,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions_have_levels_within_bounds() {
        let parse = |text: &str| {
            text.parse::<Packing>()
                .ok()
                .map(|p| (p.compression, p.level))
        };
        assert_eq!(parse("gzip"), Some((Compression::Gzip, None)));
        assert_eq!(parse("gzip:9"), Some((Compression::Gzip, Some(9))));
        assert_eq!(parse("zstd:19"), Some((Compression::Zstd, Some(19))));
        assert_eq!(parse("none"), Some((Compression::None, None)));
        for bad in [
            "", "xz", "gzip:0", "gzip:10", "zstd:20", "zstd:", "zstd:x", "none:1",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
