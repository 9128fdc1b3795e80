//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};

use cairn_model::{BlobId, Cancelled, Class, PackId};

/// Result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the store. Each message names the object and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused a file operation.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Bytes on disk are not what was written.
    #[error("{object} is damaged: {why}; run \"cairn check\" to see what it touches")]
    Corrupt {
        /// What is damaged.
        object: String,
        /// How that shows.
        why: String,
    },
    /// A blob that is referred to is in no pack.
    #[error(
        "blob {0} is missing; run \"cairn check\" to see what needs it, and import its image again to restore it"
    )]
    MissingBlob(BlobId),
    /// A pack vanished while it was read.
    #[error("pack {0} is missing; run \"cairn check --repair\"")]
    MissingPack(PackId),
    /// There is no repository at this path.
    #[error("there is no Cairn repository in {}; run \"cairn init\" to make one there, or name another with --root or CAIRN_ROOT", .0.display())]
    NotARepository(PathBuf),
    /// A repository whose file `format` is gone or is not what it was.
    #[error("{}: the file \"format\" of this repository is missing or damaged, its journal or packs are there; \"cairn check --repair\" writes it again", .0.display())]
    FormatLost(PathBuf),
    /// A newer or foreign repository.
    #[error("{} has repository format {found:?}; this program knows {known:?}; use a newer version of Cairn", .path.display())]
    Format {
        /// The file that says so.
        path: PathBuf,
        /// Its words.
        found: String,
        /// Ours.
        known: &'static str,
    },
    /// A repository that uses what this program does not know.
    #[error("the repository in {} requires the feature {names}, which this version of Cairn does not know; use a newer version of Cairn", .root.display())]
    UnknownFeature {
        /// Its directory.
        root: PathBuf,
        /// The features.
        names: String,
    },
    /// The repository below this one does not open.
    #[error("the repository in {} needs its base {}, which does not open; mount it, or say with --base-root or CAIRN_BASE_ROOT where it is now", .root.display(), .base.display())]
    NoBase {
        /// The repository.
        root: PathBuf,
        /// Its base.
        base: PathBuf,
        /// Why not.
        source: Box<Error>,
    },
    /// Something is wrong in the repository below this one.
    #[error("base repository {}, which only its owner can repair", .base.display())]
    InBase {
        /// The base.
        base: PathBuf,
        /// What.
        source: Box<Error>,
    },
    /// A value is over a limit that protects memory.
    #[error("{what} is too large: {size} bytes, the limit is {limit}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size in bytes.
        size: u64,
        /// Largest size allowed.
        limit: u64,
    },
    /// The database did not do what was asked.
    #[error("database {}: {why}; it is rebuilt from the journal by \"cairn check --repair\"", .path.display())]
    Database {
        /// Its directory.
        path: PathBuf,
        /// What it said.
        why: String,
    },
    /// The database did not open, and the journal does not make up for it.
    #[error("database {}: {why}", .path.display())]
    NoDatabase {
        /// Its directory.
        path: PathBuf,
        /// What it said.
        why: String,
    },
    /// The repository lock was not had in time.
    #[error("the repository lock was not free within {} s; it is held by {holder}; try again", .waited.as_secs())]
    Locked {
        /// Pid and command of who has it.
        holder: String,
        /// How long it was waited for.
        waited: std::time::Duration,
    },
    /// A limit of the repository or of its disk keeps content from being written.
    #[error(
        "no room: {why}; remove images and run \"cairn gc\", or see \"cairn config list\" for limits"
    )]
    NoRoom {
        /// Which limit.
        why: String,
    },
    /// Somebody ended the work.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// A worker thread of an ingest died.
    #[error("a worker of the import stopped early; nothing was published")]
    Worker,
}

impl Error {
    /// The class of the error.
    pub fn class(&self) -> Class {
        match self {
            Self::Io { source, .. } => Class::of_io(source),
            Self::Corrupt { .. }
            | Self::MissingBlob(_)
            | Self::MissingPack(_)
            | Self::FormatLost(_)
            | Self::Database { .. } => Class::Corrupt,
            Self::NotARepository(_) => Class::NotFound,
            Self::Format { .. } | Self::UnknownFeature { .. } | Self::TooLarge { .. } => {
                Class::FailedPrecondition
            }
            Self::NoDatabase { .. }
            | Self::NoBase { .. }
            | Self::Locked { .. }
            | Self::NoRoom { .. } => Class::Unavailable,
            Self::InBase { source, .. } => source.class(),
            Self::Cancelled(_) => Class::Cancelled,
            Self::Worker => Class::Internal,
        }
    }

    /// True where stored bytes are wrong or gone (exit code 3), false for everything else.
    pub fn is_corruption(&self) -> bool {
        self.class() == Class::Corrupt
    }

    /// True where there was no room.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if cairn_model::is_full(source))
    }

    /// A damaged object.
    pub fn corrupt(object: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Corrupt {
            object: object.into(),
            why: why.into(),
        }
    }
}

/// Adds what was tried on which path to an `io::Error`.
pub trait IoContext<T> {
    /// The same result with words to the error.
    fn at(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> IoContext<T> for Result<T, E> {
    fn at(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io {
            action,
            path: path.to_owned(),
            source: source.into(),
        })
    }
}
