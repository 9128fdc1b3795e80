//! The cache looked through piece by piece, for `check`: each method looks at one thing, makes it again
//! where it is not whole, and says what it found.

use std::collections::HashSet;
use std::fs::File;
use std::sync::{Mutex, PoisonError};

use cairn_layer::Tree;
use cairn_model::{Content, ObjectId, TreeId};
use cairn_store::Store;

use crate::cache::Views;
use crate::erofs::INLINE_BYTES_MAX;
use crate::error::Result;
use crate::flat::Flat;
use crate::objects::{Found, Look, ObjectCache, for_each};
use crate::verified::Verified;
use crate::verify::{Fingerprint, Verify};

/// An object of the cache as a check sees it.
#[derive(Debug, Clone, Copy)]
pub struct CachedObject {
    /// Which.
    pub id: ObjectId,
    /// Length of its file, bytes.
    pub bytes: u64,
    /// When it was last found whole, seconds since 1970; 0 for never.
    pub verified: u64,
}

/// Keeps evictions away while it lives.
pub struct CacheCheck<'a> {
    views: &'a Views,
    store: &'a Store,
    objects: ObjectCache,
    verified: Verified,
    _guard: File,
}

impl Views {
    /// Begins a check. Where an eviction is under way, calls `wait` before waiting for it.
    pub fn check<'a>(&'a self, store: &'a Store, wait: &dyn Fn()) -> Result<CacheCheck<'a>> {
        Ok(CacheCheck {
            _guard: self.hold_shared(wait)?,
            views: self,
            store,
            objects: self.objects(),
            verified: Verified::load(self.directory()),
        })
    }

    /// False where nothing was ever put into the cache.
    pub fn were_used(&self) -> bool {
        ["lock", "views", "objects", "flat"]
            .iter()
            .any(|name| self.directory().join(name).exists())
    }

    /// Trees after which files in a part of the cache are named, sorted.
    pub(crate) fn named_in(&self, directory: &str, extension: Option<&str>) -> Vec<TreeId> {
        let entries = std::fs::read_dir(self.directory().join(directory));
        let names = entries.into_iter().flatten().flatten();
        let id = |entry: std::fs::DirEntry| {
            let path = entry.path();
            if path.extension().and_then(|e| e.to_str()) != extension {
                return None;
            }
            path.file_stem()?.to_str()?.parse().ok()
        };
        let mut ids: Vec<TreeId> = names.filter_map(id).collect();
        ids.sort_unstable();
        ids
    }
}

impl CacheCheck<'_> {
    /// Trees that have an image.
    pub fn images(&self) -> Vec<TreeId> {
        self.views.named_in("views", Some("erofs"))
    }

    /// Trees of which there is a view over packs.
    pub fn packed(&self) -> Vec<TreeId> {
        self.views.packed_trees()
    }

    /// Takes a view over packs away; whoever needs it makes it again.
    pub fn drop_packed(&self, id: &TreeId) {
        self.views.drop_packed(id);
    }

    /// Trees that are there flattened.
    pub fn flats(&self) -> Vec<(TreeId, Flat)> {
        let of = |extension, flat| {
            let ids = self.views.named_in("flat", extension).into_iter();
            ids.map(move |id| (id, flat))
        };
        of(None, Flat::Overlay)
            .chain(of(Some("user"), Flat::OverlayUser))
            .chain(of(Some("copy"), Flat::Copy))
            .collect()
    }

    /// Every object that there is.
    pub fn objects(&self) -> Vec<CachedObject> {
        let objects = self.objects.list().into_iter();
        let object = |(id, print): (ObjectId, Fingerprint)| CachedObject {
            id,
            bytes: print.size,
            verified: self.verified.when(&id, &print),
        };
        objects.map(object).collect()
    }

    /// Makes the image of a tree again, and what is not whole of its objects.
    pub fn remake_image(&self, id: &TreeId, tree: &Tree) -> Result<()> {
        let look = self.look(false, &|_| ());
        self.views.make_image(self.store, id, tree, &look)
    }

    /// Takes an image away; whoever needs it makes it again.
    pub fn drop_image(&self, id: &TreeId) {
        let path = self.views.image_path(id);
        // An image without its list would look damaged.
        for path in [path.clone(), path.with_extension("list")] {
            // It may be gone already, and nothing relies on its being gone.
            let _ = std::fs::remove_file(path);
        }
    }

    fn look<'a>(&'a self, content: bool, spent: &'a (dyn Fn(u64) + Sync)) -> Look<'a> {
        Look {
            verify: if content {
                Verify::Always
            } else {
                Verify::Never
            },
            verified: &self.verified,
            spent,
        }
    }

    /// Looks at objects on all cores, and at each byte of those that `read` picks; says of each whether it
    /// was read, and what was found. One that is missing or damaged is made again.
    pub fn look_at(
        &self,
        objects: &[(ObjectId, &Content)],
        spent: &(dyn Fn(u64) + Sync),
        read: &(dyn Fn(&ObjectId) -> bool + Sync),
    ) -> Vec<(bool, Result<Found>)> {
        let work: Vec<_> = objects
            .iter()
            .map(|(id, content)| (*content, read(id), Mutex::new(None)))
            .collect();
        let done = for_each(&work, |(content, read, slot)| {
            let look = self.look(*read, spent);
            let found = self.objects.ensure(self.store, content, &look);
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
            Ok(())
        });
        debug_assert!(done.is_ok(), "errors are in the slots");
        work.into_iter()
            .map(|(_, read, slot)| {
                let found = slot.into_inner().unwrap_or_else(PoisonError::into_inner);
                (read, found.unwrap_or(Ok(Found::Whole)))
            })
            .collect()
    }

    /// True for content that objects hold, and not images themselves.
    pub fn is_object(content: &Content) -> bool {
        content.size > INLINE_BYTES_MAX
    }

    /// Writes down what was found whole.
    pub fn save(&self) -> Result<()> {
        self.verified.save()
    }
}

/// Those of `objects` that a check which reads `bytes` should take: last verified first, at least one.
pub fn oldest(mut objects: Vec<CachedObject>, mut bytes: f64) -> HashSet<ObjectId> {
    objects.sort_by_key(|object| (object.verified, object.id));
    let wanted = |object: &CachedObject| {
        let take = bytes > 0.0;
        bytes -= object.bytes as f64;
        take
    };
    let taken = objects.into_iter().take_while(wanted);
    taken.map(|object| object.id).collect()
}
