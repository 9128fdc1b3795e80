//! What can go wrong with an archive.

use std::io;
use std::path::{Path, PathBuf};

use cairn_model::{Class, Digest};

/// Result of an image operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something did not come: a line for people, and its class.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct RemoteError {
    /// What failed, why, and what to do.
    pub text: String,
    /// The class of the error.
    pub class: Class,
}

/// What can go wrong with an archive or document.
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
    /// The archive lacks a file that it refers to.
    #[error("{archive} is incomplete: {member} is missing")]
    Missing {
        /// The archive.
        archive: String,
        /// The file in it.
        member: String,
    },
    /// A document or archive that is not what it should be.
    #[error("{what} is not valid: {why}")]
    Invalid {
        /// Which.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// Bytes whose hash is not the digest that names them.
    #[error(
        "{what} should be {expected} but is {actual}: it is damaged or was tampered with; nothing was imported"
    )]
    Digest {
        /// Which bytes.
        what: String,
        /// What names them.
        expected: Digest,
        /// What they are.
        actual: Digest,
    },
    /// More bytes than the caller allows.
    #[error(
        "{archive} is larger than {bytes_max} bytes uncompressed; to import it anyway, increase --max-bytes"
    )]
    TooLong {
        /// The archive.
        archive: String,
        /// Bytes allowed.
        bytes_max: u64,
    },
    /// The registry did not give something.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// No image for the platform.
    #[error("{archive} has no image for {wanted}, only for {present}; choose one with --platform")]
    Platform {
        /// The archive.
        archive: String,
        /// What was asked for.
        wanted: String,
        /// What there is.
        present: String,
    },
}

impl Error {
    /// The class of the error.
    pub fn class(&self) -> Class {
        match self {
            Self::Io { source, .. } => Class::of_io(source),
            // The archive is the caller's; what is stored here is not in doubt.
            Self::Missing { .. }
            | Self::Invalid { .. }
            | Self::TooLong { .. }
            | Self::Digest { .. } => Class::FailedPrecondition,
            Self::Platform { .. } => Class::NotFound,
            Self::Remote(e) => e.class,
        }
    }

    pub(crate) fn invalid(what: impl Into<String>, why: impl ToString) -> Self {
        Self::Invalid {
            what: what.into(),
            why: why.to_string(),
        }
    }
}

pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io {
            action,
            path: path.to_owned(),
            source,
        })
    }
}
