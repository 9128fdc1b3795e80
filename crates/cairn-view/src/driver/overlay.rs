//! The drivers `overlay` and `overlay-user`: one flattened directory as the lower of a plain overlay. The second
//! is for user namespaces, where overlayfs keeps its own things in attributes that everybody may set.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use cairn_layer::{OverlayAttributes, Tree, checkout_for_overlay};
use cairn_model::{Driver, StackPlan, TreeId};
use cairn_store::Store;

use super::head::overlay_head;
use super::stack::{self, Stack};
use super::{Place, Room, SAMPLE};
use crate::detached::{Users, clone, map_ids};
use crate::error::{At, Error, Result};
use crate::flat::Flat;

pub(super) struct Overlay(OverlayAttributes);

/// For root.
pub(super) const OVERLAY: Overlay = Overlay(OverlayAttributes::Trusted);
/// For user namespaces.
pub(super) const OVERLAY_USER: Overlay = Overlay(OverlayAttributes::User);

impl Overlay {
    fn driver(&self) -> Driver {
        match self.0 {
            OverlayAttributes::Trusted => Driver::Overlay,
            OverlayAttributes::User => Driver::OverlayUser,
        }
    }

    fn flat(&self) -> Flat {
        match self.0 {
            OverlayAttributes::Trusted => Flat::Overlay,
            OverlayAttributes::User => Flat::OverlayUser,
        }
    }

    fn plan(&self, at: Place<'_>, flat: PathBuf, head: Option<&Path>) -> Result<StackPlan> {
        let mut lowers = vec![flat];
        if head.is_none() {
            // Overlayfs refuses a single lower where there is no upper.
            lowers.push(at.views.empty()?);
        }
        let head = head.map(|head| overlay_head(head, self.0)).transpose()?;
        Ok(StackPlan { lowers, head })
    }
}

impl Room for Overlay {
    type Plan = StackPlan;

    fn sample(&self, scratch: &Path, head: &Path) -> Result<StackPlan> {
        let lower = scratch.join("lower");
        std::fs::create_dir_all(&lower).at("create directory", &lower)?;
        std::fs::write(lower.join(SAMPLE.0), SAMPLE.1).at("write in", &lower)?;
        Ok(StackPlan {
            lowers: vec![lower],
            head: Some(overlay_head(head, self.0)?),
        })
    }

    fn ready(&self, at: Place<'_>, id: &TreeId, head: Option<&Path>) -> Result<Option<StackPlan>> {
        let flat = at.views.trusted_flat(id, self.flat());
        flat.map(|flat| self.plan(at, flat, head)).transpose()
    }

    fn make(
        &self,
        at: Place<'_>,
        id: &TreeId,
        head: Option<&Path>,
        tree: &Tree,
    ) -> Result<StackPlan> {
        at.views
            .check_flat(at.store, id, self.flat(), tree, &|_| ())?;
        self.plan(at, at.views.flat_path(id, self.flat()), head)
    }

    fn add_points<E: From<Error>>(
        &self,
        at: Place<'_>,
        mut plan: StackPlan,
        _id: &TreeId,
        own: &Path,
        points: impl FnOnce() -> Result<Tree, E>,
    ) -> Result<StackPlan, E> {
        // A container that starts again has those of its last start.
        if own.exists() {
            std::fs::remove_dir_all(own).at("remove", own)?;
        }
        std::fs::create_dir_all(own).at("create directory", own)?;
        checkout_for_overlay(at.store, &points()?, own, self.0).map_err(Error::from)?;
        plan.lowers.insert(0, own.to_owned());
        Ok(plan)
    }

    fn mount(&self, plan: &StackPlan, users: Users<'_>) -> Result<OwnedFd> {
        let refused = |e| Error::mount(self.driver(), e);
        let lowers = plan.lowers.iter().map(|path| {
            let lower = clone(path, false)?;
            map_ids(&lower, users, path).map(|()| lower)
        });
        let lowers = lowers.collect::<Result<Vec<_>, _>>().map_err(refused)?;
        let stack = Stack {
            lowers: &lowers,
            data: &[],
            contents: &[],
            head: plan.head.as_ref(),
            attributes: self.0,
            users,
        };
        stack::overlay(&stack).map_err(refused)
    }

    fn start_head(&self, store: &Store, upper: &Path, root: &Tree) -> Result<()> {
        stack::start_head(store, upper, root, self.0)
    }
}
