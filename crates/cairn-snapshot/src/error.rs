//! Errors, each of a class that an edge can map to its own codes.

use cairn_model::{Class, SnapshotKey};

/// Result of a snapshot operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the graph refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] cairn_store::Error),
    /// The key or name is taken.
    #[error("snapshot {0} already exists; choose another name or remove it first")]
    Exists(SnapshotKey),
    /// No snapshot of this name.
    #[error("snapshot {0} does not exist; see \"cairn snapshot ls\"")]
    NotFound(SnapshotKey),
    /// The parent cannot be one.
    #[error("snapshot {0} is not committed and cannot be a parent; commit it first")]
    ParentNotCommitted(SnapshotKey),
    /// It has children.
    #[error("cannot remove snapshot {key}: snapshot {child} depends on it; remove that one first")]
    HasChildren {
        /// What was to be removed.
        key: SnapshotKey,
        /// One of its children.
        child: SnapshotKey,
    },
    /// Only an active snapshot can be committed or written.
    #[error("snapshot {key} is {kind}, not active: only an active snapshot can be {action}")]
    NotActive {
        /// Which.
        key: SnapshotKey,
        /// What it is.
        kind: &'static str,
        /// What was asked.
        action: &'static str,
    },
    /// What has a parent keeps it.
    #[error(
        "snapshot {key} stands on {parent} and cannot be committed onto another; leave the parent out"
    )]
    OtherParent {
        /// Which.
        key: SnapshotKey,
        /// Its parent.
        parent: SnapshotKey,
    },
    /// A committed snapshot is not mounted itself.
    #[error("snapshot {0} is committed and cannot be mounted; create a view of it first")]
    NotMountable(SnapshotKey),
    /// Something holds it.
    #[error("snapshot {key} is in use by {by}")]
    InUse {
        /// Which.
        key: SnapshotKey,
        /// By what.
        by: String,
    },
    /// A field that cannot be changed, a filter that does not parse, a label that is too long.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// The class of the error.
    pub fn class(&self) -> Class {
        match self {
            Self::Exists(_) => Class::Exists,
            Self::NotFound(_) => Class::NotFound,
            Self::Invalid(_) | Self::OtherParent { .. } => Class::Usage,
            Self::ParentNotCommitted(_)
            | Self::HasChildren { .. }
            | Self::NotActive { .. }
            | Self::NotMountable(_) => Class::FailedPrecondition,
            Self::InUse { .. } => Class::InUse,
            Self::Store(e) => e.class(),
        }
    }
}
