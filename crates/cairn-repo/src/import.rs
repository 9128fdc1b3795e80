//! Images in: content first, without any lock; then one short transaction.

use std::collections::HashMap;
use std::path::Path;

use cairn_image::{Found, ImageConfig, LayerSource, Platform, Source, SourceImage, Spool};
use cairn_layer::{Layer, Tree, import_tar};
use cairn_model::{BlobId, Digest, Entry, ImageRef, Kind, SnapshotKey};
use cairn_snapshot::{Labels, Usage, graph};
use cairn_store::{Ingest, IngestStats, StreamRef, Txn, put_stream};
use cairn_sys::threads;

use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::rows::{self, ImageRow};
use crate::time;

/// Label of snapshots that an import made; they go when the last image over them goes.
pub(crate) const IMPORTED: &str = "cairn.imported";
const TRIES: usize = 3;

/// What is told while an import runs.
pub trait Progress: Sync {
    /// Bytes that will be read, as far as known.
    fn total(&self, _bytes: u64) {}
    /// Bytes read.
    fn read(&self, _bytes: u64) {}
    /// Something in the archive that is no image, and why it is passed over.
    fn passed_over(&self, _what: &str, _why: &str) {}
}

impl Progress for () {}

/// What an import brought.
#[derive(Debug, Clone)]
pub struct Imported {
    /// Id of the image.
    pub id: Digest,
    /// Names it has now through this import.
    pub names: Vec<ImageRef>,
    /// Number of layers.
    pub layers: usize,
    /// Layers that were there before and were not read.
    pub layers_present: usize,
    /// What the store did.
    pub stats: IngestStats,
    /// Sockets and mounts that were left out of a directory.
    pub left_out: Vec<Vec<u8>>,
    /// Names in the archive that cannot be names here.
    pub names_left_out: Vec<NameLeftOut>,
    /// Names that another image had before.
    pub taken: Vec<Renamed>,
}

/// A name that an image has in its archive and not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameLeftOut {
    /// As the archive has it.
    pub name: String,
    /// Why it is no name.
    pub why: String,
}

/// A name that went from one image to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renamed {
    /// The name.
    pub name: ImageRef,
    /// The image that had it.
    pub from: Digest,
}

/// What an import is asked.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// Name for the image, instead of those it has in the archive.
    pub name: Option<ImageRef>,
    /// Which image of a multi-platform index.
    pub platform: Platform,
    /// Read a directory again although nothing in it changed since the last import, and every layer of
    /// an archive although the repository has it: what is there is then compared with its digests.
    pub read_all: bool,
}

struct NewLayer {
    layer: Layer,
    entries: Vec<Entry>,
}

