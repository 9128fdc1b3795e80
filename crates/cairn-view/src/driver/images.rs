//! What the drivers with metadata images have in common: all but the mount of an image.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use cairn_layer::{OverlayAttributes, Tree};
use cairn_model::{BlobId, Content, Driver, ImagePlan, Kind, Meta, Piece, TreeId, ViewImage};

use super::head::overlay_head;
use super::stack::{Stack, overlay};
use super::{Place, Room, SAMPLE};
use crate::detached::{Refused, Users, clone_open, map_ids};
use crate::erofs::{metadata_uuid, write_image};
use crate::error::{At, Error, Result};
use crate::objects::ObjectCache;
use crate::shared::shared;

/// A way to mount an image.
pub(super) trait MountImage {
    const DRIVER: Driver;

    /// Mounts one image read-only, detached.
    fn mount_image(&self, image: &Path) -> Result<OwnedFd, Refused>;
}

/// An image of this tree that is mounted for one alone.
fn own_image(file: PathBuf, id: &TreeId) -> ViewImage {
    ViewImage {
        file,
        uuid: metadata_uuid(id),
        shared: None,
    }
}

fn plan(at: Place<'_>, id: &TreeId, head: Option<&Path>) -> Result<ImagePlan> {
    let head = head.map(|head| overlay_head(head, OverlayAttributes::Trusted));
    Ok(ImagePlan {
        images: vec![own_image(at.views.image_path(id), id)],
        data: vec![at.views.objects().directory().to_owned()],
        head: head.transpose()?,
    })
}

/// Puts an image of the tree `points`, named `id`, on top of `images`.
pub(super) fn put_points<E: From<Error>>(
    at: Place<'_>,
    images: &mut Vec<ViewImage>,
    id: &TreeId,
    own: &Path,
    points: impl FnOnce() -> Result<Tree, E>,
) -> Result<(), E> {
    if !at.views.has_image(at.store, id)? {
        at.views.make_image_for_use(at.store, id, &points()?)?;
    }
    let image = at.views.image_path(id);
    // A copy of the container's own: the one in the cache may be evicted while it runs.
    std::fs::copy(&image, own).at("copy", &image)?;
    images.insert(0, own_image(own.to_owned(), id));
    Ok(())
}

/// Mounts of images with the ids of their users, top first: those that all share, if `may_share`, or else of their own.
pub(super) fn lowers(
    mount: &impl MountImage,
    images: &[ViewImage],
    users: Users<'_>,
    may_share: bool,
) -> Result<Vec<OwnedFd>, Refused> {
    let lower = |image: &ViewImage| {
        let shared = may_share.then(|| shared(image)).flatten();
        let lower = match shared {
            Some(shared) if users.is_none() => return Ok(shared),
            Some(shared) => clone_open(&shared)?,
            None => mount.mount_image(&image.file)?,
        };
        map_ids(&lower, users, &image.file).map(|()| lower)
    };
    images.iter().map(lower).collect()
}

impl<M: MountImage> Room for M {
    type Plan = ImagePlan;

    fn sample(&self, scratch: &Path, head: &Path) -> Result<ImagePlan> {
        let (name, content) = SAMPLE;
        let piece = Piece::Data {
            id: BlobId::of(&content),
            len: content.len() as u32,
        };
        let file = Content {
            size: content.len() as u64,
            pieces: vec![piece],
        };
        let objects = ObjectCache::new(&scratch.join("objects"));
        let object = objects.path(&file.object());
        let directory = object.with_file_name("");
        std::fs::create_dir_all(&directory).at("create directory", &directory)?;
        std::fs::write(&object, content).at("write", &object)?;
        let mut tree = Tree::new();
        tree.insert(name.as_bytes(), Meta::root(0o644), Kind::File(file))?;
        let mut bytes = Vec::new();
        // The file is too long to be inline, so there is no content to ask for.
        let id = TreeId::from_bytes([1; 32]);
        write_image(&tree, &id, &|_, _| Ok(()), &mut bytes)?;
        let image = scratch.join("image");
        std::fs::write(&image, bytes).at("write", &image)?;
        Ok(ImagePlan {
            images: vec![own_image(image, &id)],
            data: vec![objects.directory().to_owned()],
            head: Some(overlay_head(head, OverlayAttributes::Trusted)?),
        })
    }

    fn ready(&self, at: Place<'_>, id: &TreeId, head: Option<&Path>) -> Result<Option<ImagePlan>> {
        let whole = at.views.has_image(at.store, id)?;
        whole.then(|| plan(at, id, head)).transpose()
    }

    fn make(
        &self,
        at: Place<'_>,
        id: &TreeId,
        head: Option<&Path>,
        tree: &Tree,
    ) -> Result<ImagePlan> {
        at.views.make_image_for_use(at.store, id, tree)?;
        plan(at, id, head)
    }

    fn add_points<E: From<Error>>(
        &self,
        at: Place<'_>,
        mut plan: ImagePlan,
        id: &TreeId,
        own: &Path,
        points: impl FnOnce() -> Result<Tree, E>,
    ) -> Result<ImagePlan, E> {
        put_points(at, &mut plan.images, id, own, points)?;
        Ok(plan)
    }

    fn mount(&self, plan: &ImagePlan, users: Users<'_>) -> Result<OwnedFd> {
        let refused = |e| Error::mount(M::DRIVER, e);
        let stack = Stack {
            lowers: &lowers(self, &plan.images, users, false).map_err(refused)?,
            data: &plan.data,
            contents: &[],
            head: plan.head.as_ref(),
            attributes: OverlayAttributes::Trusted,
            users,
        };
        overlay(&stack).map_err(refused)
    }
}
