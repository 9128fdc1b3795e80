//! Launches a process in a root file system: mount plan → rootfs → process.
//!
//! **Invariant:** nothing a process does reaches the image or the host beyond what its launch spec
//! names; a crash of any part leaves no mount behind, for every mount lives in the process's own mount
//! namespace.
//!
//! Three steps, each a fresh single-threaded program image of the same binary, because namespaces and
//! threads do not mix: the command writes a [`LaunchSpec`] and becomes (or starts) the *monitor*
//! ([`monitor::main`]), which starts the *init* ([`init::main`]) as process 1 of a new PID namespace;
//! init builds the rootfs and becomes the process. The monitor relays signals and the terminal, and
//! writes down how the process ended. Nothing here knows a database.

mod cgroup;
mod devices;
mod error;
pub mod init;
pub mod monitor;
mod rootfs;
mod spec;
mod state;
mod terminal;
mod user;
mod wire;

pub use cgroup::Frozen;
pub use error::{Error, Result};
pub use spec::{Bind, LaunchSpec, Network, Tmpfs};
pub use state::{State, Status};
