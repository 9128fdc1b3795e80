//! Layers of an image: read where they are not there yet, several at once.

use std::io::Read;

use cairn_image::{LayerSource, SourceImage};
use cairn_layer::{Layer, import_tar};
use cairn_model::{BlobId, Class, Digest, Entry, Kind, one_line};
use cairn_store::Ingest;
use cairn_sys::threads;

use super::{Import, Reading};
use crate::chunks::{Recipes, rebuilt};
use crate::error::{At, Error, Result};
use crate::repo::Repo;

pub(super) struct NewLayer {
    pub layer: Layer,
    pub entries: Vec<Entry>,
    /// True where it was read from its source, and not put together from blobs.
    pub is_read: bool,
}

impl Import<'_> {
    /// Reads the layers that are not known, as many at once as there are cores.
    pub(super) fn read_layers(
        &self,
        ingest: &Ingest,
        image: &SourceImage,
        known: &[Option<Layer>],
        title: &str,
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
            if self.recipe(&diff_ids[*i]).is_some() {
                continue;
            }
            self.repo.watch().total(image.layers[*i].stored_bytes()?);
        }
        let read = threads::map(self.jobs, &todo, |i| {
            if let Some(rebuilt) = self.rebuild(ingest, &image.layers[*i], *i, diff_ids[*i])? {
                return Ok(rebuilt);
            }
            let read = || self.read_layer(ingest, &image.layers[*i], *i, diff_ids[*i]);
            let done = match read() {
                // What an earlier pull left of it may be wrong after a power cut.
                Err(e) if e.class() != Class::Cancelled && image.layers[*i].forget() => read(),
                done => done,
            };
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
                    is_read: new.is_read,
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
    ) -> Result<NewLayer> {
        let stream = source.open(self.repo.watch())?;
        self.read_tar(ingest, stream, number, expected, true)
    }

    fn recipe(&self, diff_id: &Digest) -> Option<&Layer> {
        self.recipes?.get(diff_id)
    }

    /// Puts a layer together from blobs that are there. None where it has to be read from its source.
    fn rebuild(
        &self,
        ingest: &Ingest,
        source: &LayerSource,
        number: usize,
        expected: Digest,
    ) -> Result<Option<NewLayer>> {
        let Some(recipe) = self.recipe(&expected) else {
            return Ok(None);
        };
        let tar = rebuilt(&self.repo.store, recipe).at("start a thread for", self.repo.root())?;
        match self.read_tar(ingest, tar, number, expected, false) {
            Ok(layer) => {
                self.recipes.into_iter().for_each(Recipes::count);
                Ok(Some(layer))
            }
            Err(e) if e.class() == Class::Cancelled => Err(e),
            Err(e) => {
                let what = format!("the chunks of layer {expected}");
                self.repo.watch().passed_over(&what, &one_line(&e));
                self.repo.watch().total(source.stored_bytes()?);
                Ok(None)
            }
        }
    }

    fn read_tar(
        &self,
        ingest: &Ingest,
        tar: impl Read,
        number: usize,
        expected: Digest,
        is_read: bool,
    ) -> Result<NewLayer> {
        let mut stream = Reading {
            inner: tar,
            watch: self.repo.watch(),
        };
        let tar = import_tar(&mut stream, ingest.feeder(), self.repo.options.limits)?;
        if tar.diff_id != expected {
            return Err(Error::DiffId {
                layer: number + 1,
                expected,
                actual: tar.diff_id,
            });
        }
        Ok(NewLayer {
            layer: tar.layer,
            entries: tar.entries,
            is_read,
        })
    }
}

impl Repo {
    /// True where every blob of a layer is there, here or in the base.
    pub(crate) fn is_whole(&self, layer: &Layer) -> bool {
        let has = |id: &BlobId| self.store.pack_of(id).is_ok();
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
}
