//! Heads of the driver copy: `upper` is a full copy of the tree, and is used once it is whole on the disk.
//!
//! `copying` beside it is on the disk before the first file of the copy and `copied` after the last one;
//! between the two there is nothing in `upper` that a process wrote, and the copy is made again.

use std::fs::File;
use std::path::Path;

use cairn_layer::{Tree, checkout};
use cairn_store::Store;

use crate::error::{At, Error, Result};

const BEGUN: &str = "copying";
const DONE: &str = "copied";

/// Fills `upper` with a copy of a tree, unless that was done before.
pub(crate) fn ensure_copy<E: From<Error>>(
    store: &Store,
    upper: &Path,
    tree: impl FnOnce() -> Result<Tree, E>,
) -> Result<(), E> {
    if upper.with_file_name(DONE).exists() {
        return Ok(());
    }
    let tree = tree()?;
    Ok(copy(store, upper, &tree)?)
}

fn copy(store: &Store, upper: &Path, tree: &Tree) -> Result<()> {
    let begun = upper.with_file_name(BEGUN);
    if begun.exists() {
        clear(upper)?;
    } else {
        let mut entries = std::fs::read_dir(upper).at("list", upper)?;
        if entries.next().is_some() {
            let why = "it holds what another driver wrote; name that one with --driver";
            return Err(std::io::Error::other(why)).at("copy into", upper);
        }
        mark(&begun)?;
    }
    checkout(store, tree, upper)?;
    // Thousands of files and directories in one call, instead of one for each.
    let directory = File::open(upper).at("open", upper)?;
    rustix::fs::syncfs(&directory).at("sync", upper)?;
    mark(&upper.with_file_name(DONE))?;
    std::fs::remove_file(&begun).at("remove", &begun)
}

/// Makes an empty file, durably.
fn mark(path: &Path) -> Result<()> {
    let file = File::create(path).at("create", path)?;
    file.sync_all().at("sync", path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let opened = File::open(directory).at("open", directory)?;
    opened.sync_all().at("sync", directory)
}

fn clear(directory: &Path) -> Result<()> {
    for entry in std::fs::read_dir(directory).at("list", directory)? {
        let path = entry.at("list", directory)?.path();
        let is_directory = path.symlink_metadata().at("stat", &path)?.is_dir();
        let removed = if is_directory {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.at("remove", &path)?;
    }
    Ok(())
}
