//! The streams of a container that runs already, for any number of clients at once.
//!
//! A client asks the monitor's control socket to attach. From then on the connection carries frames, one byte of
//! kind, four of length, then as many bytes:
//!
//! ```text
//! monitor → client   1 standard output   2 standard error   3 end: the exit code, one byte
//! client → monitor   16 input            17 size of its terminal: rows and columns, two bytes each
//! ```
//!
//! The container never waits for a client longer than [`server::PATIENCE`] for a frame: one that does not take it
//! by then is cut off. Numbers are big-endian.

mod client;
mod frame;
mod keys;
pub(crate) mod server;

pub use client::{AttachOptions, Attached, attach, attach_over};
pub use keys::DetachKeys;
