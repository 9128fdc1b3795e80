//! The container's own control groups, shown inside: those of version 1 each in a directory.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, mkdirat, symlinkat};
use rustix::mount::MountAttrFlags;

use super::mount::finish;
use super::spec::BundleMount;
use crate::cgroup::GroupPlace;
use crate::detached::{QUIET, attach, clone, filesystem, open_exact};
use crate::error::{Error, Result, Step};

/// What is mounted at the place itself: version 2 where there is nothing else, which is whole; an empty
/// directory for those of version 1.
pub fn mount(places: &[GroupPlace], unified: bool) -> Result<(OwnedFd, bool)> {
    let shown: Vec<&GroupPlace> = places.iter().filter(|p| p.unified || !unified).collect();
    match &shown[..] {
        [only] if only.unified => clone(&only.path, false).map(|mount| (mount, true)),
        [] => Err(Error::Invalid(
            "the container has no control groups to show".into(),
        )),
        several => {
            let attributes = QUIET.difference(MountAttrFlags::MOUNT_ATTR_RDONLY);
            let top = filesystem("tmpfs", "mode=755,size=64k", attributes)?;
            several
                .iter()
                .try_for_each(|place| make_names(&top, place))?;
            Ok((top, false))
        }
    }
}

fn make_names(top: &OwnedFd, place: &GroupPlace) -> Result<()> {
    let made = || format!("make a directory for control groups of {}", place.name);
    mkdirat(top, place.name.as_str(), Mode::from_raw_mode(0o755)).step(made())?;
    let each = place.name.split(',').filter(|_| place.name.contains(','));
    for controller in each {
        symlinkat(place.name.as_str(), top, controller).step(made())?;
    }
    Ok(())
}

/// Mounts those of version 1, and of version 2 beside them, once the directory for them is attached.
pub fn mount_each(top: &OwnedFd, places: &[GroupPlace], mount: &BundleMount) -> Result<()> {
    for place in places {
        let target = open_exact(top, &place.name)?
            .ok_or_else(|| Error::Invalid("control groups changed meanwhile".into()))?;
        let group = clone(&place.path, false)?;
        finish(mount, &group)?;
        attach(&group, &target, &place.name)?;
    }
    Ok(())
}
