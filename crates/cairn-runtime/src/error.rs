//! What can go wrong with a launch.

use std::io;

use cairn_model::Class;

/// Result of a runtime operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a launch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A step that the kernel refused.
    #[error("{step}")]
    Step {
        /// What was tried.
        step: String,
        /// Why not.
        source: io::Error,
    },
    /// A mount failed.
    #[error(transparent)]
    View(#[from] cairn_view::Error),
    /// The command is not there.
    #[error("{0}: command not found in the container")]
    NotFound(String),
    /// The command cannot be executed.
    #[error("{command}: cannot be executed in the container")]
    NotExecutable {
        /// As given.
        command: String,
        /// Why not.
        source: io::Error,
    },
    /// The command is there, and what would interpret it is not.
    #[error("{0}: its interpreter was not found in the container")]
    NoInterpreter(String),
    /// A signal ended the start.
    #[error("interrupted by signal {0} before the process started")]
    Interrupted(i32),
    /// What init said before it gave up.
    #[error("{words}")]
    Init {
        /// Exit code that goes with it.
        code: u8,
        /// Its words.
        words: String,
    },
    /// A user, group or path that the container does not have.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// The class of the error.
    pub fn class(&self) -> Class {
        match self {
            Self::Step { source, .. } => Class::of_io(source),
            Self::View(e) => e.class(),
            Self::NotFound(_) | Self::NoInterpreter(_) => Class::NotFound,
            Self::Interrupted(_) => Class::Cancelled,
            Self::NotExecutable { .. } | Self::Init { .. } => Class::FailedPrecondition,
            Self::Invalid(_) => Class::Usage,
        }
    }

    /// Exit code as Docker has it: 127 not found, 126 not executable, 125 all else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound(_) | Self::NoInterpreter(_) => 127,
            Self::Interrupted(signal) => 128 + (*signal as u8 & 0x7f),
            Self::NotExecutable { .. } => 126,
            Self::Init { code, .. } => *code,
            _ => 125,
        }
    }
}

pub(crate) trait Step<T> {
    fn step(self, step: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Step {
            step: step.into(),
            source: source.into(),
        })
    }
}
