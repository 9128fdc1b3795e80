//! What can go wrong with a container of a bundle.

use std::io;

use cairn_model::Class;

/// Result of an operation on containers of bundles.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a container of a bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The runtime refused.
    #[error(transparent)]
    Runtime(#[from] cairn_runtime::Error),
    /// A step that the system refused.
    #[error("{step}")]
    Step {
        /// What was tried.
        step: String,
        /// Why not.
        source: io::Error,
    },
    /// A document or an argument that makes no sense, or asks for what there is not.
    #[error("{0}")]
    Invalid(String),
    /// No such container.
    #[error("container {0:?} does not exist")]
    NotFound(String),
    /// The name is taken.
    #[error("container with id {0:?} exists already; delete it first")]
    Exists(String),
    /// It is not in the state that this needs.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    pub(crate) fn step(step: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Step {
            step: step.into(),
            source: source.into(),
        }
    }

    /// The class of the error.
    pub fn class(&self) -> Class {
        match self {
            Self::Runtime(e) => e.class(),
            Self::Step { source, .. } => Class::of_io(source),
            Self::Invalid(_) => Class::Usage,
            Self::NotFound(_) => Class::NotFound,
            Self::Exists(_) => Class::Exists,
            Self::Refused(_) => Class::FailedPrecondition,
        }
    }
}

pub(crate) trait Context<T> {
    fn step(self, step: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn step(self, step: impl Into<String>) -> Result<T> {
        self.map_err(|e| Error::step(step, e))
    }
}
