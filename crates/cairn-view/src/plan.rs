//! From a tree to a plan of how to mount it, with all that the plan names made and whole.

use std::path::Path;

use cairn_layer::Tree;
use cairn_model::{Driver, MountPlan, TreeId};
use cairn_store::Store;

use crate::cache::Views;
use crate::driver::{self, Place};
use crate::error::Result;
use crate::source::Source;

impl Views {
    /// Makes what `driver` needs to mount the tree `id`, if it is not there yet, and says how to mount
    /// it under the head directory `head` (read-only without one). `source` is asked only when something
    /// has to be made. Where an eviction is under way, calls `wait` before waiting for it.
    pub fn plan<S: Source>(
        &self,
        store: &Store,
        driver: Driver,
        id: &TreeId,
        head: Option<&Path>,
        wait: &dyn Fn(),
        source: &S,
    ) -> Result<MountPlan, S::Error> {
        let _guard = self.hold_shared(wait)?;
        let at = Place { views: self, store };
        driver::prepare(driver, at, id, head, source)
    }

    /// `plan` with one more lower layer on top of the others: a small tree of mount points, named `id`,
    /// kept in `place`, which belongs to the container, so that no eviction takes it away. A full copy
    /// gets them written into it.
    pub fn under_mounts<E: From<crate::Error>>(
        &self,
        store: &Store,
        plan: MountPlan,
        id: &TreeId,
        place: &Path,
        wait: &dyn Fn(),
        points: impl FnOnce() -> Result<Tree, E>,
    ) -> Result<MountPlan, E> {
        let _guard = self.hold_shared(wait)?;
        let at = Place { views: self, store };
        driver::add_points(at, plan, id, &place.join("mount-points"), points)
    }
}
