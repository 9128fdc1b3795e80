//! Room for what is about to be written: the limits of a repository and of its disk hold while it is written to, not
//! only after the next collection.
//!
//! A writer asks the [`Guard`] before it writes. Where that refuses, what was written so far is given up (its lease
//! would keep a collection from freeing anything), a collection makes room, and the work is done once more.

mod guard;
mod make;

pub(crate) use guard::Guard;
