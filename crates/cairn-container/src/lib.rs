//! Containers: created from an image, started, watched, stopped, committed, removed.
//!
//! **Invariant:** a container that can be seen is either held by a live process (its lock says so) or can be
//! removed; whatever is asked of several containers is tried for each of them.
//!
//! This crate joins a repository, which knows images, snapshots and names, with the runtime, which knows
//! processes and no database. [`create`] turns an image's configuration and what the user wants into a launch
//! spec; from there on the [monitor](cairn_runtime) has the container, and everything here asks it or reads
//! what it wrote.
//!
//! ```
//! use cairn_container::network;
//! use cairn_model::Class;
//!
//! assert!(network(Some("none"), &[]).is_ok());
//! let refused = network(Some("bridge"), &[]).unwrap_err();
//! assert_eq!(refused.class(), Class::Usage);
//! assert!(refused.to_string().contains("container:NAME or ns:PATH"));
//! ```

mod attach;
mod bundle;
mod command;
mod commit;
mod config;
mod copy;
mod create;
mod devices;
mod environment;
mod error;
mod events;
mod exec;
mod figures;
mod generated;
mod interrupt;
mod limits;
mod list;
mod logs;
mod mounts;
mod network;
mod options;
mod pause;
mod prepare;
mod restart;
mod runtime;
mod secrets;
mod security;
mod service;
mod start;
mod stop;
mod surroundings;
mod sysctl;
mod ulimit;
mod update;
mod users;
pub mod volumes;
mod wait;

pub use attach::Attaching;
pub use bundle::{Bundled, bundle};
pub use commit::{Commit, Committed, commit};
pub use copy::{Copied, CopyOptions, Side, copy};
pub use create::create;
pub use error::{Error, Result};
pub use events::rename;
pub use exec::{ExecOptions, PreparedExec, exec};
pub use figures::{Measured, Usage};
pub use generated::Names;
pub use interrupt::Interrupts;
pub use limits::LimitOptions;
pub use list::{Info, MountedVolume, info, list};
pub use logs::{LogOptions, LogPiece, logs};
pub use network::network;
pub use options::RunOptions;
pub use pause::{pause, unpause};
pub use prepare::Prepared;
pub use restart::again;
pub use secrets::check_secrets;
pub use security::{Seccomp, Security};
pub use stop::{kill, remove, remove_when_ended, stop, sweep};
pub use surroundings::Surroundings;
pub use update::update;
pub use wait::Waiting;
