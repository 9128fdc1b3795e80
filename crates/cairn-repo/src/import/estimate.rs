//! What an import or a pull would bring, found out without writing anything.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use cairn_image::{LayerSource, Source, SourceImage};
use cairn_layer::survey;
use cairn_model::{BlobId, Digest, Entry, ImageRef, Kind, LayerId};
use cairn_registry::{Client, Location};
use cairn_store::{Rehearsed, pack_bytes};
use serde::Serialize;

use super::names::Names;
use super::pull::PullOptions;
use super::{Import, ImportOptions};
use crate::error::Result;
use crate::images::Images;
use crate::report;

/// What an import or a pull would bring.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Estimate {
    /// The images.
    pub images: Vec<EstimatedImage>,
    /// Their layers, each once.
    pub layers: Vec<EstimatedLayer>,
    /// Bytes that would be read or fetched, as they are there: compressed, mostly.
    pub source_bytes: u64,
    /// Bytes of content, manifests and documents that are not there yet; unknown of a registry's image.
    pub bytes_new: Option<u64>,
    /// The same as they would be stored.
    pub bytes_stored: Option<u64>,
    /// The same as they would lie on the disk, with the headers and directories of packs.
    pub disk_bytes: Option<u64>,
    /// Files that have new content.
    pub files_new: u64,
    /// Those of them that would take most, the largest first.
    pub files: Vec<EstimatedFile>,
}

/// An image that would come.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct EstimatedImage {
    /// Its id; none where the time of the import would be in it.
    #[serde(serialize_with = "text_of")]
    pub id: Option<Digest>,
    /// Names it would get.
    #[serde(serialize_with = "report::texts")]
    pub names: Vec<ImageRef>,
    /// Number of its layers.
    pub layers: usize,
    /// Those that are there.
    pub layers_present: usize,
}

fn text_of<T: ToString, S: serde::Serializer>(id: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
    id.as_ref().map(ToString::to_string).serialize(to)
}

/// A layer of an image that would come.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct EstimatedLayer {
    /// Its diff id; none for a directory, whose tar nobody wants yet.
    #[serde(serialize_with = "text_of")]
    pub diff_id: Option<Digest>,
    /// The id of its entries, of a directory.
    #[serde(serialize_with = "text_of")]
    pub id: Option<LayerId>,
    /// True where it would not be read.
    pub present: bool,
    /// Bytes that it takes where it comes from.
    pub source_bytes: u64,
    /// Bytes of file content that are not there yet, each counted with the first layer that has it.
    pub bytes_new: u64,
    /// The same as they would be stored.
    pub bytes_stored: u64,
}

/// A file with content that is not there yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EstimatedFile {
    /// From the root.
    #[serde(serialize_with = "rooted")]
    pub path: Vec<u8>,
    /// Bytes that are not there yet, each counted with the first file that has it.
    pub bytes_new: u64,
    /// The same as they would be stored.
    pub bytes_stored: u64,
}

fn rooted<S: serde::Serializer>(path: &[u8], to: S) -> Result<S::Ok, S::Error> {
    report::text(&format!("/{}", cairn_model::path_display(path)), to)
}

impl Images<'_> {
    /// What an import of `path` would bring, and the `files_max` files that would take most. It reads what the
    /// import would read and writes nothing.
    pub fn estimate(
        &self,
        path: &Path,
        options: &ImportOptions,
        files_max: usize,
    ) -> Result<Estimate> {
        let _span = tracing::info_span!("estimate", source = %path.display()).entered();
        let import = Import {
            repo: self.repo,
            options,
            jobs: 1,
            recipes: None,
        };
        let mut estimate = import.estimate(path, &import.source(path)?)?;
        let order = |file: &EstimatedFile| (file.bytes_stored, file.bytes_new);
        estimate.files.sort_by_key(|file| Reverse(order(file)));
        estimate.files.truncate(files_max);
        Ok(estimate)
    }

    /// What a pull would fetch. Only documents are fetched for it, so what of the layers is new is not known.
    pub fn estimate_pull(
        &self,
        client: &Arc<Client>,
        location: &Location,
        options: &PullOptions,
    ) -> Result<Estimate> {
        let pulled = cairn_registry::pull(client, location, &options.platform)?;
        let image = super::pull::only(location, options, &pulled.found.images)?;
        let import_options = options.of_import();
        let import = Import {
            repo: self.repo,
            options: &import_options,
            jobs: 1,
            recipes: None,
        };
        let mut estimate = Estimate::default();
        let mut layers_present = 0;
        let diff_ids = image.config.diff_ids();
        let known = import.present(&diff_ids)?;
        for ((id, known), source) in diff_ids.iter().zip(known).zip(&image.layers) {
            layers_present += usize::from(known.is_some());
            estimate.add_layer(Some(*id), known.is_some(), source)?;
        }
        estimate.images.push(EstimatedImage {
            id: Some(image.config.digest()),
            names: Names::of(&image.names).valid,
            layers: diff_ids.len(),
            layers_present,
        });
        Ok(estimate)
    }
}

