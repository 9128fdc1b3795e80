//! gRPC services for containerd: a proxy snapshotter over a repository.
//!
//! **Invariant:** the server holds nothing that counts. All it knows is in the repository and in the table of mounts,
//! so that it may be killed at any time, started again by the next request, and run twice; and every call ends within
//! its bound.
//!
//! [`serve`] listens at a socket, or at the one that systemd handed over, until a signal or until nobody asked for
//! anything for a while. A call is carried out by a thread of a bounded pool (`calls`); `snapshots` translates
//! between the wire and [`cairn_repo::Snapshots`]; `mounts` and `kept` say how others mount what is here; `janitor`
//! frees space after the answer.
//!
//! ```no_run
//! use cairn_repo::{Options, Repo};
//! use cairn_serve::{ServeOptions, serve};
//!
//! let repo = Repo::open_or_create("/var/lib/cairn".as_ref(), Options::default())?;
//! serve(repo, ServeOptions::default())?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod calls;
mod content;
mod diff;
mod error;
mod health;
mod ids;
mod info;
mod janitor;
mod kept;
mod listen;
mod metrics;
mod mounts;
mod notify;
pub mod proto;
mod saved;
mod server;
mod snapshots;
mod status;
mod unpack;
mod upload;

pub use error::{Error, Result};
pub use server::{ADDRESS, CONTAINERD, STATE, ServeOptions, serve};
