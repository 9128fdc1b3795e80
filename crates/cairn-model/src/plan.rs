//! Mounts are data: what to mount is computed; one place in `cairn-view` makes the system calls.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a tree becomes a root file system, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// File-backed EROFS metadata image and object cache under overlayfs (Linux 6.12, root).
    Erofs,
    /// The same with the image on a loop device (Linux 6.5, root).
    ErofsLoop,
    /// One flattened directory as the lower of a plain overlay (root).
    Overlay,
    /// A full copy; needs no privilege.
    Copy,
}

impl Driver {
    /// All drivers, best first.
    pub const ALL: [Self; 4] = [Self::Erofs, Self::ErofsLoop, Self::Overlay, Self::Copy];
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Erofs => "erofs",
            Self::ErofsLoop => "erofs-loop",
            Self::Overlay => "overlay",
            Self::Copy => "copy",
        })
    }
}

impl FromStr for Driver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL
            .into_iter()
            .find(|driver| driver.to_string() == text);
        found.ok_or_else(|| {
            format!("unknown driver {text:?}; use erofs, erofs-loop, overlay or copy")
        })
    }
}

/// The writable part of a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Overlay upper directory, or the full copy itself under [`Driver::Copy`].
    pub upper: PathBuf,
    /// Overlay work directory, on the same file system.
    pub work: PathBuf,
}

/// All that is needed to mount a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPlan {
    /// How.
    pub driver: Driver,
    /// Lower layers, topmost first: EROFS images for the erofs drivers, directories for the others.
    pub lowers: Vec<PathBuf>,
    /// The object cache, for the erofs drivers.
    pub objects: Option<PathBuf>,
    /// Where writes go; none for a read-only mount.
    pub head: Option<Head>,
}
