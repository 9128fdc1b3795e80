//! What can go wrong with containers.

use std::io;

use cairn_model::Class;

/// Result of an operation on containers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What became of each name.
pub type Outcomes<T = ()> = Vec<(String, Result<T>)>;

/// What can go wrong with containers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither an image nor a snapshot has this name.
    #[error("no image or snapshot named {0}; see \"cairn images\" and \"cairn snapshot ls\"")]
    NoImage(String),
    /// The repository refused.
    #[error(transparent)]
    Repo(#[from] cairn_repo::Error),
    /// The runtime refused.
    #[error(transparent)]
    Runtime(#[from] cairn_runtime::Error),
    /// An archive is not what it should be.
    #[error(transparent)]
    Archive(#[from] cairn_layer::Error),
    /// A step that the system refused.
    #[error("{step}")]
    Step {
        /// What was tried.
        step: String,
        /// Why not.
        source: io::Error,
    },
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// It cannot be done as things are.
    #[error("{0}")]
    Refused(String),
    /// The container did not start: exit code and the reason.
    #[error("{words}")]
    NotStarted {
        /// Exit code, as Docker has it.
        code: u8,
        /// Why not.
        words: String,
    },
}

impl Error {
    /// The class of the error.
    pub fn class(&self) -> Class {
        match self {
            Self::Repo(e) => e.class(),
            Self::Runtime(e) => e.class(),
            Self::Archive(e) => e.class(),
            Self::Step { source, .. } => Class::of_io(source),
            Self::Usage(_) => Class::Usage,
            Self::NoImage(_) => Class::FailedPrecondition,
            Self::Refused(_) | Self::NotStarted { .. } => Class::FailedPrecondition,
        }
    }
}

pub(crate) trait Step<T> {
    fn step(self, step: impl Into<String>) -> Result<T>;
}

impl<T> Step<T> for io::Result<T> {
    fn step(self, step: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Step {
            step: step.into(),
            source,
        })
    }
}

/// What an option says that cannot be.
pub(crate) fn usage<T>(option: &str, text: &str, why: &str) -> Result<T> {
    Err(Error::Usage(format!("{option} {text}: {why}")))
}
