//! What files below a directory take.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cairn_model::Watch;
use cairn_store::layout::{Part, TOP_LEVEL};

use crate::error::{At, Result};

/// Looks at each file once, at one place after the other.
fn walk<'a>(
    places: impl DoubleEndedIterator<Item = &'a Path>,
    watch: &Watch,
    count: &mut dyn FnMut(&std::fs::Metadata),
) -> Result<()> {
    let mut seen = HashSet::new();
    let mut stack: Vec<PathBuf> = places.rev().map(Path::to_owned).collect();
    while let Some(path) = stack.pop() {
        watch.check()?;
        // Files of a live repository come and go under a walk.
        let Ok(meta) = path.symlink_metadata() else {
            continue;
        };
        if seen.insert((meta.dev(), meta.ino())) {
            count(&meta);
        }
        if meta.is_dir() {
            let entries = match std::fs::read_dir(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                entries => entries.at("list", &path)?,
            };
            stack.extend(entries.flatten().map(|entry| entry.path()));
        }
    }
    Ok(())
}

/// Lengths of all files, holes left out.
pub(crate) fn apparent_bytes(root: &Path, watch: &Watch) -> Result<u64> {
    let mut sum = 0;
    walk([root].into_iter(), watch, &mut |meta| {
        if !meta.is_dir() {
            sum += meta.len().min(meta.blocks() * 512);
        }
    })?;
    Ok(sum)
}

/// As `du` counts: blocks of files and directories.
pub(crate) fn disk_bytes(root: &Path, watch: &Watch) -> Result<u64> {
    blocks([root].into_iter(), watch)
}

/// The same of these parts of the repository in `root`. A pack that is put in its place meanwhile counts once.
pub(crate) fn disk_bytes_of(
    root: &Path,
    wanted: impl Fn(Part) -> bool,
    watch: &Watch,
) -> Result<u64> {
    // From the last: what is written is in `tmp` before it is in its place, and that comes first in the list.
    let places = TOP_LEVEL.iter().rev().filter(|place| wanted(place.part));
    let places: Vec<PathBuf> = places.map(|place| root.join(place.name)).collect();
    blocks(places.iter().map(PathBuf::as_path), watch)
}

fn blocks<'a>(places: impl DoubleEndedIterator<Item = &'a Path>, watch: &Watch) -> Result<u64> {
    let mut sum = 0;
    walk(places, watch, &mut |meta| sum += meta.blocks() * 512)?;
    Ok(sum)
}
