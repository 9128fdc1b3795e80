//! Names that people give to snapshots.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} is not valid: {why}")]
pub struct NameError {
    what: &'static str,
    text: String,
    why: &'static str,
}

impl NameError {
    pub(crate) fn new(what: &'static str, text: &str, why: &'static str) -> Self {
        Self {
            what,
            text: text.chars().take(100).collect(),
            why,
        }
    }

    /// What is wrong with it.
    pub fn why(&self) -> &str {
        self.why
    }
}

fn check(what: &'static str, text: &str, len_max: usize) -> Result<(), NameError> {
    let fail = |why| Err(NameError::new(what, text, why));
    if text.is_empty() {
        return fail("it is empty");
    }
    if text.len() > len_max {
        return fail("it is too long");
    }
    if !text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-:/@+ ".contains(&b))
    {
        return fail("only letters, digits, spaces and . _ - : / @ + are allowed");
    }
    if text.trim() != text {
        return fail("it starts or ends with a space");
    }
    if text.starts_with('-') {
        return fail("it starts with a dash");
    }
    Ok(())
}

/// Key of an active snapshot or view, or name of a committed one: both live in one namespace. Up to
/// 1024 letters, digits and `._-:/@+`, and spaces within; containerd's `namespace/id/key` fits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SnapshotKey(String);

impl SnapshotKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SnapshotKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check("snapshot name", text, 1024)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SnapshotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hold_what_containerd_sends() {
        let is_key = |text: &str| text.parse::<SnapshotKey>().is_ok();
        assert!(is_key("default/12/extract-1-ab sha256:ab"));
        assert!(is_key("/tmp/suite/next+layer"));
        for no in ["a\nb", " a", "a ", "a\tb", "-a", "", "a\0b", "a;b"] {
            assert!(!is_key(no), "{no:?}");
        }
    }
}
