//! Directories in and out: import of a tree, commit of what a container changed, checkout.

mod bounds;
mod checkout;
mod commit_copy;
mod commit_upper;
mod contents;
mod emit;
mod fingerprint;
mod inode;
mod left_out;
mod mapped;
mod overlay_xattr;
mod owners;
mod read_ahead;
mod scan;

use cairn_model::Entry;

use crate::layer::Layer;

pub use checkout::{checkout, checkout_for_overlay, write_pieces};
pub use commit_copy::commit_copy;
pub use commit_upper::{Upper, commit_upper};
pub(crate) use emit::Emitter;
pub use fingerprint::{Fingerprint, Survey, root_of, survey};
pub use inode::directory_meta;
pub use overlay_xattr::OverlayAttributes;
pub use owners::Owners;
pub use scan::scan;

/// A directory as a layer.
#[derive(Debug)]
pub struct Scanned {
    /// The layer.
    pub layer: Layer,
    /// Its entries.
    pub entries: Vec<Entry>,
    /// What was left out.
    pub report: CommitReport,
}

/// What a scan or commit left out, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitReport {
    /// Sockets and, in a commit, device nodes: no layer holds them.
    pub dropped: Vec<Vec<u8>>,
    /// Directories on which something else is mounted: taken empty.
    pub mounts: Vec<Vec<u8>>,
}
