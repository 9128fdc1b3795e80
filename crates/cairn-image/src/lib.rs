//! Image documents and the archives they travel in: docker-save archives, OCI layouts, compressed layers.
//!
//! **Invariant:** every byte that is handed out was checked against the digest that names it, or comes
//! with an error; documents are kept whole, so that fields nobody here knows survive.
//!
//! ```
//! use cairn_image::Platform;
//!
//! let platform: Platform = "linux/arm64".parse()?;
//! assert_eq!(platform.to_string(), "linux/arm64");
//! # Ok::<_, String>(())
//! ```

mod archive;
mod blocks;
pub mod change;
mod choose;
mod config;
mod container_config;
mod detect;
mod docker;
mod documents;
pub mod env_file;
mod error;
mod gunzip;
mod limits;
mod members;
mod oci;
mod platform;
mod redact;
mod remote;
mod source;
mod stream;
mod write;

pub use config::{History, ImageConfig};
pub use container_config::{ContainerConfig, Port};
pub use detect::{Spool, detect};
pub use documents::DOCUMENT_BYTES_MAX;
pub use error::{Error, RemoteError, Result};
pub use oci::remote;
pub use platform::{Platform, Rank};
pub use redact::without_values;
pub use remote::{Remote, RemoteBlob};
pub use source::{Found, LayerSource, PassedOver, Source, SourceImage};
pub use stream::{LayerStream, decompressed};
pub use write::{Compression, ExportLayer, ImageWriter, Original, OriginalIndex, Packed, pack};

use sha2::Digest as _;

/// SHA-256 of a document.
pub fn sha256(bytes: &[u8]) -> cairn_model::Digest {
    cairn_model::Digest::from_bytes(sha2::Sha256::digest(bytes).into())
}
