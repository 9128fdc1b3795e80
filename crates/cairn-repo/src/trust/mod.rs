//! Signatures of images in registries: which there are, whether a policy is content with them, and new ones.
//!
//! The form is cosign's: a manifest under the tag `sha256-HEX.sig` of the repository, or one that refers to the image,
//! whose blobs are the documents that were signed and whose annotations have the signatures.

mod read;
mod verify;
mod write;

pub use verify::{Policy, Verified};
