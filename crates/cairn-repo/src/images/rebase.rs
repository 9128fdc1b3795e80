//! Upper layers put on another base: a patched base reaches an image without a build.
//!
//! Nothing is read or written but documents and rows: the layers of both are there. The image it was keeps
//! its id, its layers and every byte until it is removed.

use std::collections::BTreeSet;

use cairn_layer::{Change, ChangeKind, NodeKind, Tree, diff};
use cairn_model::{Digest, ImageRef};
use serde::Serialize;

use super::{Image, Images};
use crate::error::{Error, Result};
use crate::import::Imported;
use crate::report;
use crate::time;

/// What a rebase made.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Rebased {
    /// The new image.
    #[serde(rename = "id", serialize_with = "crate::import::id_of")]
    pub image: Imported,
    /// The image it was made of, which is still there.
    #[serde(serialize_with = "report::text")]
    pub from: Digest,
    /// Layers of the old base that are below no more.
    pub layers_replaced: usize,
    /// Layers that were put on the new base.
    pub layers_kept: usize,
    /// Paths that the new base and the upper layers both changed: the upper layers' are seen, and what the
    /// new base says of them is not.
    #[serde(serialize_with = "report::rooted_paths")]
    pub both_changed: Vec<Vec<u8>>,
}

impl Images<'_> {
    /// Puts the layers that `image` has above `old_base` on `new_base`, as a new image named `name`.
    ///
    /// # Errors
    /// Where `image` does not begin with the layers of `old_base`, or the platforms differ.
    pub fn rebase(
        &self,
        image: &Image,
        old_base: &Image,
        new_base: &Image,
        name: Option<&ImageRef>,
    ) -> Result<Rebased> {
        // By their entries: documents can have several names for a layer.
        let below = &old_base.layers;
        let pairs = || image.layers.iter().zip(below);
        let same = pairs().take_while(|(a, b)| a.id == b.id).count();
        if same < below.len() {
            return Err(Error::Invalid(format!(
                "image {} is not built on {}: their layers differ from layer {} on; name the base it was built from with --old-base",
                image.row.id.short(),
                old_base.row.id.short(),
                same + 1
            )));
        }
        let (has, needs) = (new_base.config.platform(), image.config.platform());
        if (&has.os, &has.architecture) != (&needs.os, &needs.architecture) {
            return Err(Error::Invalid(format!(
                "image {} is for {}/{} and the new base for {}/{}; give a base of the same platform",
                image.row.id.short(),
                needs.os,
                needs.architecture,
                has.os,
                has.architecture
            )));
        }
        let upper = &image.layers[below.len()..];
        let both_changed = self.both_changed(image, old_base, new_base)?;
        let layers = [&new_base.layers[..], upper].concat();
        let config =
            image
                .config
                .on_base(&old_base.config, &new_base.config, &time::rfc3339_now())?;
        let names: Vec<ImageRef> = name.cloned().into_iter().collect();
        let ingest = self.repo.store.ingest()?;
        let made = self
            .repo
            .publish_image(ingest, &config, &layers, &layers, &names)?;
        Ok(Rebased {
            image: made,
            from: image.row.id,
            layers_replaced: below.len(),
            layers_kept: upper.len(),
            both_changed,
        })
    }

    fn both_changed(&self, image: &Image, old: &Image, new: &Image) -> Result<Vec<Vec<u8>>> {
        let tree = |image: &Image| self.repo.tree(&image.layers);
        let (before, base, top) = (tree(old)?, tree(new)?, tree(image)?);
        Ok(conflicts(&before, &base, &top))
    }
}

/// Paths that both `base` and `top` have otherwise than `before`. Directories in both are merged, and are none.
fn conflicts(before: &Tree, base: &Tree, top: &Tree) -> Vec<Vec<u8>> {
    let by_top = diff(before, top);
    let changed: BTreeSet<&[u8]> = by_top.iter().map(|change| &change.path[..]).collect();
    let is_directory = |tree: &Tree, path: &[u8]| {
        tree.get(path)
            .is_some_and(|id| matches!(tree.node(id).kind, NodeKind::Directory(_)))
    };
    // What a directory was replaced with covers all that is new below it.
    let covered = |path: &[u8]| {
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/');
        ends.map(|(end, _)| &path[..end])
            .any(|above| changed.contains(above) && !is_directory(top, above))
    };
    let meets = |change: &Change| {
        let path = &change.path[..];
        if change.kind == ChangeKind::Deleted && top.get(path).is_none() {
            return false;
        }
        covered(path)
            || changed.contains(path) && !(is_directory(base, path) && is_directory(top, path))
    };
    let by_base = diff(before, base).into_iter();
    by_base.filter(meets).map(|change| change.path).collect()
}
