//! What can go wrong with a view.

use std::io;
use std::path::{Path, PathBuf};

use cairn_model::{Class, Driver};
use rustix::io::Errno;

use crate::detached::Refused;

/// Result of a view operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a view.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer or the store failed.
    #[error(transparent)]
    Layer(#[from] cairn_layer::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] cairn_store::Error),
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel refused a mount.
    #[error("cannot mount with the driver {driver}: {step} failed{hint}")]
    Mount {
        /// Which driver.
        driver: Driver,
        /// Which system call or option.
        step: String,
        /// What the kernel logged, or what to try.
        hint: String,
        /// Its answer.
        source: io::Error,
    },
    /// A pack that a planned mount needs was rewritten and removed.
    #[error("pack {} is gone; a collection rewrote it since the mount was planned; try again", .0.display())]
    PackGone(PathBuf),
    /// A tree that no EROFS image can hold.
    #[error("{path}: {why}")]
    Tree {
        /// Where in the tree.
        path: String,
        /// Why not.
        why: &'static str,
    },
}

impl Error {
    /// A mount that the kernel refused to `driver`.
    pub(crate) fn mount(driver: Driver, refused: Refused) -> Self {
        let errno = Errno::from_io_error(&refused.source);
        let hint = match errno {
            Some(Errno::PERM) if refused.hint.is_empty() => {
                " (mounting needs root; the driver copy does not)".to_owned()
            }
            // A file-backed mount reads through the page cache, which some file systems do not offer.
            Some(Errno::NOTBLK) => {
                " (the kernel cannot read images from files on this file system, as on tmpfs; \
                 use --driver erofs-loop)"
                    .to_owned()
            }
            _ => refused.hint,
        };
        Self::Mount {
            driver,
            step: refused.step,
            hint,
            source: refused.source,
        }
    }

    /// The class of the error.
    pub fn class(&self) -> Class {
        match self {
            Self::Layer(e) => e.class(),
            Self::Store(e) => e.class(),
            Self::Io { source, .. } | Self::Mount { source, .. } => Class::of_io(source),
            Self::PackGone(_) => Class::Unavailable,
            Self::Tree { .. } => Class::FailedPrecondition,
        }
    }

    /// True where stored bytes are wrong or gone.
    pub fn is_corruption(&self) -> bool {
        self.class() == Class::Corrupt
    }
}

pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io {
            action,
            path: path.to_owned(),
            source: source.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_mount_says_what_to_do_instead() {
        let of = |errno| Error::mount(Driver::Erofs, Refused::new("fsmount", errno)).to_string();
        assert!(of(Errno::NOTBLK).contains("--driver erofs-loop"));
        assert!(of(Errno::PERM).contains("needs root"));
        assert!(of(Errno::INVAL).ends_with("fsmount failed"));
    }
}
