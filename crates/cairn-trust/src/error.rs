//! Why something is not trusted, or a key not used.

use cairn_model::Class;

/// Result of a question of trust.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be wrong with keys, signatures and policies.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key that cannot be used.
    #[error("the key cannot be used: {0}")]
    Key(String),
    /// A signature that is none, or not of this.
    #[error("the signature is not valid: {0}")]
    Signature(String),
    /// A policy that is not understood.
    #[error("the policy is not understood: {0}")]
    Policy(String),
}

impl Error {
    /// The class of the error.
    pub fn class(&self) -> Class {
        Class::FailedPrecondition
    }
}
