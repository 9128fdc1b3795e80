//! Another name for a container.

use super::{CONTAINERS, Container, Containers, all, check_container_name};
use crate::error::{Error, Result};

impl Containers<'_> {
    /// Gives a container another name. Its snapshot keeps its key.
    pub fn rename(&self, container: &Container, name: &str) -> Result<()> {
        check_container_name(name)?;
        self.repo.store.db().write::<_, Error>(|txn| {
            if all(txn)?.iter().any(|other| other.name == name) {
                return Err(Error::ContainerExists(name.to_owned()));
            }
            let gone = || Error::NoContainer(container.name.clone());
            let mut row = CONTAINERS
                .get(txn, container.id.as_bytes())?
                .ok_or_else(gone)?;
            name.clone_into(&mut row.name);
            Ok(CONTAINERS.put(txn, container.id.as_bytes(), &row)?)
        })
    }
}
