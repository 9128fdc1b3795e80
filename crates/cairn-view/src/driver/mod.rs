//! Drivers: ways to show a tree as a root file system, a room for each behind [`Room`].
//!
//! A room knows what its plan holds, what it needs of the cache, how that is mounted, and what its heads
//! look like when they are committed. Everything else asks through the functions of this module, which
//! pick the room and nothing more.

mod copy;
mod erofs;
mod erofs_loop;
mod head;
mod images;
mod overlay;
mod packs;
mod stack;

use std::os::fd::OwnedFd;
use std::path::Path;

use cairn_layer::{Limits, OverlayAttributes, Scanned, Tree};
use cairn_model::{Driver, Meta, MountPlan, TreeId};
use cairn_store::{Feeder, Store};

use crate::cache::Views;
use crate::detached::Users;
use crate::error::{Error, Result};
use crate::packed::Over;
use crate::small::Small;
use crate::source::Source;
use copy::Copy;
use erofs::Erofs;
use erofs_loop::ErofsLoop;
use overlay::{OVERLAY, OVERLAY_USER};
use packs::Packs;

pub use head::{map_head, upper};
pub(crate) use packs::prove as prove_packs;

/// The cache, and the store that fills it.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub views: &'a Views,
    pub store: &'a Store,
}

/// What the file of a sample is called, and what is in it.
pub(crate) const SAMPLE: (&str, [u8; 100]) = ("file", [b'x'; 100]);

/// One driver.
pub(crate) trait Room {
    /// What a mount of it takes.
    type Plan;

    /// Makes a view with the file [`SAMPLE`] and nothing else in the empty directory `scratch`, over which
    /// `head` is writable; to see whether it can be mounted.
    fn sample(&self, scratch: &Path, head: &Path) -> Result<Self::Plan>;

