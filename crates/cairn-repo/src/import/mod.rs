//! Images in: content first, without any lock; then one short transaction.

mod archive;
mod estimate;
mod layers;
mod names;
mod publish;
mod pull;
mod root;

use std::path::Path;

use cairn_image::{Platform, Source, SourceImage, Spool};
use cairn_model::{Digest, ImageRef, Watch};
use cairn_store::IngestStats;
use cairn_sys::threads;
use cairn_trust::FileKey;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::chunks::Recipes;
use crate::error::{Error, Result};
use crate::images::Images;
use crate::repo::Repo;
use crate::report;
use crate::transfer::is_transfer;

pub use estimate::{Estimate, EstimatedFile, EstimatedImage, EstimatedLayer};
pub(crate) use publish::IMPORTED;
pub use pull::{PullOptions, Pulled};
pub(crate) use root::forget_trees;

/// Most layers of an archive that are read at once.
const JOBS_MAX: usize = 4;

/// What an import brought.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Imported {
    /// Id of the image.
    #[serde(serialize_with = "report::text")]
    pub id: Digest,
    /// Names it has now through this import.
    #[serde(serialize_with = "report::texts")]
    pub names: Vec<ImageRef>,
    /// Number of layers.
    pub layers: usize,
    /// Layers that were there before and were not read.
    pub layers_present: usize,
    /// What the store did.
    #[serde(flatten, serialize_with = "stored")]
    pub stats: IngestStats,
    /// Sockets and mounts that were left out of a directory.
    #[serde(serialize_with = "report::paths")]
    pub left_out: Vec<Vec<u8>>,
    /// Names in the archive that cannot be names here.
    pub names_left_out: Vec<NameLeftOut>,
    /// Names that another image had before.
    #[serde(rename = "names_taken")]
    pub taken: Vec<Renamed>,
}

fn stored<S: Serializer>(stats: &IngestStats, to: S) -> Result<S::Ok, S::Error> {
    let mut fields = to.serialize_map(None)?;
    fields.serialize_entry("bytes_read", &stats.bytes_in)?;
    fields.serialize_entry("bytes_new", &stats.bytes_new)?;
    fields.serialize_entry("bytes_stored", &stats.bytes_stored)?;
    fields.end()
}

/// A name that an image has in its archive and not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NameLeftOut {
    /// As the archive has it.
    pub name: String,
    /// Why it is no name.
    pub why: String,
}

/// A name that went from one image to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Renamed {
    /// The name.
    #[serde(serialize_with = "report::text")]
    pub name: ImageRef,
    /// The image that had it.
    #[serde(serialize_with = "report::text")]
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
    /// A file of images needs a signature of this key, and nothing else is taken.
    pub verify_key: Option<FileKey>,
}

impl Images<'_> {
    /// Imports whatever `path` is: archive, layout, root file system tar, directory, `-` for a stream.
    pub fn import(&self, path: &Path, options: &ImportOptions) -> Result<Vec<Imported>> {
        let done = self.import_all(path, options)?;
        self.repo.note_growth("import");
        Ok(done)
    }

    fn import_all(&self, path: &Path, options: &ImportOptions) -> Result<Vec<Imported>> {
        let _span = tracing::info_span!("import", source = %path.display()).entered();
        let repo = self.repo;
        let import = Import {
            repo,
            options,
            jobs: threads::cores().min(JOBS_MAX),
            recipes: None,
        };
        if is_transfer(path) {
            let key = options.verify_key.as_ref();
            let taken = repo.take_transfer(path, &options.platform, key)?;
            return import.named(path, &taken.images);
        }
        if options.verify_key.is_some() {
            let why = "only files that \"cairn export --format cairn\" wrote have signatures";
            return Err(Error::Invalid(format!("{}: {why}", path.display())));
        }
        let source = import.source(path)?;
        let bring = || match &source {
            Source::Images(found) => import.images(&found.images),
            Source::RootTar(source) => Ok(vec![import.root_tar(path, source)?]),
            Source::Directory(directory) => Ok(vec![import.directory(directory)?]),
        };
        repo.with_room(bring, || Ok(import.estimate(path, &source)?.disk_bytes))
    }
}

/// An import under way.
#[derive(Clone, Copy)]
struct Import<'a> {
    repo: &'a Repo,
    options: &'a ImportOptions,
    /// Layers that are read at once.
    jobs: usize,
    /// Layers that can be put together from blobs which are there.
    recipes: Option<&'a Recipes>,
}

impl Import<'_> {
    /// Imports the images of an archive; a name is one for one.
    fn named(&self, path: &Path, images: &[SourceImage]) -> Result<Vec<Imported>> {
        self.check_name(path, images)?;
        self.images(images)
    }

    /// A name is one for one image.
    fn check_name(&self, path: &Path, images: &[SourceImage]) -> Result<()> {
        if images.len() > 1 && self.options.name.is_some() {
            return Err(Error::Invalid(format!(
                "{} has {} images; --name can only be used with one",
                path.display(),
                images.len()
            )));
        }
        Ok(())
    }
}

impl Import<'_> {
    /// What `path` is, where it can be imported with these options.
    fn source(&self, path: &Path) -> Result<Source> {
        let spool = Spool {
            directory: self.repo.spool(),
            bytes_max: self.repo.options.limits.bytes_max,
        };
        let source = cairn_image::detect(path, &self.options.platform, &spool)?;
        if let Source::Images(found) = &source {
            for item in &found.passed_over {
                self.repo.watch().passed_over(&item.what, &item.why);
            }
            self.check_name(path, &found.images)?;
        }
        Ok(source)
    }
}

/// Ends where the work is to end.
pub(crate) struct Reading<'a, R> {
    pub inner: R,
    pub watch: &'a Watch,
}

impl<R: std::io::Read> std::io::Read for Reading<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.watch.check()?;
        self.inner.read(out)
    }
}

/// The id of an image that was made, for reports of what made it.
pub(crate) fn id_of<S: Serializer>(image: &Imported, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&image.id)
}
