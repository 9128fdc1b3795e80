//! The driver `erofs-loop`: the image is on a loop device, for kernels that read EROFS from block devices
//! only.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use cairn_model::Driver;
use rustix::mount::UnmountFlags;

use super::images::MountImage;
use crate::detached::{Refused, clone};

pub(super) struct ErofsLoop;

impl MountImage for ErofsLoop {
    const DRIVER: Driver = Driver::ErofsLoop;

    /// By mount(8), which takes a loop device; the mount is then taken over detached.
    fn mount_image(&self, image: &Path) -> Result<OwnedFd, Refused> {
        let step = || format!("mount -o loop {}", image.display());
        let place = tempfile::tempdir().map_err(|e| Refused::new(step(), e))?;
        let output = Command::new("mount")
            .args(["-t", "erofs", "-o", "ro,loop"])
            .arg(image)
            .arg(place.path())
            .output()
            .map_err(|e| Refused::new(step(), e))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Refused::new(step(), std::io::Error::other(words)));
        }
        let tree = clone(place.path(), false);
        // Whether or not it could be taken over, the helper's mount does not stay.
        rustix::mount::unmount(place.path(), UnmountFlags::DETACH)
            .map_err(|e| Refused::new("unmounting the helper mount", e))?;
        tree
    }
}
