//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};

use cairn_model::{BlobId, PackId};

/// Result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the store. Each message names the object and what to do.
#[derive(Debug, thiserror::Error)]
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
        "blob {0} is missing; run \"cairn check\" to see what needs it, and import its image again to heal it"
    )]
    MissingBlob(BlobId),
    /// A pack vanished while it was read.
    #[error("pack {0} is missing; run \"cairn check --repair\"")]
    MissingPack(PackId),
    /// There is no repository at this path.
    #[error("{} is not a Cairn repository (it has no file \"format\"); give --root or CAIRN_ROOT", .0.display())]
    NotARepository(PathBuf),
    /// A newer or foreign repository.
    #[error("{} has repository format {found:?}; this program knows {known:?}", .path.display())]
    Format {
        /// The file that says so.
        path: PathBuf,
        /// Its words.
        found: String,
        /// Ours.
        known: &'static str,
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
    /// A worker thread of an ingest died.
    #[error("a worker of the import stopped early; nothing was published")]
    Worker,
}

impl Error {
    /// True where stored bytes are wrong or gone (exit code 3), false for everything else.
    pub fn is_corruption(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. } | Self::MissingBlob(_) | Self::MissingPack(_)
        )
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
