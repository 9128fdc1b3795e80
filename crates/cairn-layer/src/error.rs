//! What can go wrong with a layer.

use std::io;

use cairn_model::{Class, Digest, LayerId, path_display};

/// Result of a layer operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] cairn_store::Error),
    /// The stream that is read failed.
    #[error("cannot read the layer's stream")]
    Read(#[source] io::Error),
    /// Where the bytes go failed.
    #[error("cannot write the layer's stream")]
    Write(#[source] io::Error),
    /// The tar is not one, or is cut off.
    #[error("the layer's tar is broken at byte {at}: {why}")]
    Tar {
        /// Offset in the uncompressed tar.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// An entry that Cairn refuses.
    #[error("entry {}: {why}", path_display(.path))]
    Entry {
        /// Its path as it stands in the archive.
        path: Vec<u8>,
        /// Why it is refused.
        why: String,
    },
    /// A limit that protects memory and disk.
    #[error(
        "the layer has more than {limit} {what}; if it is to be trusted, raise the limit with {option}"
    )]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        limit: u64,
        /// What raises the limit.
        option: &'static str,
    },
    /// A stored manifest or framing does not decode.
    #[error("{what} of layer {layer} is damaged; run \"cairn check\" to see what it touches")]
    Damaged {
        /// Manifest or framing.
        what: &'static str,
        /// The layer.
        layer: LayerId,
    },
    /// A file of a directory that is read or written.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which path, for people.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The exported tar is not the one that was imported.
    #[error(
        "layer {expected} came out as {actual}: its framing or a blob is damaged; run \"cairn check\""
    )]
    Differs {
        /// Diff id as imported.
        expected: Digest,
        /// Diff id of what came out.
        actual: Digest,
    },
}

impl Error {
    /// The class of the error.
    pub fn class(&self) -> Class {
        match self {
            Self::Store(e) => e.class(),
            Self::Damaged { .. } | Self::Differs { .. } => Class::Corrupt,
            Self::Read(e) | Self::Write(e) | Self::File { source: e, .. } => Class::of_io(e),
            Self::Tar { .. } | Self::Entry { .. } | Self::Limit { .. } => Class::FailedPrecondition,
        }
    }

    /// True where stored bytes are wrong or gone.
    pub fn is_corruption(&self) -> bool {
        self.class() == Class::Corrupt
    }

    pub(crate) fn entry(path: &[u8], why: impl Into<String>) -> Self {
        Self::Entry {
            path: path.to_vec(),
            why: why.into(),
        }
    }

    pub(crate) fn file(action: &'static str, path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::File {
            action,
            path: path_display(path),
            source: source.into(),
        }
    }
}
