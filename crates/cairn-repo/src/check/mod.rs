//! Verification: everything is read, and what is wrong is named by what it touches.

mod affected;
mod cache;
mod last;
mod references;
mod repair;

pub(crate) use references::without_dangling;

use cairn_model::{BlobId, Class, Digest, LayerId, SnapshotKey, path_display};
use cairn_store::{Damage, Scope, ScrubOptions, layout, scrub};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::containers::Container;
use crate::error::{Error, Result};
use crate::repo::Repo;

use affected::Bad;

pub use cache::{CacheFault, CacheReport};
pub use last::LastCheck;

/// Verification and repair of a repository.
#[derive(Clone, Copy)]
pub struct Check<'a> {
    pub(crate) repo: &'a Repo,
}

impl Repo {
    /// Verification and repair.
    pub fn check(&self) -> Check<'_> {
        Check { repo: self }
    }
}

/// A blob that is damaged or gone, and what needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Affected {
    /// The blob.
    #[serde(serialize_with = "crate::report::text")]
    pub blob: BlobId,
    /// What is wrong with it.
    pub why: String,
    /// Files that have it, as layer and path; a path of `None` is the layer's own manifest or framing.
    pub files: Vec<Place>,
}

/// Where a blob is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// In the list of a layer's entries, or the framing of its tar: nothing of it can be read.
    Layer(LayerId),
    /// In a file of a layer.
    File {
        /// The layer.
        layer: LayerId,
        /// The path in it.
        path: Vec<u8>,
    },
    /// In the configuration of an image.
    Config(Digest),
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (layer, path, image) = match self {
            Self::Layer(layer) => (Some(layer), None, None),
            Self::File { layer, path } => (Some(layer), Some(path_display(path)), None),
            Self::Config(image) => (None, None, Some(image)),
        };
        let mut fields = to.serialize_struct("Place", 3)?;
        fields.serialize_field("layer", &layer.map(ToString::to_string))?;
        fields.serialize_field("path", &path)?;
        fields.serialize_field("image", &image.map(ToString::to_string))?;
        fields.end()
    }
}

/// A snapshot in use that stands on damage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AffectedHead {
    /// The snapshot.
    #[serde(serialize_with = "crate::report::text")]
    pub snapshot: SnapshotKey,
    /// The container that writes to it.
    #[serde(serialize_with = "name")]
    pub container: Option<Container>,
    /// Where it is mounted.
    pub mountpoint: Option<String>,
}

fn name<S: Serializer>(container: &Option<Container>, to: S) -> Result<S::Ok, S::Error> {
    container.as_ref().map(|c| &c.name).serialize(to)
}

const SHARING_IS_WRONG: &str =
    "the sharing table says something else than the layers; \"cairn check --repair\" makes it anew";

/// What a check found.
#[derive(Debug, Default, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// Packs read.
    pub packs: usize,
    /// Blobs read.
    pub blobs: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Layers whose every blob was found.
    #[serde(rename = "layers_whole")]
    pub layers: usize,
    /// Faults of packs, index and database as a whole.
    pub faults: Vec<String>,
    /// Blobs that are damaged or gone.
    #[serde(rename = "hits")]
    pub affected: Vec<Affected>,
    /// Packs that were passed over because they were read lately, or for a later sample.
    pub packs_skipped: usize,
    /// Why it could not be written down what was found whole.
    #[serde(skip)]
    pub forgotten: Option<String>,
    /// Names of images that are affected.
    pub images: Vec<String>,
    /// Snapshots that are affected.
    #[serde(serialize_with = "crate::report::texts")]
    pub snapshots: Vec<SnapshotKey>,
    /// Those of them that are in use: written to by a container, or mounted.
    pub heads: Vec<AffectedHead>,
    /// What the system did not let be read (no descriptor, no permission, a disk that does not answer):
    /// nothing is known of it, neither good nor bad.
    pub unread: Vec<String>,
    /// What a repair did.
    pub repaired: Vec<String>,
    /// What a repair could not bring back.
    pub lost: Vec<String>,
    /// What was found in the cache, where it was looked at.
    pub cache: CacheReport,
}

