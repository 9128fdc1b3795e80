//! The one table from classes of errors to codes of gRPC; `docs/containerd.md` has it for users.

use cairn_model::{Class, one_line};
use tonic::{Code, Status};

/// What went wrong in a call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// In the repository.
    #[error(transparent)]
    Repo(#[from] cairn_repo::Error),
    /// Beside it: mounts that are kept.
    #[error(transparent)]
    Serve(#[from] crate::Error),
    /// A request that makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// What cannot be done here as things are.
    #[error("{0}")]
    Refused(String),
    /// containerd's content store has refused something.
    #[error("{}", .0.message())]
    Containerd(Status),
    /// Mounts of another snapshotter.
    #[error("these mounts are not of this snapshotter")]
    NotOurs,
    /// What was to be made is here: the answer that containerd waits for.
    #[error("snapshot {0} already exists")]
    Known(String),
}

impl From<cairn_snapshot::Error> for Failure {
    fn from(e: cairn_snapshot::Error) -> Self {
        Self::Repo(e.into())
    }
}

impl Failure {
    fn code(&self) -> Code {
        match self {
            Self::Repo(e) => of_repo(e),
            Self::Serve(e) => of(e.class()),
            Self::Invalid(_) => Code::InvalidArgument,
            Self::Refused(_) => Code::FailedPrecondition,
            Self::Containerd(status) => status.code(),
            Self::NotOurs => Code::Unimplemented,
            Self::Known(_) => Code::AlreadyExists,
        }
    }

    pub fn status(&self) -> Status {
        Status::new(self.code(), one_line(self))
    }
}

/// Only a snapshot can be "not found" or "there already": containerd acts on these two. A file of the repository that
/// is not there is another matter.
fn of_repo(error: &cairn_repo::Error) -> Code {
    let of_caller = matches!(error, cairn_repo::Error::Snapshot(e) if !matches!(e, cairn_snapshot::Error::Store(_)));
    match error.class() {
        Class::NotFound | Class::Exists if !of_caller => Code::Unavailable,
        class => of(class),
    }
}

fn of(class: Class) -> Code {
    match class {
        Class::Usage => Code::InvalidArgument,
        Class::NotFound => Code::NotFound,
        Class::Exists => Code::AlreadyExists,
        Class::FailedPrecondition | Class::InUse => Code::FailedPrecondition,
        Class::Corrupt => Code::DataLoss,
        Class::Unavailable => Code::Unavailable,
        Class::Cancelled => Code::Cancelled,
        Class::Internal => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_of_the_repository_is_no_missing_snapshot() {
        let io = std::io::Error::from(std::io::ErrorKind::NotFound);
        let error = cairn_repo::Error::Io {
            action: "open",
            path: "/nothing".into(),
            source: io,
        };
        assert_eq!(Failure::from(error).code(), Code::Unavailable);
        let key = "a".parse().unwrap();
        let error = cairn_snapshot::Error::NotFound(key);
        assert_eq!(Failure::from(error).code(), Code::NotFound);
    }
}
