//! What files below a directory take.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cairn_model::Watch;

use crate::error::{At, Result};

fn walk(root: &Path, watch: &Watch, count: &mut dyn FnMut(&std::fs::Metadata)) -> Result<()> {
    let mut seen = HashSet::new();
    let mut stack = vec![root.to_owned()];
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
            for entry in std::fs::read_dir(&path).at("list", &path)?.flatten() {
                stack.push(entry.path());
            }
        }
    }
    Ok(())
}

/// Lengths of all files, holes left out.
pub(crate) fn apparent_bytes(root: &Path, watch: &Watch) -> Result<u64> {
    let mut sum = 0;
    walk(root, watch, &mut |meta| {
        if !meta.is_dir() {
            sum += meta.len().min(meta.blocks() * 512);
        }
    })?;
    Ok(sum)
}

/// As `du` counts: blocks of files and directories.
pub(crate) fn disk_bytes(root: &Path, watch: &Watch) -> Result<u64> {
    let mut sum = 0;
    walk(root, watch, &mut |meta| sum += meta.blocks() * 512)?;
    Ok(sum)
}
