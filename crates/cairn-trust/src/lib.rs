//! Whose images and files are taken: keys, signatures of images and files, policies.
//!
//! **Invariant:** what is not understood is refused. A policy with a requirement that Cairn does not know, a signature
//! of another kind, a key of another curve: each is an error that names it, and never a yes.
//!
//! Nothing here reads a network or a repository. Signatures of images are those of cosign with a key (ECDSA over
//! P-256), signatures of files those of minisign.
//!
//! ```
//! use cairn_trust::{Policy, Verdict};
//!
//! let policy = Policy::parse(br#"{"default": [{"type": "reject"}]}"#)?;
//! assert!(matches!(policy.verdict("localhost:5000/app", Some("1"))?, Verdict::Reject));
//! # Ok::<_, cairn_trust::Error>(())
//! ```

mod der;
mod error;
mod identity;
mod key;
mod minisign;
mod payload;
mod pem;
mod policy;

pub use error::{Error, Result};
pub use identity::Identity;
pub use key::{PublicKey, SigningKey};
pub use minisign::{FileKey, FileSignature, FileSigningKey, Prehash};
pub use payload::Payload;
pub use policy::{KeySource, Policy, Signed, Verdict};
