//! Errors, each of a class that an edge can map to its own codes.

/// Result of a snapshot operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of refusal an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The name is taken.
    AlreadyExists,
    /// There is no such thing.
    NotFound,
    /// The call makes no sense.
    InvalidArgument,
    /// The call makes sense, but not now.
    FailedPrecondition,
    /// Everything else.
    Unavailable,
}

/// Why the graph refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] cairn_store::Error),
    /// The key or name is taken.
    #[error("snapshot {0} already exists; choose another name or remove it first")]
    Exists(String),
    /// No snapshot of this name.
    #[error("snapshot {0} does not exist; \"cairn snapshot ls\" lists those that do")]
    NotFound(String),
    /// The parent cannot be one.
    #[error("snapshot {0} is not committed and so cannot be a parent; commit it first")]
    ParentNotCommitted(String),
    /// It has children.
    #[error("cannot remove snapshot {key}: snapshot {child} depends on it; remove that one first")]
    HasChildren {
        /// What was to be removed.
        key: String,
        /// One of its children.
        child: String,
    },
    /// Only an active snapshot can be committed or written.
    #[error("snapshot {key} is {kind}, not active: only an active snapshot can be {action}")]
    NotActive {
        /// Which.
        key: String,
        /// What it is.
        kind: &'static str,
        /// What was asked.
        action: &'static str,
    },
    /// Something holds it.
    #[error("snapshot {key} is in use by {by}")]
    InUse {
        /// Which.
        key: String,
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
            Self::Exists(_) => Class::AlreadyExists,
            Self::NotFound(_) => Class::NotFound,
            Self::Invalid(_) => Class::InvalidArgument,
            Self::ParentNotCommitted(_)
            | Self::HasChildren { .. }
            | Self::NotActive { .. }
            | Self::InUse { .. } => Class::FailedPrecondition,
            Self::Store(_) => Class::Unavailable,
        }
    }
}
