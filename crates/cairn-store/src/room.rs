//! Who says how much content may still be written.

use std::fmt;

/// Asked before content is written to new packs, by several threads at once.
pub trait Room: fmt::Debug + Send + Sync {
    /// Takes room for this many bytes; why not, where there is none.
    fn take(&self, bytes: u64) -> Result<(), String>;

    /// Told that the system had none left all the same; the words for it.
    fn ran_out(&self) -> String;
}
