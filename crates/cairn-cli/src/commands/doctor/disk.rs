//! Room on the disk of the repository.

use std::path::Path;

use rustix::fs::{StatVfs, statvfs};

use crate::output::size;
use crate::report::doctor::Finding;

const AREA: &str = "disk";
/// A transaction and its journal need less than this; below it nothing can be removed either.
const FREE_BYTES_MIN: u64 = 16 << 20;
const FREE_FILES_MIN: u64 = 200;
/// Less than this share free is worth a word.
const FREE_PERCENT_LOW: u64 = 5;

pub(super) fn look(root: &Path) -> Vec<Finding> {
    // Where there is no repository yet, it would be on the disk of the nearest directory.
    let place = root.ancestors().find(|path| path.exists());
    let Some((place, found)) = place.and_then(|path| Some((path, statvfs(path).ok()?))) else {
        let says = format!("cannot look at the disk of {}", root.display());
        return vec![Finding::ok(AREA, "space", says).warn("check its permissions")];
    };
    vec![space(place, &found), inodes(&found)]
}

fn space(place: &Path, found: &StatVfs) -> Finding {
    let (free, all) = (
        found.f_bavail * found.f_frsize,
        found.f_blocks * found.f_frsize,
    );
    let says = format!(
        "{} of {} free at {}",
        size(free),
        size(all),
        place.display()
    );
    let found = Finding::ok(AREA, "space", says);
    let advice = "run \"cairn gc\", or set gc.max-used and gc.min-free (\"cairn config list\")";
    match free {
        _ if free < FREE_BYTES_MIN => found.problem(advice),
        _ if free < all / 100 * FREE_PERCENT_LOW => found.warn(advice),
        _ => found,
    }
}

fn inodes(found: &StatVfs) -> Finding {
    // btrfs and its like make them as they need them.
    if found.f_files == 0 {
        return Finding::ok(AREA, "inodes", "made as they are needed");
    }
    let (free, all) = (found.f_favail, found.f_files);
    let found = Finding::ok(AREA, "inodes", format!("{free} of {all} free"));
    let advice = "run \"cairn gc --prune-cache\": the cache has a file for each file of an image";
    match free {
        _ if free < FREE_FILES_MIN => found.problem(advice),
        _ if free < all / 100 * FREE_PERCENT_LOW => found.warn(advice),
        _ => found,
    }
}
