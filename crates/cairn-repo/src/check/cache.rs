//! The cache of views: images, objects, flattened trees. All of it can be made again, and is, as soon as
//! it is found damaged.

use std::collections::{HashMap, HashSet};

use cairn_layer::Layer;
use cairn_model::{Content, Kind, ObjectId, TreeId};
use cairn_store::{Scope, ScrubOptions, Throttle};
use cairn_view::{CacheCheck, Found, PackedLook, oldest};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::Check;
use crate::error::{Error, Result};
use crate::gc::roots;
use crate::repo::Repo;
use crate::trees::tree_id;

/// Something of the cache that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheFault {
    /// What, and how it shows.
    pub what: String,
    /// Why it could not be made again, where it could not.
    pub stays: Option<String>,
}

impl Serialize for CacheFault {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut fields = to.serialize_struct("CacheFault", 3)?;
        fields.serialize_field("what", &self.what)?;
        fields.serialize_field("made_again", &self.stays.is_none())?;
        fields.serialize_field("why_not", &self.stays)?;
        fields.end()
    }
}

/// What a check of the cache found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CacheReport {
    /// Images and flattened trees.
    pub views: u64,
    /// Objects looked at.
    pub objects: u64,
    /// Objects passed over because they were read lately, or for a later sample.
    pub objects_skipped: u64,
    /// Bytes of objects and flattened trees read.
    pub bytes: u64,
    /// What was wrong.
    pub faults: Vec<CacheFault>,
    /// Why it could not be written down what was found whole.
    #[serde(skip)]
    pub forgotten: Option<String>,
}

/// A check under way.
struct Checking<'a> {
    repo: &'a Repo,
    cache: CacheCheck<'a>,
    /// Layers of every tree that a snapshot has.
    trees: HashMap<TreeId, Vec<Layer>>,
    /// Whether objects are read, or only looked for.
    read: bool,
    /// Objects to be read, where not all are.
    chosen: Option<HashSet<ObjectId>>,
    seen: HashSet<ObjectId>,
    spent: &'a (dyn Fn(u64) + Sync),
    report: CacheReport,
}

impl Check<'_> {
    /// Checks as much of the cache as `options` say, and makes again what is not whole. Keeps evictions away meanwhile.
    pub fn cache(&self, options: &ScrubOptions) -> Result<CacheReport> {
        let repo = self.repo;
        let throttle = Throttle::new(options.rate);
        let bytes = std::sync::atomic::AtomicU64::new(0);
        let spent = |n: u64| {
            throttle.spend(n);
            repo.watch().read(n);
            bytes.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
        };
        let views = repo.views().cache();
        // A disk without an inode left has no room for the lock of an empty cache.
        if !views.were_used() {
            return Ok(CacheReport::default());
        }
        let cache = views.check(&repo.store, &|| repo.store.db().release())?;
        let roots = repo.store.db().read::<_, Error>(|rows| roots(rows))?;
        let mut trees = HashMap::new();
        for snapshot in &roots.snapshots {
            // A broken chain is told with the packs.
            if let Ok(layers) = roots.chain(snapshot) {
                trees.insert(tree_id(&layers), layers);
            }
        }
        let chosen = chosen(&cache, options.scope);
        let mut checking = Checking {
            repo,
            cache,
            trees,
            read: options.scope != Scope::Structure,
            chosen,
            seen: HashSet::new(),
            spent: &spent,
            report: CacheReport::default(),
        };
        checking.images()?;
        checking.packed()?;
        for layer in &roots.layers {
            repo.watch().check()?;
            checking.layer(layer)?;
        }
        if options.scope == Scope::All {
            checking.flats();
        }
        repo.watch().check()?;
        checking.root_records();
        let forgotten = checking.cache.save().err().map(|e| e.to_string());
        let report = checking.report;
        Ok(CacheReport {
            bytes: bytes.load(std::sync::atomic::Ordering::Relaxed),
            forgotten,
            ..report
        })
    }
}

/// The objects an scope takes; all of them for `None`.
fn chosen(cache: &CacheCheck<'_>, scope: Scope) -> Option<HashSet<ObjectId>> {
    match scope {
        Scope::Structure | Scope::All => None,
        Scope::Share(share) => {
            let objects = cache.objects();
            let total: u64 = objects.iter().map(|object| object.bytes).sum();
            Some(oldest(objects, total as f64 * share))
        }
        Scope::OlderThan(age) => {
            let now = u64::try_from(crate::time::now_secs()).unwrap_or(0);
            let limit = now.saturating_sub(age.as_secs());
            // A moment in the future is a clock that was wrong: read again.
            let old = |at: u64| at <= limit || at > now;
            let objects = cache.objects().into_iter();
            Some(objects.filter(|o| old(o.verified)).map(|o| o.id).collect())
        }
    }
}

