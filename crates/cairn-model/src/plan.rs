//! Mounts are data: what to mount is computed; one place in `cairn-view` makes the system calls.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::PackId;

/// How a tree becomes a root file system, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// As `erofs`, with file contents read by the kernel from the packs themselves (Linux 6.15, root). Only
    /// used where it is named.
    Packs,
    /// File-backed EROFS metadata image and object cache under overlayfs (Linux 6.12, root).
    Erofs,
    /// The same with the image on a loop device (Linux 6.5, root).
    ErofsLoop,
    /// One flattened directory as the lower of a plain overlay (root).
    Overlay,
    /// The same in a user namespace, for ordinary users (Linux 5.11).
    OverlayUser,
    /// A full copy; needs no privilege.
    Copy,
}

impl Driver {
    /// All drivers.
    pub const ALL: [Self; 6] = [
        Self::Packs,
        Self::Erofs,
        Self::ErofsLoop,
        Self::Overlay,
        Self::OverlayUser,
        Self::Copy,
    ];
    /// Those that are used without being named, best first.
    pub const AUTOMATIC: [Self; 5] = [
        Self::Erofs,
        Self::ErofsLoop,
        Self::Overlay,
        Self::OverlayUser,
        Self::Copy,
    ];
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Packs => "packs",
            Self::Erofs => "erofs",
            Self::ErofsLoop => "erofs-loop",
            Self::Overlay => "overlay",
            Self::OverlayUser => "overlay-user",
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
            format!("unknown driver {text:?}; use packs, erofs, erofs-loop, overlay, overlay-user or copy")
        })
    }
}

/// The writable part of an overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Upper directory: what was changed.
    pub upper: PathBuf,
    /// Work directory of the overlay, on the same file system.
    pub work: PathBuf,
}

/// Metadata images over directories of data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagePlan {
    /// EROFS images, topmost first.
    pub images: Vec<ViewImage>,
    /// Directories of objects, in which the data of a file is looked up one after the other.
    pub data: Vec<PathBuf>,
    /// Where writes go; none for a read-only mount.
    pub head: Option<Head>,
}

/// Metadata images over images whose file contents lie in packs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackPlan {
    /// EROFS images of metadata, topmost first.
    pub images: Vec<ViewImage>,
    /// Where the contents of files are, looked into in this order.
    pub contents: Vec<PackedContents>,
    /// Directories of objects, for files that are not read from packs.
    pub data: Vec<PathBuf>,
    /// Where writes go; none for a read-only mount.
    pub head: Option<Head>,
}

/// An EROFS image, and where it may be mounted already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewImage {
    /// The image.
    pub file: PathBuf,
    /// The UUID in its superblock.
    pub uuid: [u8; 16],
    /// Where it may be mounted for all who need it. A mount that finds it there shares page cache with them.
    pub shared: Option<PathBuf>,
}

/// An image that says where in packs the contents of files are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedContents {
    /// The image.
    pub image: ViewImage,
    /// The packs that it names, in its order.
    pub packs: Vec<PackFile>,
}

/// A pack as a mount needs it: the very file that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackFile {
    /// Where it is.
    pub path: PathBuf,
    /// What its header says.
    pub id: PackId,
    /// Its length.
    pub bytes: u64,
}

/// Directories over each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackPlan {
    /// Lower directories, topmost first.
    pub lowers: Vec<PathBuf>,
    /// Where writes go; none for a read-only mount, which then has two lowers at least.
    pub head: Option<Head>,
}

/// One directory that holds everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyPlan {
    /// The directory.
    pub directory: PathBuf,
    /// It belongs to one snapshot, which is written to in place.
    pub writable: bool,
}

/// All that is needed to mount a snapshot, by driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "driver", rename_all = "kebab-case")]
pub enum MountPlan {
    /// By [`Driver::Packs`].
    Packs(PackPlan),
    /// By [`Driver::Erofs`].
    Erofs(ImagePlan),
    /// By [`Driver::ErofsLoop`].
    ErofsLoop(ImagePlan),
    /// By [`Driver::Overlay`].
    Overlay(StackPlan),
    /// By [`Driver::OverlayUser`].
    OverlayUser(StackPlan),
    /// By [`Driver::Copy`].
    Copy(CopyPlan),
}

impl MountPlan {
    /// The same without what is written over it, where images show all of that.
    pub fn images_alone(&self) -> Option<Self> {
        let mut plan = self.clone();
        match &mut plan {
            Self::Packs(of) => of.head = None,
            Self::Erofs(of) | Self::ErofsLoop(of) => of.head = None,
            _ => return None,
        }
        Some(plan)
    }

    /// The images that it is made of, topmost first.
    pub fn images(&self) -> &[ViewImage] {
        match self {
            Self::Packs(of) => &of.images,
            Self::Erofs(of) | Self::ErofsLoop(of) => &of.images,
            _ => &[],
        }
    }

    /// The driver that carries it out.
    pub fn driver(&self) -> Driver {
        match self {
            Self::Packs(_) => Driver::Packs,
            Self::Erofs(_) => Driver::Erofs,
            Self::ErofsLoop(_) => Driver::ErofsLoop,
            Self::Overlay(_) => Driver::Overlay,
            Self::OverlayUser(_) => Driver::OverlayUser,
            Self::Copy(_) => Driver::Copy,
        }
    }
}
