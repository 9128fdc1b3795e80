//! Which blobs are needed by exactly the same layers and documents.
//!
//! Everything that statistics ask (what is shared, what is exclusive, what a removal would free) follows from
//! groups of blobs with the same holders, of which there are few, and not from the blobs, of which there are
//! many. What a layer holds never changes, so the groups are brought up to date by whoever asks: layers that
//! came are read, layers that went are crossed out. Nothing is written when images come and go, and there is
//! nothing that a crash could leave wrong. `docs/design/0027` has more.
//!
//! **Invariant:** what a table says of the layers it was brought up to is what reading them all says. It is
//! derived: one that is lost, damaged or of another version is made anew.

mod blobs;
mod cells;
mod file;
mod files;
mod kept;
mod records;
mod set;
mod sums;
mod table;
mod update;

pub(crate) use blobs::Blobs;
pub(crate) use files::Files;
pub(crate) use set::Holders;
pub(crate) use sums::{Owner, Sum, Sums};
pub(crate) use table::{Count, Table};
