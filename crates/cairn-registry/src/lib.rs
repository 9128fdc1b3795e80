//! Registries: the client of the OCI distribution specification 1.1.
//!
//! **Invariant:** nothing that a registry sends is trusted: headers, documents and blobs are bounded, every
//! byte that is handed on is checked against the digest that was asked for (by whoever asked), and no
//! credential goes to a host that it is not for.
//!
//! The crate knows no repository of Cairn's. It hands out documents and streams of bytes; what was fetched of a
//! blob survives in a directory that the caller names.
//!
//! ```
//! use cairn_registry::Location;
//!
//! let location: Location = "example/app".parse()?;
//! assert_eq!(location.repository(), "example/app");
//! assert_eq!(location.to_string(), "example/app:latest");
//! # Ok::<_, cairn_registry::Error>(())
//! ```

mod auth;
mod blob;
mod bounded;
mod certs;
mod challenge;
mod client;
mod credentials;
mod endpoint;
mod error;
mod fetch;
mod helper;
mod http;
mod location;
mod login;
mod lookup;
mod meter;
mod pace;
mod partial;
mod pieces;
mod places;
mod proxy;
mod pull;
mod push;
mod ranges;
mod referrers;
mod registries;
mod retry;
mod said;
mod slots;
mod span;
mod store;
mod tags;
mod tls;
mod url;

pub use auth::Credentials;
pub use client::{Client, Options};
pub use credentials::credentials;
pub use error::{Error, Result};
pub use location::Location;
pub use login::{Account, verify};
pub use partial::sweep;
pub use pull::{PullError, Pulled, pull};
pub use referrers::{Artifact, ArtifactLayer, EMPTY_CONFIG, OCI_MANIFEST, Referrer};
pub use registries::{Registries, Source};
pub use store::{Stored, forget, store};
