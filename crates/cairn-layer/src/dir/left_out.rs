//! Extended attributes that a checkout had to leave out.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use cairn_model::path_display;

/// How many, and which was the first.
#[derive(Default)]
pub struct LeftOut(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    count: u64,
    path: Vec<u8>,
    name: Vec<u8>,
}

impl LeftOut {
    /// One more.
    pub fn add(&self, path: &[u8], name: &[u8]) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.count += 1;
        if seen.count == 1 {
            (seen.path, seen.name) = (path.to_vec(), name.to_vec());
        }
    }

    /// What is to be said of them, if there were any.
    pub fn words(&self, target: &Path) -> Option<String> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.count > 0).then(|| {
            format!(
                "left out {} extended attributes that the file system of {} cannot hold; the first is {} of {}",
                seen.count,
                target.display(),
                path_display(&seen.name),
                path_display(&seen.path)
            )
        })
    }
}
