//! Views: which driver mounts them, how a snapshot is mounted, and mounts at places of the host.

mod driver;
mod mounts;
mod roots;
mod source;

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use cairn_layer::Layer;
use cairn_model::{Driver, HeadId, MountPlan, SnapshotKey, TreeId};
use cairn_snapshot::{Kind, Snapshot, graph};

use crate::error::{Error, Result};
use crate::repo::Repo;
use crate::trees::{ReadLayer, tree_id, tree_of, tree_over};

pub use driver::{DriverReport, PacksReport};
pub(crate) use mounts::MOUNTPOINT;
pub use mounts::MountOptions;
pub(crate) use roots::ROOT_BYTES_MAX;

/// Where images are mounted that views share, a directory for each repository.
const SHARED: &str = "/run/cairn/images";

/// The views of a repository.
#[derive(Clone, Copy)]
pub struct Views<'a> {
    pub(crate) repo: &'a Repo,
}

impl Repo {
    /// Views: drivers, the cache, and mounts at places of the host.
    pub fn views(&self) -> Views<'_> {
        Views { repo: self }
    }
}

impl Views<'_> {
    /// Where they are kept.
    pub(crate) fn cache(&self) -> cairn_view::Views {
        let cache = self.repo.layout().cache();
        let views = cairn_view::Views::new(&cache).verified(self.repo.options.verify);
        // Only root mounts the images that are shared.
        match cairn_view::place_name(self.repo.root()) {
            Ok(name) if rustix::process::geteuid().is_root() => {
                views.sharing_in(Path::new(SHARED).join(name))
            }
            _ => views,
        }
    }

    /// The driver that is forced or, by trying, the best that works here: packs, where blobs are frames. Where the driver
    /// packs is wanted and does not work it is another, too: that is a matter of the kernel, not of what the user can change.
    pub fn driver(&self) -> Result<Driver> {
        let heads = self.repo.heads().place();
        match self.wanted() {
            Some(Driver::Packs) if !self.cache().can_use_packs(&heads) => {
                Ok(self.cache().detect(&heads)?)
            }
            Some(driver) => Ok(driver),
            None => Ok(self.cache().detect(&heads)?),
        }
    }

    /// The driver that is forced, or that the repository was made for.
    fn wanted(&self) -> Option<Driver> {
        let made_for = self.repo.store.has_frames().then_some(Driver::Packs);
        self.repo.options.driver.or(made_for)
    }

    /// Trees that active snapshots and views stand on: what of the cache is mounted, or may be at any moment; each as it is,
    /// and in the form that `form` says of a snapshot.
    pub fn needed<T: Eq + std::hash::Hash>(
        &self,
        form: impl Fn(&Snapshot) -> Option<T>,
    ) -> Result<HashSet<(TreeId, Option<T>)>> {
        self.repo.store.db().read::<_, Error>(|rows| {
            let all = graph::list(rows)?;
            let by_key: HashMap<&SnapshotKey, &Snapshot> =
                all.iter().map(|s| (&s.key, s)).collect();
            // What has no parent shows the empty tree.
            let empty = tree_of(&[]);
            let mut needed = HashSet::from([(empty, None)]);
            let mut trees: HashMap<Option<&SnapshotKey>, TreeId> = HashMap::new();
            for snapshot in all.iter().filter(|s| s.kind != Kind::Committed) {
                // What was applied to a snapshot lies below it like its parent.
                let applied = snapshot.layer.map(|_| &snapshot.key);
                let top = applied.or(snapshot.parent.as_ref());
                let tree = match trees.get(&top) {
                    Some(tree) => *tree,
                    None => tree_over(&by_key, top)?,
                };
                trees.insert(top, tree);
                needed.insert((tree, None));
                needed.extend(form(snapshot).map(|form| (tree, Some(form))));
            }
            Ok(needed)
        })
    }

    /// How to mount these layers, below a head if there is one; the view is made where it is not there.
    pub(crate) fn plan(&self, layers: &[Layer], head: Option<&HeadId>) -> Result<MountPlan> {
        self.plan_after(layers, head, None)
    }

    /// The same where one of the layers was read already.
    pub(crate) fn plan_after(
        &self,
        layers: &[Layer],
        head: Option<&HeadId>,
        read: Option<ReadLayer>,
    ) -> Result<MountPlan> {
        let driver = self.driver()?;
        let head = head.map(|head| self.repo.heads().dir(head));
        self.cache().plan(
            &self.repo.store,
            driver,
            &tree_id(layers),
            head.as_deref(),
            &|| self.repo.store.db().release(),
            &source::Layers {
                views: *self,
                layers,
                read: Cell::new(read),
            },
        )
    }
}