impl CheckReport {
    /// True where everything is as it was written.
    pub fn is_sound(&self) -> bool {
        let packs = self.faults.is_empty() && self.affected.is_empty() && self.lost.is_empty();
        packs && self.cache.faults.is_empty()
    }

    /// An error by what it says of the repository: damage is a fault, anything else is left open.
    fn note(&mut self, error: &Error) {
        let text = cairn_model::one_line(error);
        if error.is_corruption() {
            self.faults.push(text);
        } else {
            self.unread.push(text);
        }
    }
}

impl Check<'_> {
    /// Checks journal, database, index, packs and as many of their bytes as `options` say; then that every
    /// blob a layer or image needs is there.
    pub fn packs(&self, options: &ScrubOptions) -> Result<CheckReport> {
        let report = self.packs_telling(options, &|bytes| self.repo.watch().read(bytes))?;
        self.record(options.scope, &report);
        Ok(report)
    }

    fn packs_telling(
        &self,
        options: &ScrubOptions,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<CheckReport> {
        let _span = tracing::info_span!("check").entered();
        let mut report = CheckReport::default();
        if let Err(e) = self.repo.store.db().verify() {
            report.note(&e.into());
        }
        match self.broken_references() {
            Ok(words) => report.faults.extend(words),
            Err(e) => report.note(&e),
        }
        let places = layout::directories().map(|name| self.repo.root().join(name));
        // The cache is made again by whoever needs it.
        for place in places.filter(|place| *place != self.repo.layout().cache()) {
            if !place.is_dir() {
                let missing = format!("the directory {} is missing", place.display());
                report.faults.push(missing);
            }
        }
        let scrub = match scrub(&self.repo.store, options, progress) {
            Ok(scrub) => scrub,
            Err(e) if e.class() == Class::Cancelled => return Err(e.into()),
            Err(e) => {
                report.note(&e.into());
                return Ok(report);
            }
        };
        report
            .unread
            .extend(scrub.unread.iter().map(|e| cairn_model::one_line(e)));
        (report.packs, report.blobs, report.bytes) = (scrub.packs, scrub.blobs, scrub.bytes);
        report.packs_skipped = scrub.skipped;
        report.forgotten = scrub.forgotten.as_ref().map(|e| cairn_model::one_line(e));
        let mut bad = Bad::default();
        for damage in &scrub.damage {
            match damage {
                Damage::Pack { id, error } => {
                    bad.packs.insert(*id);
                    report.faults.push(cairn_model::one_line(error));
                }
                Damage::Blob { id, error, .. } => {
                    bad.blobs.insert(*id, cairn_model::one_line(error));
                }
                Damage::Index(error) => report.faults.push(cairn_model::one_line(error)),
                Damage::Base { pack, blob, error } => {
                    let words = cairn_model::one_line(error);
                    match blob {
                        // Whether anything here needs it comes out below; it is the base's damage all the same.
                        Some(blob) => drop(bad.blobs.insert(*blob, words.clone())),
                        None => bad.packs.extend(*pack),
                    }
                    report.faults.push(words);
                }
            }
        }
        let is_sound = report.is_sound() && bad.packs.is_empty() && bad.blobs.is_empty();
        if let Err(e) = self.find_affected(&mut report, bad) {
            report.note(&e);
        }
        match crate::referrers::check(self.repo, options.scope != Scope::Structure) {
            Ok(wrong) => wrong.iter().for_each(|(_, wrong)| report.note(wrong)),
            Err(e) => report.note(&e),
        }
        // Over damage it has nothing to be compared with.
        if is_sound {
            match self.repo.stats_are_right() {
                Ok(true) => {}
                Ok(false) => report.faults.push(SHARING_IS_WRONG.to_owned()),
                Err(e) => report.note(&e),
            }
        }
        // Half a report would be taken for a whole one.
        self.repo.watch().check()?;
        Ok(report)
    }
}