impl Checking<'_> {
    fn fault(&mut self, what: String, remade: Result<()>) {
        let stays = remade.err().map(|e| cairn_model::one_line(&e));
        self.report.faults.push(CacheFault { what, stays });
    }

    /// Each image, and every object that it stands on.
    fn images(&mut self) -> Result<()> {
        for id in self.cache.images() {
            self.repo.watch().check()?;
            self.report.views += 1;
            let view = format!("the image of view {}", id.short());
            if let Some(objects) = self.repo.views().cache().whole_image(&id) {
                self.objects(&objects, true);
                continue;
            }
            let what = format!("{view} is damaged");
            let layers = self.trees.get(&id).cloned();
            let remade = match layers {
                Some(layers) => self
                    .repo
                    .tree(&layers)
                    .and_then(|tree| Ok(self.cache.remake_image(&id, &tree)?)),
                // Of mount points, or of a snapshot that is gone.
                None => Ok(()),
            };
            if self.trees.contains_key(&id) && remade.is_ok() {
                let objects = self
                    .repo
                    .views()
                    .cache()
                    .whole_image(&id)
                    .unwrap_or_default();
                self.objects(&objects, true);
            } else {
                self.cache.drop_image(&id);
            }
            self.fault(what, remade);
        }
        Ok(())
    }

    /// Images over packs, and the objects that they stand on. What they read from packs is checked with the packs. One
    /// that is damaged goes: whoever needs it makes it again.
    fn packed(&mut self) -> Result<()> {
        for id in self.cache.packed() {
            self.repo.watch().check()?;
            self.report.views += 1;
            match self.repo.views().cache().look_at_packed(&id) {
                PackedLook::Whole(objects) => self.objects(&objects, true),
                PackedLook::Orphaned => self.cache.drop_packed(&id),
                PackedLook::Damaged => {
                    self.cache.drop_packed(&id);
                    let what = format!("an image of view {} over packs is damaged", id.short());
                    self.fault(what, Ok(()));
                }
            }
        }
        Ok(())
    }

    /// Objects that no image present needs, but this layer has.
    fn layer(&mut self, layer: &Layer) -> Result<()> {
        let entries = match layer.read_entries(&self.repo.store) {
            // A damaged manifest is the packs' matter.
            Err(e) if e.is_corruption() => return Ok(()),
            done => done?,
        };
        let contents: Vec<Content> = entries
            .into_iter()
            .filter_map(|entry| match entry.kind {
                Kind::File(content) if CacheCheck::is_object(&content) => Some(content),
                _ => None,
            })
            .collect();
        self.objects(&contents, false);
        Ok(())
    }

    fn objects(&mut self, contents: &[Content], needed: bool) {
        let objects = self.repo.views().cache().objects();
        let mut todo: Vec<(ObjectId, &Content)> = Vec::new();
        for content in contents {
            let id = content.object();
            if !self.seen.contains(&id) && (needed || objects.path(&id).symlink_metadata().is_ok())
            {
                self.seen.insert(id);
                todo.push((id, content));
            }
        }
        let found = self.cache.look_at(&todo, self.spent, &|id| {
            self.read
                && self
                    .chosen
                    .as_ref()
                    .is_none_or(|chosen| chosen.contains(id))
        });
        for ((id, content), (read, found)) in todo.iter().zip(found) {
            if self.read && !read {
                self.report.objects_skipped += 1;
            } else {
                self.report.objects += 1;
            }
            let (word, remade) = match found {
                Ok(Found::Whole) => continue,
                Ok(Found::Missing) => ("missing", Ok(())),
                Ok(Found::Damaged) => ("damaged", Ok(())),
                Err(e) => ("damaged or missing", Err(e.into())),
            };
            let what = format!("cached object {id} ({} bytes) is {word}", content.size);
            self.fault(what, remade);
        }
    }

    fn flats(&mut self) {
        for (id, flat) in self.cache.flats() {
            // One whose snapshot is gone is not used again.
            let Some(layers) = self.trees.get(&id).cloned() else {
                continue;
            };
            self.report.views += 1;
            let view = format!("the directory of view {}", id.short());
            let compared = self.repo.tree(&layers).and_then(|tree| {
                let views = self.repo.views().cache();
                Ok(views.check_flat(&self.repo.store, &id, flat, &tree, self.spent)?)
            });
            match compared {
                Ok(None) => {}
                Ok(Some(why)) => {
                    self.fault(format!("{view} differs from its image: {why}"), Ok(()))
                }
                Err(e) => self.fault(format!("{view} is damaged"), Err(e)),
            }
        }
    }

    /// The remembered attributes of root directories.
    fn root_records(&mut self) {
        for (id, path) in self.repo.views().root_records() {
            if cairn_view::read_checked(&path, crate::views::ROOT_BYTES_MAX).is_some() {
                continue;
            }
            let _ = std::fs::remove_file(&path);
            let remade = match self.trees.get(&id) {
                Some(layers) => self.repo.views().root_meta(layers).map(drop),
                None => Ok(()),
            };
            let what = format!(
                "the record of the root directory of view {} is damaged",
                id.short()
            );
            self.fault(what, remade);
        }
    }
}
