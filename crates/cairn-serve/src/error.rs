//! Why a server does not start, or ends.

use std::io;
use std::path::PathBuf;

use cairn_model::Class;

/// Result of a server.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What keeps a server from serving. What goes wrong in a call is told to whoever called.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository failed.
    #[error(transparent)]
    Repo(#[from] cairn_repo::Error),
    /// A view failed.
    #[error(transparent)]
    View(#[from] cairn_view::Error),
    /// The system refused something.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Somebody answers at the socket.
    #[error("a server answers at {} already; stop it, or name another socket with --address", .0.display())]
    Taken(PathBuf),
    /// A path that cannot be written in the options of a mount.
    #[error("{} {why}, so it cannot be named in mount options; choose another with --root or --state", .path.display())]
    Unmountable {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Views cannot show other ids here.
    #[error("{} cannot be shown with the ids of a container; it needs Linux 5.19 and the driver erofs or overlay, see \"cairn driver\"", .path.display())]
    Unmapped {
        /// What.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no such group.
    #[error("group {0} does not exist; create it, or name another with --group")]
    NoGroup(String),
    /// The sockets that were handed over are not one.
    #[error("systemd handed over {0} sockets; the socket unit must have one ListenStream")]
    Sockets(String),
    /// The server stopped.
    #[error("the server failed: {0}")]
    Server(String),
}

impl Error {
    /// The class of the error.
    pub fn class(&self) -> Class {
        match self {
            Self::Repo(e) => e.class(),
            Self::View(e) => e.class(),
            Self::Io { source, .. } => Class::of_io(source),
            Self::Taken(_) => Class::InUse,
            Self::Unmountable { .. } | Self::NoGroup(_) | Self::Sockets(_) => Class::Usage,
            Self::Unmapped { .. } => Class::FailedPrecondition,
            Self::Server(_) => Class::Internal,
        }
    }
}

pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &std::path::Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, path: &std::path::Path) -> Result<T> {
        self.map_err(|source| Error::Io {
            action,
            path: path.to_owned(),
            source: source.into(),
        })
    }
}
