//! Views: which driver mounts them, how a snapshot is mounted, and mounts at places of the host.

mod driver;
mod mounts;
mod roots;

use cairn_layer::Layer;
use cairn_model::{Driver, HeadId, MountPlan};

use crate::error::Result;
use crate::repo::Repo;
use crate::trees::tree_id;

pub use driver::DriverReport;
pub(crate) use mounts::MOUNTPOINT;
pub use mounts::MountOptions;
pub(crate) use roots::ROOT_BYTES_MAX;

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
        cairn_view::Views::new(&cache).verified(self.repo.options.verify)
    }

    /// The driver that is forced or, by trying, the best that works here.
    pub fn driver(&self) -> Result<Driver> {
        match self.repo.options.driver {
            Some(driver) => Ok(driver),
            None => Ok(self.cache().detect(&self.repo.heads().place())?),
        }
    }

    /// How to mount these layers, below a head if there is one; the view is made where it is not there.
    pub(crate) fn plan(&self, layers: &[Layer], head: Option<&HeadId>) -> Result<MountPlan> {
        let driver = self.driver()?;
        let head = head.map(|head| self.repo.heads().dir(head));
        self.cache().plan(
            &self.repo.store,
            driver,
            &tree_id(layers),
            head.as_deref(),
            &|| self.repo.store.db().release(),
            || self.repo.tree(layers),
        )
    }
}
