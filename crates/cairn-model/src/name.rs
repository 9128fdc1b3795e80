//! Names that people give: snapshot keys and image references.

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

fn check(what: &'static str, text: &str, len_max: usize) -> Result<(), NameError> {
    let fail = |why| {
        Err(NameError {
            what,
            text: text.chars().take(100).collect(),
            why,
        })
    };
    if text.is_empty() {
        return fail("it is empty");
    }
    if text.len() > len_max {
        return fail("it is too long");
    }
    if !text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-:/@+".contains(&b))
    {
        return fail("allowed are letters, digits and . _ - : / @ +");
    }
    if text.starts_with('-') {
        return fail("it starts with a dash");
    }
    Ok(())
}

/// Key of an active snapshot or view, or name of a committed one: both live in one namespace. Up to
/// 1024 letters, digits and `._-:/@+`; containerd's `namespace/id/key` fits.
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

/// Name of an image with its tag: `NAME:TAG`, the tag `latest` where none is given. Stored as it was
/// given: no registry or namespace is put before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ImageRef(String);

impl ImageRef {
    /// Name and tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after the last `:`.
    pub fn tag(&self) -> &str {
        self.0.rsplit_once(':').map_or("latest", |(_, tag)| tag)
    }

    /// The part before the tag.
    pub fn repository(&self) -> &str {
        self.0
            .rsplit_once(':')
            .map_or(self.0.as_str(), |(name, _)| name)
    }
}

impl FromStr for ImageRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check("image name", text, 512)?;
        let last = text.rsplit('/').next().unwrap_or_default();
        let full = if last.contains(':') {
            text.to_owned()
        } else {
            format!("{text}:latest")
        };
        let fail = |why| {
            Err(NameError {
                what: "image name",
                text: text.to_owned(),
                why,
            })
        };
        let (name, tag) = full.rsplit_once(':').unwrap_or_default();
        if name.is_empty()
            || name
                .split('/')
                .any(|part| part.is_empty() || part.starts_with('.'))
        {
            return fail("it has an empty part, or one that starts with a dot");
        }
        if tag.is_empty()
            || tag.len() > 128
            || tag.starts_with(['.', '-'])
            || tag.contains(['@', '+'])
        {
            return fail("the tag is empty, too long, or has a character a tag cannot have");
        }
        Ok(Self(full))
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_get_a_tag() {
        let full = |s: &str| s.parse::<ImageRef>().map(|r| r.to_string()).ok();
        assert_eq!(full("py"), Some("py:latest".into()));
        assert_eq!(full("host:5000/a/py"), Some("host:5000/a/py:latest".into()));
        assert_eq!(full("example/py:1"), Some("example/py:1".into()));
        for bad in ["", "a b", "x:", "/x", "a//b", "-x", "../x", "x:.y"] {
            assert_eq!(full(bad), None, "{bad}");
        }
    }

    #[test]
    fn keys_hold_what_containerd_sends() {
        assert!(
            "default/12/extract-1 sha256:ab"
                .parse::<SnapshotKey>()
                .is_err()
        );
        assert!(
            "default/12/extract-1-sha256:ab"
                .parse::<SnapshotKey>()
                .is_ok()
        );
        assert!("a\nb".parse::<SnapshotKey>().is_err());
    }
}