    /// How to mount the tree `id` under the head directory `head` (read-only without one), if all it
    /// takes is there and whole.
    fn ready(&self, at: Place<'_>, id: &TreeId, head: Option<&Path>) -> Result<Option<Self::Plan>>;

    /// The same, and makes what is missing.
    fn make(
        &self,
        at: Place<'_>,
        id: &TreeId,
        head: Option<&Path>,
        tree: &Tree,
    ) -> Result<Self::Plan>;

    /// The view over which a small one can lie, if the tree `id` is below it; none where views are made whole.
    fn over(&self, _at: Place<'_>, _id: &TreeId) -> Result<Option<Over>> {
        Ok(None)
    }

    /// Makes the small view of the tree `id`, where [`over`](Self::over) said that it can be; none where that has changed.
    fn make_small(
        &self,
        _at: Place<'_>,
        _id: &TreeId,
        _head: Option<&Path>,
        _over: &Over,
        _small: &Small,
    ) -> Result<Option<Self::Plan>> {
        Ok(None)
    }

    /// `plan` with the tree `points`, named `id`, on top of what is there. What that takes is kept as
    /// `own`, out of reach of evictions.
    fn add_points<E: From<Error>>(
        &self,
        at: Place<'_>,
        plan: Self::Plan,
        id: &TreeId,
        own: &Path,
        points: impl FnOnce() -> Result<Tree, E>,
    ) -> Result<Self::Plan, E>;

    /// Carries a plan out; the mount is detached. Its ids, and those that it writes, are as `users` maps
    /// them.
    fn mount(&self, plan: &Self::Plan, users: Users<'_>) -> Result<OwnedFd>;

    /// Gives the empty directory `upper` of a new head the attributes of `root`'s root directory.
    /// Unless a driver says otherwise, the head is an upper of overlayfs, written by root.
    fn start_head(&self, store: &Store, upper: &Path, root: &Tree) -> Result<()> {
        stack::start_head(store, upper, root, OverlayAttributes::Trusted)
    }

    /// Reads what was changed in the head directory `head` over `parent`.
    fn read_head(
        &self,
        store: &Store,
        head: &Path,
        parent: &Tree,
        feeder: Feeder,
        limits: Limits,
    ) -> Result<Scanned> {
        stack::read_head(store, head, parent, feeder, limits)
    }
}

/// Finds or makes what `driver` needs for the tree `id`. `source` is asked only when something has to be made.
pub(crate) fn prepare<S: Source>(
    driver: Driver,
    at: Place<'_>,
    id: &TreeId,
    head: Option<&Path>,
    source: &S,
) -> Result<MountPlan, S::Error> {
    let _span = tracing::debug_span!("prepare_view").entered();
    at.views.note_use(id);
    fn with<R: Room, S: Source>(
        room: &R,
        at: Place<'_>,
        id: &TreeId,
        head: Option<&Path>,
        source: &S,
    ) -> Result<R::Plan, S::Error> {
        if let Some(plan) = room.ready(at, id, head)? {
            return Ok(plan);
        }
        if let Some((over, small)) = source.small(&|tree| room.over(at, tree))?
            // What it was to lie over may be gone by now.
            && let Some(plan) = room.make_small(at, id, head, &over, &small)?
        {
            return Ok(plan);
        }
        Ok(room.make(at, id, head, &source.tree()?)?)
    }
    Ok(match driver {
        Driver::Packs => MountPlan::Packs(with(&Packs, at, id, head, source)?),
        Driver::Erofs => MountPlan::Erofs(with(&Erofs, at, id, head, source)?),
        Driver::ErofsLoop => MountPlan::ErofsLoop(with(&ErofsLoop, at, id, head, source)?),
        Driver::Overlay => MountPlan::Overlay(with(&OVERLAY, at, id, head, source)?),
        Driver::OverlayUser => MountPlan::OverlayUser(with(&OVERLAY_USER, at, id, head, source)?),
        Driver::Copy => MountPlan::Copy(with(&Copy, at, id, head, source)?),
    })
}

/// A plan for a view of [`SAMPLE`].
pub(crate) fn sample(driver: Driver, scratch: &Path, head: &Path) -> Result<MountPlan> {
    Ok(match driver {
        Driver::Packs => MountPlan::Packs(Packs.sample(scratch, head)?),
        Driver::Erofs => MountPlan::Erofs(Erofs.sample(scratch, head)?),
        Driver::ErofsLoop => MountPlan::ErofsLoop(ErofsLoop.sample(scratch, head)?),
        Driver::Overlay => MountPlan::Overlay(OVERLAY.sample(scratch, head)?),
        Driver::OverlayUser => MountPlan::OverlayUser(OVERLAY_USER.sample(scratch, head)?),
        Driver::Copy => MountPlan::Copy(Copy.sample(scratch, head)?),
    })
}

/// `plan` with a small tree of mount points on top.
pub(crate) fn add_points<E: From<Error>>(
    at: Place<'_>,
    plan: MountPlan,
    id: &TreeId,
    own: &Path,
    points: impl FnOnce() -> Result<Tree, E>,
) -> Result<MountPlan, E> {
    Ok(match plan {
        MountPlan::Packs(plan) => MountPlan::Packs(Packs.add_points(at, plan, id, own, points)?),
        MountPlan::Erofs(plan) => MountPlan::Erofs(Erofs.add_points(at, plan, id, own, points)?),
        MountPlan::ErofsLoop(plan) => {
            MountPlan::ErofsLoop(ErofsLoop.add_points(at, plan, id, own, points)?)
        }
        MountPlan::Overlay(plan) => {
            MountPlan::Overlay(OVERLAY.add_points(at, plan, id, own, points)?)
        }
        MountPlan::OverlayUser(plan) => {
            MountPlan::OverlayUser(OVERLAY_USER.add_points(at, plan, id, own, points)?)
        }
        MountPlan::Copy(plan) => MountPlan::Copy(Copy.add_points(at, plan, id, own, points)?),
    })
}

/// Makes the mount that `plan` describes, detached.
pub fn mount(plan: &MountPlan) -> Result<OwnedFd> {
    mount_for(plan, None)
}

/// The same for processes of the user namespace `users`: its root owns what root owns on the disk. Where a
/// head is written to, files that this process creates have to belong to ids of that namespace (setfsuid(2)),
/// for overlayfs makes its own in the same way.
pub fn mount_for(plan: &MountPlan, users: Users<'_>) -> Result<OwnedFd> {
    let _span = tracing::debug_span!("mount_view").entered();
    match plan {
        MountPlan::Packs(plan) => Packs.mount(plan, users),
        MountPlan::Erofs(plan) => Erofs.mount(plan, users),
        MountPlan::ErofsLoop(plan) => ErofsLoop.mount(plan, users),
        MountPlan::Overlay(plan) => OVERLAY.mount(plan, users),
        MountPlan::OverlayUser(plan) => OVERLAY_USER.mount(plan, users),
        MountPlan::Copy(plan) => Copy.mount(plan, users),
    }
}

/// Gives the upper directory of a new head, empty so far, the attributes of the root it will be over.
pub fn start_head(store: &Store, driver: Driver, head: &Path, root: &Meta) -> Result<()> {
    let mut tree = Tree::new();
    *tree.meta_mut(tree.root()) = root.clone();
    let upper = upper(head);
    match driver {
        Driver::Packs => Packs.start_head(store, &upper, &tree),
        Driver::Erofs => Erofs.start_head(store, &upper, &tree),
        Driver::ErofsLoop => ErofsLoop.start_head(store, &upper, &tree),
        Driver::Overlay => OVERLAY.start_head(store, &upper, &tree),
        Driver::OverlayUser => OVERLAY_USER.start_head(store, &upper, &tree),
        Driver::Copy => Copy.start_head(store, &upper, &tree),
    }
}

/// True where a head holds everything instead of what was changed. It says so itself: the driver in use
/// today need not be the one that filled it.
pub fn is_full_copy(head: &Path) -> bool {
    copy::is_copy(head)
}

/// Reads what was changed in a head over `parent`, the tree it was made over.
pub fn read_head(
    store: &Store,
    head: &Path,
    parent: &Tree,
    feeder: Feeder,
    limits: Limits,
) -> Result<Scanned> {
    if is_full_copy(head) {
        Copy.read_head(store, head, parent, feeder, limits)
    } else {
        // Whatever is in the lowers, overlayfs writes the same; the head says in which attributes.
        OVERLAY.read_head(store, head, parent, feeder, limits)
    }
}
