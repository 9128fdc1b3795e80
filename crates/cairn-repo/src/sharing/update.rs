//! Brings the table up to the layers and documents that are there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use cairn_layer::Layer;
use cairn_model::{BlobId, Content, Kind};
use cairn_store::{Index, StreamRef};
use cairn_sys::threads;

use super::file;
use super::table::{BlobKey, Count, Holder, HolderKey, New, NewFile, Role, Table};
use crate::error::Result;
use crate::gc::Roots;
use crate::repo::Repo;

/// Removed holders are kept until they are more than this and a quarter of the others: a removal is seldom
/// the last one, and an image that comes back is known then.
const REMOVED_MAX: usize = 16;

/// What has to be read to know which blobs a holder has.
enum Source<'a> {
    Layer(&'a Layer),
    Document(&'a StreamRef),
}

/// The blobs of a holder, with what they are to it, and its files of several pieces.
#[derive(Default)]
struct Contents {
    blobs: HashMap<BlobId, Role>,
    files: HashMap<BlobKey, u64>,
    count: Count,
}

impl Contents {
    fn add_metadata(&mut self, ids: Vec<BlobId>) {
        for id in ids {
            self.blobs.entry(id).or_insert(Role::Metadata);
        }
    }

    /// Adds what the blobs are differences from: as long as these are needed, so is that.
    fn add_references(&mut self, index: &Index) -> Result<()> {
        if index.list().recoded == 0 {
            return Ok(());
        }
        let mut others = Vec::new();
        for id in self.blobs.keys() {
            let found = index.find(id)?;
            others.extend(found.and_then(|found| found.slot.codec.reference()));
        }
        self.add_metadata(others);
        Ok(())
    }

    fn add_file(&mut self, content: &Content) {
        let data = content.data_bytes();
        self.count.holes += content.size - data;
        let role = match content.pieces.len() {
            1 => Role::Whole,
            _ => Role::Chunk,
        };
        if role == Role::Chunk && data > 0 {
            let object = content.object();
            self.files.insert(key_of(object.as_bytes()), data);
        }
        for (id, len) in content.blobs() {
            // A small file may have the bytes of a manifest; it is content then.
            let before = self.blobs.entry(id).or_insert(Role::Metadata);
            let bytes = match before.is_content() {
                false => &mut self.count.distinct,
                true => &mut self.count.repeated,
            };
            *bytes += u64::from(len);
            *before = role.max(*before);
        }
    }
}

fn hash_stream(hasher: &mut blake3::Hasher, stream: &StreamRef) {
    hasher.update(stream.id.as_bytes());
    hasher.update(&[u8::from(stream.list)]);
    hasher.update(&stream.len.to_le_bytes());
}

/// Manifest and framing decide which blobs a layer has.
pub(super) fn key_of_layer(layer: &Layer) -> HolderKey {
    let mut hasher = blake3::Hasher::new_derive_key("cairn sharing: layer");
    hash_stream(&mut hasher, &layer.manifest);
    if let Some(framing) = &layer.framing {
        hash_stream(&mut hasher, framing);
    }
    *hasher.finalize().as_bytes()
}

pub(super) fn key_of_document(document: &StreamRef) -> HolderKey {
    let mut hasher = blake3::Hasher::new_derive_key("cairn sharing: document");
    hash_stream(&mut hasher, document);
    *hasher.finalize().as_bytes()
}

/// The part of an id that stands for it.
pub(super) fn blob_key(id: &BlobId) -> BlobKey {
    key_of(id.as_bytes())
}

fn key_of(id: &[u8; 32]) -> BlobKey {
    let mut key = BlobKey::default();
    key.copy_from_slice(&id[..16]);
    key
}

impl Repo {
    /// The table over these roots. What was not in it is read; it is kept for the next time, if that is
    /// possible.
    pub(crate) fn sharing(&self, roots: &Roots) -> Result<Table> {
        let mut table = self.kept_sharing().unwrap_or_default();
        if self.bring_up(&mut table, roots)? {
            table.hash = self.keep(&table);
        }
        Ok(table)
    }

    /// The same, from nothing.
    pub(crate) fn sharing_anew(&self, roots: &Roots) -> Result<Table> {
        let mut table = Table::default();
        self.bring_up(&mut table, roots)?;
        Ok(table)
    }

    /// True where the table that is kept, brought up to these roots, says what the layers say.
    pub(crate) fn sharing_is_right(&self, roots: &Roots) -> Result<bool> {
        let Some(mut kept) = self.kept_sharing() else {
            return Ok(true);
        };
        self.bring_up(&mut kept, roots)?;
        Ok(kept.agrees_with(&self.sharing_anew(roots)?))
    }

    /// Forgets the table, so that it is made anew. Nothing else depends on it.
    pub(crate) fn forget_sharing(&self) {
        let _ = std::fs::remove_file(self.sharing_path());
    }

    fn kept_sharing(&self) -> Option<Table> {
        let bytes = std::fs::read(self.sharing_path()).ok()?;
        let mut table = file::decode(&bytes)?;
        table.hash = file::trailer(&bytes);
        Some(table)
    }

    fn sharing_path(&self) -> PathBuf {
        self.layout().index().join("sharing")
    }

    /// True where something changed.
    fn bring_up(&self, table: &mut Table, roots: &Roots) -> Result<bool> {
        let index = self.store.reload_index()?;
        let recoded = index.list().recoded;
        let mut changed = table.recoded != recoded;
        if changed {
            // Blobs that layers hold may be differences from others than before.
            *table = Table {
                recoded,
                ..Table::default()
            };
        }
        let layers = roots
            .layers
            .iter()
            .map(|l| (key_of_layer(l), Source::Layer(l)));
        let documents = roots
            .documents
            .iter()
            .map(|d| (key_of_document(d), Source::Document(d)));
        let mut wanted: HashMap<HolderKey, Source<'_>> = layers.chain(documents).collect();
        for holder in &mut table.holders {
            let alive = wanted.remove(&holder.key).is_some();
            changed |= holder.alive != alive;
            holder.alive = alive;
        }
        let mut missing: Vec<_> = wanted.into_iter().collect();
        missing.sort_unstable_by_key(|(key, _)| *key);
        changed |= self.add_holders(table, &missing, &index)?;
        let removed = table.holders.iter().filter(|holder| !holder.alive).count();
        if removed > REMOVED_MAX && removed > (table.holders.len() - removed) / 4 {
            table.compact();
            changed = true;
        }
        Ok(changed)
    }

    fn add_holders(
        &self,
        table: &mut Table,
        sources: &[(HolderKey, Source<'_>)],
        index: &Index,
    ) -> Result<bool> {
        let read = threads::map(threads::cores(), sources, |(_, source)| {
            let mut contents = self.contents(source)?;
            if let Some(contents) = &mut contents {
                contents.add_references(index)?;
            }
            Ok::<_, crate::Error>(contents)
        })?;
        let (mut new, mut new_files): (Vec<New>, Vec<NewFile>) = (Vec::new(), Vec::new());
        for ((key, source), contents) in sources.iter().zip(read) {
            // A document that does not read is told of with the list of images.
            let Some(contents) = contents else {
                continue;
            };
            let number = table.holders.len() as u32;
            table.holders.push(Holder {
                key: *key,
                alive: true,
                is_layer: matches!(source, Source::Layer(_)),
                count: contents.count,
            });
            let blobs = contents.blobs.iter();
            new.extend(blobs.map(|(id, role)| (blob_key(id), number, *role)));
            let files = contents.files.iter();
            new_files.extend(files.map(|(key, bytes)| (*key, number, *bytes)));
        }
        let changed = !new.is_empty();
        table.add(new, new_files);
        Ok(changed)
    }

    fn contents(&self, source: &Source<'_>) -> Result<Option<Contents>> {
        self.watch().check()?;
        match source {
            Source::Layer(layer) => self.contents_of_layer(layer).map(Some),
            Source::Document(document) => match self.store.stream_blobs(document) {
                Err(e) if e.is_corruption() => Ok(None),
                ids => {
                    let mut contents = Contents::default();
                    contents.add_metadata(ids?);
                    Ok(Some(contents))
                }
            },
        }
    }

    fn contents_of_layer(&self, layer: &Layer) -> Result<Contents> {
        let mut contents = Contents::default();
        for stream in std::iter::once(&layer.manifest).chain(&layer.framing) {
            contents.add_metadata(self.store.stream_blobs(stream)?);
        }
        for entry in layer.read_entries(&self.store)? {
            if let Kind::File(content) = &entry.kind {
                contents.add_file(content);
            }
        }
        Ok(contents)
    }

    /// Keeps the table; the hash of its file.
    fn keep(&self, table: &Table) -> Option<[u8; 32]> {
        let bytes = file::encode(table);
        self.keep_derived(&self.sharing_path(), &bytes);
        file::trailer(&bytes)
    }

    /// Keeps what was derived. Nothing waits for it to be durable, and a repository that cannot be written to is asked
    /// the same way.
    pub(super) fn keep_derived(&self, path: &Path, bytes: &[u8]) {
        let Ok(lease) = self.store.lease() else {
            return;
        };
        let new = lease.directory().join("derived");
        let written = std::fs::write(&new, bytes);
        if let Err(e) = written.and_then(|()| std::fs::rename(&new, path)) {
            tracing::debug!(error = %e, path = %path.display(), "what was derived is not kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_model::Driver;
    use cairn_store::ScrubOptions;

    use super::*;
    use crate::{ImportOptions, Options, Share, Stats};

    /// What of a report does not depend on the files that it counts.
    fn counted(stats: Stats) -> (u64, u64, Vec<Share>, Vec<Share>) {
        (stats.unique, stats.blobs, stats.images, stats.layers)
    }

    fn repository(place: &std::path::Path) -> Repo {
        let files = place.join("files");
        std::fs::create_dir(&files).unwrap();
        for n in 0..5_u8 {
            std::fs::write(files.join(n.to_string()), [n; 3000]).unwrap();
        }
        let options = Options {
            driver: Some(Driver::Copy),
            ..Options::default()
        };
        let repo = Repo::open_or_create(&place.join("r"), options).unwrap();
        let import = ImportOptions {
            name: Some("some:1".parse().unwrap()),
            platform: cairn_image::Platform::host(),
            read_all: false,
            verify_key: None,
        };
        repo.images().import(&files, &import).unwrap();
        repo
    }

    #[test]
    fn a_table_that_is_wrong_is_named_and_made_anew() {
        let place = tempfile::tempdir().unwrap();
        let repo = repository(place.path());
        let right = counted(repo.stats().unwrap());
        let mut table = repo.kept_sharing().unwrap();
        let last = table.blobs.pop().unwrap();
        repo.keep(&table);
        assert!(!repo.stats_are_right().unwrap());
        let report = repo.check().packs(&ScrubOptions::structure()).unwrap();
        assert!(report.faults[0].contains("sharing table"), "{report:?}");
        assert!(repo.recount().unwrap_err().is_corruption());
        assert!(repo.kept_sharing().is_none());
        assert_eq!(counted(repo.stats().unwrap()), right);

        table.blobs.push(last);
        table.holders[0].count.distinct += 1;
        repo.keep(&table);
        let repaired = repo.check().repair().unwrap();
        assert!(repaired.is_sound(), "{repaired:?}");
        assert!(
            repaired
                .repaired
                .iter()
                .any(|done| done.contains("sharing table"))
        );
        assert_eq!(counted(repo.stats().unwrap()), right);
        assert_eq!(counted(repo.recount().unwrap()), right);
    }

    #[test]
    fn a_table_that_does_not_read_is_made_anew() {
        let place = tempfile::tempdir().unwrap();
        let repo = repository(place.path());
        let right = counted(repo.stats().unwrap());
        let path = repo.sharing_path();
        let good = std::fs::read(&path).unwrap();
        for bad in [&b""[..], b"garbage", &good[..good.len() / 2], &good[1..]] {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(counted(repo.stats().unwrap()), right);
            assert_eq!(std::fs::read(&path).unwrap(), good);
        }
    }
}
