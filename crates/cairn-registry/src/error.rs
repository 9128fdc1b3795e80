//! What can go wrong with a registry.

use std::fmt;
use std::time::Duration;

use cairn_image::RemoteError;
use cairn_model::{Cancelled, Class, NameError, one_line};

/// Result of an operation on a registry.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a registry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something could not be had from a registry, or brought to it.
    #[error("{object} of {repository}: {why}")]
    Failed {
        /// A manifest, a blob, an upload.
        object: String,
        /// Registry and repository.
        repository: String,
        /// What happened, and what to do.
        why: String,
        /// The class of the error.
        class: Class,
    },
    /// What is no reference.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A file of configuration that cannot be followed.
    #[error("{file}: {why}")]
    Configuration {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody ended the work.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Error {
    /// The class of the error.
    pub fn class(&self) -> Class {
        match self {
            Self::Failed { class, .. } => *class,
            Self::Name(_) => Class::Usage,
            Self::Configuration { .. } => Class::FailedPrecondition,
            Self::Cancelled(_) => Class::Cancelled,
        }
    }
}

impl From<Error> for RemoteError {
    fn from(error: Error) -> Self {
        Self {
            class: error.class(),
            text: one_line(&error),
        }
    }
}

/// Why one attempt failed, and whether another one may do better.
#[derive(Debug)]
pub(crate) struct Failure {
    pub why: String,
    pub class: Class,
    pub again: Again,
}

/// Whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// The same would happen.
    Never,
    /// After a while.
    Soon,
    /// Not before so much time has passed.
    After(Duration),
}

impl Failure {
    /// The registry sent what it must not.
    pub fn wrong(why: impl fmt::Display) -> Self {
        Self {
            why: why.to_string(),
            class: Class::FailedPrecondition,
            again: Again::Never,
        }
    }

    /// Something between here and the registry gave way.
    pub fn passing(why: impl fmt::Display) -> Self {
        Self {
            why: why.to_string(),
            class: Class::Unavailable,
            again: Again::Soon,
        }
    }

    /// The same would happen again.
    pub fn lasting(class: Class, why: impl fmt::Display) -> Self {
        Self {
            why: why.to_string(),
            class,
            again: Again::Never,
        }
    }

    /// The error, once it is clear what was wanted of whom.
    pub fn of(self, object: &str, repository: &str) -> Error {
        if self.class == Class::Cancelled {
            return Error::Cancelled(Cancelled);
        }
        Error::Failed {
            object: object.to_owned(),
            repository: repository.to_owned(),
            why: self.why,
            class: self.class,
        }
    }
}

impl From<Cancelled> for Failure {
    fn from(cancelled: Cancelled) -> Self {
        Self::lasting(Class::Cancelled, cancelled)
    }
}
