//! What an image document says of the process to be, read as leniently as other tools write it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::documents::or_default;

/// A port the image says it listens on, as `80/tcp`.
pub type Port = String;

/// What the document says of the process: its field `config`. Missing and null fields are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// `user[:group]`, by name or number.
    #[serde(deserialize_with = "or_default")]
    pub user: String,
    /// Environment, `NAME=value`.
    #[serde(deserialize_with = "texts")]
    pub env: Vec<String>,
    /// First words of the command line.
    #[serde(deserialize_with = "words")]
    pub entrypoint: Vec<String>,
    /// Default words after the entrypoint.
    #[serde(deserialize_with = "words")]
    pub cmd: Vec<String>,
    /// Working directory.
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
    /// Directories that hold data of the container, not of the image.
    #[serde(deserialize_with = "or_default")]
    pub volumes: BTreeMap<String, Value>,
    /// Ports it listens on.
    #[serde(deserialize_with = "or_default")]
    pub exposed_ports: BTreeMap<Port, Value>,
    /// Labels.
    #[serde(deserialize_with = "labels")]
    pub labels: BTreeMap<String, String>,
    /// Signal that asks it to end.
    #[serde(deserialize_with = "or_default")]
    pub stop_signal: String,
}

/// A list of texts, in which null is empty.
fn texts<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    let list = Option::<Vec<Option<String>>>::deserialize(d)?.unwrap_or_default();
    Ok(list.into_iter().map(Option::unwrap_or_default).collect())
}

/// A command line: a list, or, as old documents have it, one word.
fn words<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        One(String),
        Many(Vec<Option<String>>),
    }
    Ok(match Option::<Words>::deserialize(d)? {
        None => Vec::new(),
        Some(Words::One(word)) => vec![word],
        Some(Words::Many(list)) => list.into_iter().map(Option::unwrap_or_default).collect(),
    })
}

/// Names with texts, in which null is empty.
fn labels<'de, D: serde::Deserializer<'de>>(d: D) -> Result<BTreeMap<String, String>, D::Error> {
    let map = Option::<BTreeMap<String, Option<String>>>::deserialize(d)?.unwrap_or_default();
    let full = |(name, value): (String, Option<String>)| (name, value.unwrap_or_default());
    Ok(map.into_iter().map(full).collect())
}
