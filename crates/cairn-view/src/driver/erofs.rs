//! The driver `erofs`: the kernel reads the image from its file (Linux 6.12).

use std::os::fd::OwnedFd;
use std::path::Path;

use cairn_model::Driver;

use super::images::MountImage;
use crate::detached::{Refused, mount_erofs};

pub(super) struct Erofs;

impl MountImage for Erofs {
    const DRIVER: Driver = Driver::Erofs;

    fn mount_image(&self, image: &Path) -> Result<OwnedFd, Refused> {
        mount_erofs(image, &[])
    }
}
