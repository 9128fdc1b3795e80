//! The merged root file system of an image, as a directory.

use std::collections::HashSet;
use std::path::Path;

use cairn_layer::{Tree, checkout};
use cairn_model::Kind;

use super::new_directory::NewDirectory;
use crate::error::{At, Error, Result};
use crate::images::{Image, Images};

impl Images<'_> {
    /// Writes the merged root file system of an image into `output`, a new or empty directory, which only
    /// its owner can enter until it is complete. Device nodes are made where `devices` says so; returns
    /// the paths of those that were left out.
    pub fn export_root(&self, image: &Image, output: &Path, devices: bool) -> Result<Vec<Vec<u8>>> {
        let made = NewDirectory::prepare(output, 0o700, self.repo.watch())?;
        let mut tree = self.repo.tree(&image.layers)?;
        let left_out = if devices {
            Vec::new()
        } else {
            leave_out_devices(&mut tree)?
        };
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(output, mode).at("change the mode of", output)?;
        // The root gets its own mode last.
        let skipped = checkout(&self.repo.store, &tree, output)?;
        made.keep();
        if let Some(first) = skipped.first() {
            let path = cairn_model::path_display(first);
            return Err(Error::Invalid(format!(
                "creating device nodes requires root; {} were skipped, the first is {path}; everything else was written",
                skipped.len()
            )));
        }
        Ok(left_out)
    }
}

/// Takes device nodes and all their names out of a tree; returns their paths.
fn leave_out_devices(tree: &mut Tree) -> Result<Vec<Vec<u8>>> {
    let is_device = |id| {
        matches!(
            tree.kind(id),
            Kind::CharDevice { .. } | Kind::BlockDevice { .. }
        )
    };
    let devices: Vec<Vec<u8>> = tree
        .walk()
        .into_iter()
        .filter(|(_, id)| is_device(*id))
        .map(|(path, _)| path)
        .collect();
    if !devices.is_empty() {
        let gone: HashSet<&Vec<u8>> = devices.iter().collect();
        let mut entries = tree.entries();
        entries.retain(|entry| !gone.contains(&entry.path));
        let mut rest = Tree::new();
        rest.apply(&entries)?;
        *tree = rest;
    }
    Ok(devices)
}
