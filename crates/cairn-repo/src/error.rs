//! Errors of the repository: those of the floors below, and its own.

use std::path::PathBuf;

use cairn_model::{Cancelled, Class, Digest};

/// Result of a repository operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a repository.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] cairn_store::Error),
    /// A layer failed.
    #[error(transparent)]
    Layer(#[from] cairn_layer::Error),
    /// The snapshot graph refused.
    #[error(transparent)]
    Snapshot(#[from] cairn_snapshot::Error),
    /// An archive or document failed.
    #[error(transparent)]
    Image(#[from] cairn_image::Error),
    /// A view or mount failed.
    #[error(transparent)]
    View(#[from] cairn_view::Error),
    /// A registry failed.
    #[error(transparent)]
    Registry(#[from] cairn_registry::Error),
    /// Something is not trusted.
    #[error(transparent)]
    Trust(#[from] cairn_trust::Error),
    /// Somebody ended the work.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] cairn_model::NameError),
    /// One layer of an image.
    #[error("layer {layer} of {image}")]
    InLayer {
        /// The image.
        image: String,
        /// The layer, by diff id or place.
        layer: String,
        /// What went wrong.
        source: Box<Error>,
    },
    /// A layer is not what the document says.
    #[error(
        "layer {layer} should have the diff id {expected} but has {actual}: it is damaged or was tampered with; nothing was imported"
    )]
    DiffId {
        /// Which, counted from 1.
        layer: usize,
        /// As the document says.
        expected: Digest,
        /// As it is.
        actual: Digest,
    },
    /// No such image.
    #[error("image {0} does not exist; see \"cairn images\"")]
    NoImage(String),
    /// The start of several ids, or of one id and the name of another image.
    #[error("{0} is ambiguous; use more of the id, or a name with a tag")]
    Ambiguous(String),
    /// No such container.
    #[error("container {0} does not exist; see \"cairn ps -a\"")]
    NoContainer(String),
    /// The name of a container is taken.
    #[error(
        "container {0} already exists; choose another name, or remove it with \"cairn rm {0}\""
    )]
    ContainerExists(String),
    /// No such volume.
    #[error("volume {0} does not exist; see \"cairn volume ls\"")]
    NoVolume(String),
    /// The name of a volume that is none.
    #[error("{0}")]
    VolumeName(String),
    /// Something is used.
    #[error("{what} is in use by {by}; {next}")]
    InUse {
        /// What.
        what: String,
        /// By what.
        by: String,
        /// What to do.
        next: String,
    },
    /// A file operation of the repository itself.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A layer that an import found present was removed before it could publish.
    #[error("a layer of the image was removed during the import; run the import again")]
    LayerGone,
    /// A line of the file of settings that cannot be followed.
    #[error("{}, line {line}: {why}", .file.display())]
    BadSettings {
        /// The file.
        file: PathBuf,
        /// Which line, counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such setting, or it does not take this value.
    #[error("{0}")]
    Setting(String),
    /// The call makes no sense.
    #[error("{0}")]
    Invalid(String),
}

impl From<cairn_registry::PullError> for Error {
    fn from(error: cairn_registry::PullError) -> Self {
        match error {
            cairn_registry::PullError::Registry(e) => e.into(),
            cairn_registry::PullError::Image(e) => e.into(),
        }
    }
}

impl Error {
    /// The class of the error.
    pub fn class(&self) -> Class {
        match self {
            Self::Store(e) => e.class(),
            Self::Layer(e) => e.class(),
            Self::Snapshot(e) => e.class(),
            Self::Image(e) => e.class(),
            Self::Registry(e) => e.class(),
            Self::View(e) => e.class(),
            Self::Trust(e) => e.class(),
            Self::InLayer { source, .. } => source.class(),
            Self::Cancelled(_) => Class::Cancelled,
            Self::Name(_) | Self::Setting(_) | Self::VolumeName(_) => Class::Usage,
            Self::NoImage(_) | Self::NoContainer(_) | Self::NoVolume(_) => Class::NotFound,
            Self::ContainerExists(_) => Class::Exists,
            Self::InUse { .. } => Class::InUse,
            Self::Io { source, .. } => Class::of_io(source),
            Self::DiffId { .. }
            | Self::Ambiguous(_)
            | Self::LayerGone
            | Self::BadSettings { .. }
            | Self::Invalid(_) => Class::FailedPrecondition,
        }
    }

    /// True where stored bytes are wrong or gone: exit code 3.
    pub fn is_corruption(&self) -> bool {
        self.class() == Class::Corrupt
    }
}

pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &std::path::Path) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, path: &std::path::Path) -> Result<T> {
        self.map_err(|source| Error::Io {
            action,
            path: path.to_owned(),
            source: source.into(),
        })
    }
}