impl Import<'_> {
    /// What the import of `source`, which is at `path`, would bring.
    pub(super) fn estimate(&self, path: &Path, source: &Source) -> Result<Estimate> {
        match source {
            Source::Images(found) => self.estimate_images(&found.images),
            Source::RootTar(source) => self.estimate_root_tar(path, source),
            Source::Directory(directory) => self.estimate_directory(directory),
        }
    }

    fn estimate_images(&self, images: &[SourceImage]) -> Result<Estimate> {
        let rehearsal = self.repo.store.rehearse()?;
        let mut fresh = HashMap::new();
        let mut estimate = Estimate::default();
        for image in images {
            let names = self.names(image);
            let ready = self.read_image(rehearsal.ingest(), image, &names.valid, &mut fresh)?;
            estimate.images.push(EstimatedImage {
                id: Some(image.config.digest()),
                names: names.valid,
                layers: ready.layers.len(),
                layers_present: ready.layers_present,
            });
        }
        let mut new = New::of(rehearsal.finish()?, &mut estimate);
        for image in images {
            for (id, source) in image.config.diff_ids().iter().zip(&image.layers) {
                // A layer of several images is told once.
                let read = fresh.remove(id);
                if read.is_none() && estimate.layers.iter().any(|l| l.diff_id == Some(*id)) {
                    continue;
                }
                estimate.add_layer(Some(*id), read.is_none(), source)?;
                let entries = read.map(|read| read.entries);
                new.causes(&entries.unwrap_or_default(), &mut estimate);
            }
        }
        Ok(estimate)
    }

    fn estimate_root_tar(&self, path: &Path, source: &LayerSource) -> Result<Estimate> {
        let rehearsal = self.repo.store.rehearse()?;
        let tar = self.read_root_tar(rehearsal.ingest(), path, source)?;
        let mut estimate = self.of_one_layer(false);
        estimate.add_layer(Some(tar.diff_id), false, source)?;
        New::of(rehearsal.finish()?, &mut estimate).causes(&tar.entries, &mut estimate);
        Ok(estimate)
    }

    fn estimate_directory(&self, path: &Path) -> Result<Estimate> {
        let survey = survey(path)?;
        self.repo.watch().total(survey.bytes);
        let known = self.known_now(&survey)?;
        let known = known.filter(|layer| self.repo.is_whole(layer));
        let mut estimate = self.of_one_layer(known.is_some());
        let mut layer = EstimatedLayer {
            diff_id: None,
            id: known.map(|layer| layer.id),
            present: known.is_some(),
            source_bytes: survey.bytes,
            bytes_new: 0,
            bytes_stored: 0,
        };
        let rehearsal = self.repo.store.rehearse()?;
        let mut entries = Vec::new();
        if known.is_none() {
            let (scanned, _) = self.scan_directory(rehearsal.ingest(), path)?;
            layer.id = Some(scanned.layer.id);
            estimate.source_bytes = survey.bytes;
            entries = scanned.entries;
        }
        estimate.layers.push(layer);
        New::of(rehearsal.finish()?, &mut estimate).causes(&entries, &mut estimate);
        Ok(estimate)
    }

    fn of_one_layer(&self, present: bool) -> Estimate {
        let image = EstimatedImage {
            id: None,
            names: self.options.name.iter().cloned().collect(),
            layers: 1,
            layers_present: usize::from(present),
        };
        Estimate {
            images: vec![image],
            ..Estimate::default()
        }
    }
}

impl Estimate {
    fn add_layer(
        &mut self,
        diff_id: Option<Digest>,
        present: bool,
        source: &LayerSource,
    ) -> Result<()> {
        let source_bytes = source.stored_bytes()?;
        if !present {
            self.source_bytes += source_bytes;
        }
        self.layers.push(EstimatedLayer {
            diff_id,
            id: None,
            present,
            source_bytes,
            bytes_new: 0,
            bytes_stored: 0,
        });
        Ok(())
    }
}

/// Blobs that are new and were not put down to a file yet.
struct New(HashMap<BlobId, u32>);

impl New {
    fn of(done: Rehearsed, estimate: &mut Estimate) -> Self {
        let stats = done.stats;
        estimate.bytes_new = Some(stats.bytes_new);
        estimate.bytes_stored = Some(stats.bytes_stored);
        let disk_bytes = match stats.blobs_new {
            0 => 0,
            blobs => pack_bytes(blobs, stats.bytes_stored),
        };
        estimate.disk_bytes = Some(disk_bytes);
        Self(done.new)
    }

    /// Puts new blobs down to the files of the layer that was added last.
    fn causes(&mut self, entries: &[Entry], estimate: &mut Estimate) {
        for entry in entries {
            let Kind::File(content) = &entry.kind else {
                continue;
            };
            let (mut bytes_new, mut bytes_stored) = (0, 0);
            for (id, len) in content.blobs() {
                if let Some(stored) = self.0.remove(&id) {
                    bytes_new += u64::from(len);
                    bytes_stored += u64::from(stored);
                }
            }
            if bytes_new == 0 {
                continue;
            }
            if let Some(layer) = estimate.layers.last_mut() {
                layer.bytes_new += bytes_new;
                layer.bytes_stored += bytes_stored;
            }
            estimate.files_new += 1;
            estimate.files.push(EstimatedFile {
                path: entry.path.clone(),
                bytes_new,
                bytes_stored,
            });
        }
    }
}
