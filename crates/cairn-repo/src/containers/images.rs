//! Images that a container has mounted beside its own.

use cairn_model::{ContainerId, MountPlan, SnapshotKey};
use cairn_snapshot::{Labels, Snapshotter, graph};
use cairn_store::{Rows, Txn};

use super::{Container, Containers};
use crate::error::Result;
use crate::images::Image;

/// Key of a view that goes with a container; they are counted from 0.
fn key(container: &ContainerId, number: usize) -> Result<SnapshotKey> {
    Ok(format!("container/{}/image-{number}", container.hex()).parse()?)
}

impl Containers<'_> {
    /// A view of an image that goes with the container, and how to mount it. The view keeps the image's layers,
    /// whatever becomes of its names. Numbers of a container begin with 0 and have no gaps.
    pub fn mount_image(
        &self,
        container: &Container,
        number: usize,
        image: &Image,
    ) -> Result<(SnapshotKey, MountPlan)> {
        let key = key(&container.id, number)?;
        let snapshots = self.repo.snapshots();
        let plan = snapshots.view(&key, image.row.top.as_ref(), Labels::new())?;
        Ok((key, plan))
    }
}

/// The container that a view of an image goes with.
pub(crate) fn showing(rows: &dyn Rows, key: &SnapshotKey) -> Result<Option<Container>> {
    let id = key.as_str().strip_prefix("container/");
    let id = id.and_then(|rest| rest.split_once("/image-"));
    let Some((id, _)) = id else { return Ok(None) };
    let mut all = super::all(rows)?.into_iter();
    Ok(all.find(|container| container.id.hex() == id))
}

/// Removes the views of images that go with a container.
pub(super) fn remove_views(txn: &mut Txn<'_>, container: &ContainerId) -> Result<()> {
    for number in 0.. {
        let key = key(container, number)?;
        let Some(_) = graph::find(txn, &key)? else {
            break;
        };
        graph::remove(txn, &key)?;
    }
    Ok(())
}
