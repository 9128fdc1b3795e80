//! Secrets: bytes that a container sees as a file and that are written nowhere else.
//!
//! A launch spec says where a secret is from, never what it is. The bytes go with the sealed orders of the
//! stages, in memory.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::Text;

/// What is written down of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Its name.
    pub id: String,
    /// Where it is from.
    pub source: SecretSource,
    /// Who owns the file, as the container numbers users.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permissions.
    pub mode: u32,
}

/// Where a secret is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// A file of the host, absolute.
    File(Text),
    /// A variable of whoever starts the container.
    Variable(String),
}

/// The bytes of a secret. Shown nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretValue(Vec<u8>);

impl SecretValue {
    /// These bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(hidden)")
    }
}