impl Repo {
    /// Imports whatever `path` is: archive, layout, root file system tar, directory, `-` for a stream.
    pub fn import(
        &self,
        path: &Path,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Imported>> {
        let spool = Spool {
            directory: self.spool(),
            bytes_max: self.options.limits.bytes_max,
        };
        match cairn_image::detect(path, &options.platform, &spool)? {
            Source::Images(Found {
                images,
                passed_over,
            }) => {
                for item in &passed_over {
                    progress.passed_over(&item.what, &item.why);
                }
                if images.len() > 1 && options.name.is_some() {
                    return Err(Error::Invalid(format!(
                        "{} has {} images; --name can only be used with one",
                        path.display(),
                        images.len()
                    )));
                }
                self.import_images(&images, options, progress)
            }
            Source::RootTar(source) => Ok(vec![
                self.import_root_tar(path, &source, options, progress)?,
            ]),
            Source::Directory(directory) => {
                Ok(vec![self.import_directory(&directory, options, progress)?])
            }
        }
    }

    /// Imports all images of an archive, or none.
    fn import_images(
        &self,
        images: &[SourceImage],
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Imported>> {
        let names = |image: &SourceImage| match &options.name {
            Some(name) => Names {
                valid: vec![name.clone()],
                left_out: Vec::new(),
            },
            None => Names::of(&image.names),
        };
        let names: Vec<Names> = images.iter().map(names).collect();
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_import_images(images, &names, options, progress) {
                Err(Error::LayerGone) if tries < TRIES => {}
                done => return done,
            }
        }
    }

    fn try_import_images(
        &self,
        images: &[SourceImage],
        names: &[Names],
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Imported>> {
        let ingest = self.store.ingest()?;
        let mut fresh = HashMap::new();
        let mut ready = Vec::new();
        for (image, names) in images.iter().zip(names) {
            let before = ingest.stats();
            let valid = &names.valid;
            let mut image =
                self.read_image(&ingest, image, valid, options, &mut fresh, progress)?;
            image.stats = ingest.stats().since(&before);
            image.names_left_out.clone_from(&names.left_out);
            ready.push(image);
        }
        self.publish_images(ingest, ready)
    }

    /// True where the index has every blob of a layer.
    pub(crate) fn is_whole(&self, layer: &Layer) -> bool {
        let index = self.store.index();
        let has = |id: &BlobId| index.find(id).is_ok_and(|found| found.is_some());
        let streams = std::iter::once(&layer.manifest).chain(&layer.framing);
        let stored = |stream| {
            self.store
                .stream_blobs(stream)
                .is_ok_and(|blobs| blobs.iter().all(has))
        };
        let files = || {
            layer.read_entries(&self.store).is_ok_and(|entries| {
                entries.iter().all(|entry| match &entry.kind {
                    Kind::File(content) => content.blobs().all(|(id, _)| has(&id)),
                    _ => true,
                })
            })
        };
        streams.into_iter().all(stored) && files()
    }

    /// Reads what is not there of an image; `fresh` has the layers that this import read before.
    fn read_image(
        &self,
        ingest: &Ingest,
        image: &SourceImage,
        names: &[ImageRef],
        options: &ImportOptions,
        fresh: &mut HashMap<Digest, NewLayer>,
        progress: &dyn Progress,
    ) -> Result<Ready> {
        let diff_ids = image.config.diff_ids();
        let title = names
            .first()
            .map_or_else(|| image.config.digest().to_string(), ImageRef::to_string);
        let present = self.store.db().read(|rows| {
            let layer = |id| rows::layer_of_diff(rows, id);
            diff_ids.iter().map(layer).collect::<Result<Vec<_>>>()
        })?;
        // A layer with a blob missing is read again, which heals it.
        let whole =
            |layer: Option<Layer>| layer.filter(|layer| !options.read_all && self.is_whole(layer));
        let present: Vec<Option<Layer>> = present.into_iter().map(whole).collect();
        let relied_on: Vec<Layer> = present.iter().flatten().copied().collect();
        let known: Vec<Option<Layer>> = diff_ids
            .iter()
            .zip(present)
            .map(|(id, present)| present.or_else(|| fresh.get(id).map(|new| new.layer)))
            .collect();
        let layers_present = known.iter().flatten().count();
        let new = self.read_layers(ingest, image, &known, &title, progress)?;
        for (id, new) in diff_ids.iter().zip(new) {
            if let Some(new) = new {
                fresh.insert(*id, new);
            }
        }
        // What is new is put over what is below it, so that a layer that cannot be merged fails here.
        let mut tree = Tree::new();
        let check = diff_ids.iter().any(|id| fresh.contains_key(id));
        let mut layers = Vec::new();
        for (number, (id, known)) in diff_ids.iter().zip(known).enumerate() {
            let merged = match (fresh.get(id), known) {
                (Some(new), _) => {
                    layers.push(new.layer);
                    tree.apply(&new.entries)
                }
                (None, Some(known)) => {
                    layers.push(known);
                    if !check {
                        continue;
                    }
                    tree.apply(&known.read_entries(&self.store)?)
                }
                (None, None) => return Err(Error::LayerGone),
            };
            merged.map_err(|e| Error::InLayer {
                image: title.clone(),
                layer: format!("{} ({id})", number + 1),
                source: Box::new(e.into()),
            })?;
        }
        let document = put_stream(&mut ingest.feeder(), image.config.bytes())?;
        Ok(Ready {
            config: image.config.clone(),
            document,
            layers,
            relied_on,
            names: names.to_vec(),
            layers_present,
            stats: IngestStats::default(),
            names_left_out: Vec::new(),
            taken: Vec::new(),
        })
    }

    /// Reads the layers that are not known, as many at once as there are cores.
    fn read_layers(
        &self,
        ingest: &Ingest,
        image: &SourceImage,
        known: &[Option<Layer>],
        title: &str,
        progress: &dyn Progress,
    ) -> Result<Vec<Option<NewLayer>>> {
        let diff_ids = image.config.diff_ids();
        let mut todo: Vec<usize> = (0..known.len()).filter(|i| known[*i].is_none()).collect();
        // A layer that occurs twice (an empty one, mostly) is read once.
        todo.retain(|i| {
            diff_ids[..*i]
                .iter()
                .all(|earlier| *earlier != diff_ids[*i])
        });
        for i in &todo {
            progress.total(image.layers[*i].stored_bytes()?);
        }
        let caller = std::thread::current().id();
        let read = threads::map(threads::cores().min(4), &todo, |i| {
            // This thread takes the repository's lock afterwards.
            if std::thread::current().id() != caller {
                cairn_store::give_way();
            }
            let done = self.read_layer(ingest, &image.layers[*i], *i, diff_ids[*i], progress);
            done.map_err(|e| Error::InLayer {
                image: title.to_owned(),
                layer: format!("{} ({})", i + 1, diff_ids[*i]),
                source: Box::new(e),
            })
        })?;
        let mut results: Vec<Option<NewLayer>> = known.iter().map(|_| None).collect();
        for (i, new) in todo.into_iter().zip(read) {
            results[i] = Some(new);
        }
        for i in 0..results.len() {
            if results[i].is_none()
                && let Some(twin) = (0..i).find(|j| diff_ids[*j] == diff_ids[i])
            {
                results[i] = results[twin].as_ref().map(|new| NewLayer {
                    layer: new.layer,
                    entries: new.entries.clone(),
                });
            }
        }
        Ok(results)
    }

    fn read_layer(
        &self,
        ingest: &Ingest,
        source: &LayerSource,
        number: usize,
        expected: Digest,
        progress: &dyn Progress,
    ) -> Result<NewLayer> {
        let mut stream = Reading {
            inner: source.open()?,
            progress,
        };
        let tar = import_tar(&mut stream, ingest.feeder(), self.options.limits)?;
        if tar.diff_id != expected {
            return Err(Error::DiffId {
                layer: number + 1,
                expected: expected.to_string(),
                actual: tar.diff_id.to_string(),
            });
        }
        Ok(NewLayer {
            layer: tar.layer,
            entries: tar.entries,
        })
    }

    /// Stores the document and makes layers, chain and names part of the repository at once. Layers that
    /// were `relied_on` instead of read must still be there: a collection may have taken them meanwhile.
    pub(crate) fn publish_image(
        &self,
        ingest: Ingest,
        config: &ImageConfig,
        layers: &[Layer],
        relied_on: &[Layer],
        names: &[ImageRef],
    ) -> Result<Imported> {
        let document = put_stream(&mut ingest.feeder(), config.bytes())?;
        let ready = Ready {
            config: config.clone(),
            document,
            layers: layers.to_vec(),
            relied_on: relied_on.to_vec(),
            names: names.to_vec(),
            layers_present: 0,
            stats: ingest.stats(),
            names_left_out: Vec::new(),
            taken: Vec::new(),
        };
        let published = self.publish_images(ingest, vec![ready])?;
        published.into_iter().next().ok_or(Error::LayerGone)
    }

    fn publish_images(&self, ingest: Ingest, mut images: Vec<Ready>) -> Result<Vec<Imported>> {
        self.store.publish::<_, Error>(ingest.finish()?, |txn| {
            for image in &images {
                for layer in &image.relied_on {
                    let diff_id = layer.diff_id.ok_or(Error::LayerGone)?;
                    rows::layer_of_diff(txn, &diff_id)?.ok_or(Error::LayerGone)?;
                }
            }
            images.iter_mut().try_for_each(|image| image.put(txn))
        })?;
        Ok(images.into_iter().map(Ready::imported).collect())
    }
}

/// An image whose content is stored and whose rows are not.
struct Ready {
    config: ImageConfig,
    document: StreamRef,
    layers: Vec<Layer>,
    /// Layers that were there before and were not read.
    relied_on: Vec<Layer>,
    names: Vec<ImageRef>,
    layers_present: usize,
    stats: IngestStats,
    names_left_out: Vec<NameLeftOut>,
    taken: Vec<Renamed>,
}

/// The names of an image in an archive.
struct Names {
    valid: Vec<ImageRef>,
    left_out: Vec<NameLeftOut>,
}

impl Names {
    fn of(names: &[String]) -> Self {
        let mut out = Self {
            valid: Vec::new(),
            left_out: Vec::new(),
        };
        for text in names {
            match text.parse::<ImageRef>() {
                Ok(name) if out.valid.contains(&name) => {}
                Ok(name) => out.valid.push(name),
                Err(e) => out.left_out.push(NameLeftOut {
                    name: text.clone(),
                    why: e.why().to_owned(),
                }),
            }
        }
        out
    }
}

impl Ready {
    fn put(&mut self, txn: &mut Txn<'_>) -> Result<()> {
        let (id, config) = (self.config.digest(), self.document);
        let top = put_chain(txn, &self.config, &self.layers)?;
        let imported = time::now_secs();
        rows::put_image(
            txn,
            &ImageRow {
                id,
                config,
                top,
                imported,
            },
        )?;
        self.taken.clear();
        for name in &self.names {
            if let Some(from) = rows::tag(txn, name)?.filter(|from| *from != id) {
                let name = name.clone();
                self.taken.push(Renamed { name, from });
            }
            rows::put_tag(txn, name, &id)?;
        }
        Ok(())
    }

    fn imported(self) -> Imported {
        Imported {
            id: self.config.digest(),
            names: self.names,
            layers: self.layers.len(),
            layers_present: self.layers_present,
            stats: self.stats,
            left_out: Vec::new(),
            names_left_out: self.names_left_out,
            taken: self.taken,
        }
    }
}

/// Rows of the layers and the committed snapshots over each other, named by chain id. Those that exist
/// stay as they are.
fn put_chain(
    txn: &mut Txn<'_>,
    config: &ImageConfig,
    layers: &[Layer],
) -> Result<Option<SnapshotKey>> {
    let mut parent: Option<SnapshotKey> = None;
    for (layer, chain_id) in layers.iter().zip(config.chain_ids()) {
        rows::put_layer(txn, layer)?;
        let name: SnapshotKey = chain_id.to_string().parse()?;
        let found = graph::find(txn, &name)?;
        // A snapshot that a user gave this name stands below no image, unless it is the same.
        if let Some(found) = &found
            && !found.labels.contains_key(IMPORTED)
            && (found.layer != Some(layer.id) || found.parent != parent)
        {
            return Err(Error::Invalid(format!(
                "snapshot {name} exists and is not the layer of the image that this name belongs to; remove it with \"cairn snapshot rm {name}\" and try again"
            )));
        }
        if found.is_none() {
            let usage = Usage {
                bytes: layer.content_bytes,
                inodes: layer.entries,
            };
            let labels = Labels::from([(IMPORTED.to_owned(), "yes".to_owned())]);
            graph::create_committed(txn, &name, parent.as_ref(), layer.id, usage, labels)?;
        }
        parent = Some(name);
    }
    Ok(parent)
}

pub(crate) struct Reading<'a, R> {
    pub inner: R,
    pub progress: &'a dyn Progress,
}

impl<R: std::io::Read> std::io::Read for Reading<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(out)?;
        self.progress.read(read as u64);
        Ok(read)
    }
}
