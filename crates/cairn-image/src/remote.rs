//! Images whose documents and layers do not lie in a file: those of a registry.

use std::fmt;
use std::io::Read;

use cairn_model::Digest;

use crate::error::RemoteError;

/// A blob that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteBlob {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its length, bytes.
    pub bytes: u64,
    /// What its manifest says that it is.
    pub media_type: String,
}

/// Where manifests and blobs of one repository come from. What it hands out need not be verified: whoever
/// asks does that.
pub trait Remote: fmt::Debug + Send + Sync {
    /// For messages: which repository it is.
    fn name(&self) -> String;

    /// A manifest or index; fails where it is longer than a document may be.
    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, RemoteError>;

    /// A whole blob, which is a document.
    fn document(&self, blob: &RemoteBlob) -> Result<Vec<u8>, RemoteError>;

    /// Starts reading a layer.
    fn layer(&self, blob: &RemoteBlob) -> Result<Box<dyn Read + Send>, RemoteError>;

    /// Before these are read: waits until nobody else on this machine fetches one of them, and keeps others
    /// waiting until [`Remote::release`]. True where somebody was waited for, who may have brought what they are.
    fn reserve(&self, blobs: &[RemoteBlob]) -> Result<bool, RemoteError>;

    /// Lets go of what was reserved; `published` where what was fetched is not needed any more.
    fn release(&self, published: bool);

    /// What was read of a blob was wrong. True where a part of it came from an earlier attempt and is
    /// forgotten now, so that another one may give something else.
    fn forget(&self, blob: &RemoteBlob) -> bool;
}
