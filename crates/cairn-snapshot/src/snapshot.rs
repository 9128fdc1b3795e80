//! The record of a snapshot.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use cairn_model::{HeadId, LayerId, SnapshotKey, Timestamp};

use crate::error::Error;

/// Labels of a snapshot.
pub type Labels = BTreeMap<String, String>;

/// What a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Finished; its content never changes.
    Committed,
    /// Writable.
    Active,
    /// Read-only.
    View,
}

impl Kind {
    /// As users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Active => "active",
            Self::View => "view",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Own bytes and inodes of a snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Key (active, view) or name (committed).
    pub key: SnapshotKey,
    /// What it is.
    pub kind: Kind,
    /// The committed snapshot below it.
    pub parent: Option<SnapshotKey>,
    /// Labels.
    pub labels: Labels,
    /// When it was made; for a committed one, when it was committed.
    pub created: Timestamp,
    /// When it or its labels changed last.
    pub updated: Timestamp,
    /// The layer of a committed one, or what was applied to an active one.
    pub layer: Option<LayerId>,
    /// The directory of an active one's changes, by name.
    pub head: Option<HeadId>,
    /// As counted at the commit, or of what was applied; zero for the others.
    pub usage: Usage,
}

/// A field that an update names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldPath {
    /// All labels.
    Labels,
    /// One label.
    Label(String),
}

impl FromStr for FieldPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.strip_prefix("labels") {
            Some("") => Ok(Self::Labels),
            Some(rest) if rest.len() > 1 && rest.starts_with('.') => {
                Ok(Self::Label(rest[1..].to_owned()))
            }
            _ => Err(Error::Invalid(format!(
                "field {text:?} cannot be changed; only labels and labels.NAME can"
            ))),
        }
    }
}
