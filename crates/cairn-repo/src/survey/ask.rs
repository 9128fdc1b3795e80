//! What a view is asked for.

use std::time::Duration;

/// What the rows of a view are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum By {
    /// Images, and snapshots that are the top of a chain no image has.
    Image,
    /// Layers.
    Layer,
    /// Committed snapshots.
    Snapshot,
    /// Writable directories of active snapshots.
    Head,
    /// Directories and files down to some depth.
    Path,
    /// Single files.
    File,
    /// Kinds of files, by their names.
    Type,
    /// Packages, by the records of package managers in the images.
    Package,
    /// The days on which layers came.
    Day,
}

/// What a view is to show.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Its rows.
    pub by: By,
    /// Only the layers of this image.
    pub image: Option<String>,
    /// For [`By::Path`]: how many parts of a path a row has.
    pub depth: usize,
    /// Only what nothing had before this time from now.
    pub since: Option<Duration>,
}

impl Ask {
    /// All there is.
    pub fn new(by: By) -> Self {
        Self {
            by,
            image: None,
            depth: 1,
            since: None,
        }
    }
}
