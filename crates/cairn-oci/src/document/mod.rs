//! `config.json` of a bundle (runtime-spec 1.2), as it is written: the fields that have an effect on a Linux
//! container. Unknown fields are left alone, and `null` is the same as nothing, as Go's encoders write it.

mod linux;
mod process;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Deserializer};

pub use self::linux::{
    BlockIo, Cpu, Device, DeviceAccess, IdMapping, Linux, Memory, Network, Resources, Throttle,
    TimeOffset,
};
pub use self::process::{Capabilities, IoPriority, Process, Scheduler};
use crate::error::{Error, Result};

/// Name of the document in a bundle.
pub const CONFIG: &str = "config.json";
/// Real ones have some 20 kB.
const BYTES_MAX: u64 = 16 << 20;

/// `null` is nothing.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The document.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Version of the specification that it follows.
    pub oci_version: String,
    /// What runs.
    pub process: Option<Process>,
    /// The root file system.
    pub root: Option<Root>,
    /// Host name inside.
    pub hostname: Option<String>,
    /// NIS domain name inside.
    pub domainname: Option<String>,
    /// What is mounted, in this order.
    #[serde(default, deserialize_with = "or_default")]
    pub mounts: Vec<Mount>,
    /// Programs that run at fixed moments.
    #[serde(default, deserialize_with = "or_default")]
    pub hooks: Hooks,
    /// Notes.
    #[serde(default, deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
    /// What only Linux has.
    pub linux: Option<Linux>,
    /// Set for another system.
    pub vm: Option<serde_json::Value>,
}

/// The root file system.
#[derive(Debug, Clone, Deserialize)]
pub struct Root {
    /// Its directory, absolute or below the bundle.
    pub path: String,
    /// It cannot be written.
    #[serde(default, deserialize_with = "or_default")]
    pub readonly: bool,
}

/// Something that is mounted.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// In the container.
    pub destination: String,
    /// Type of the file system, or `bind`.
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// On the host.
    #[serde(default, deserialize_with = "or_default")]
    pub source: String,
    /// As fstab(5) has them.
    #[serde(default, deserialize_with = "or_default")]
    pub options: Vec<String>,
    /// Users as they are shown.
    #[serde(default, deserialize_with = "or_default")]
    pub uid_mappings: Vec<IdMapping>,
    /// Groups as they are shown.
    #[serde(default, deserialize_with = "or_default")]
    pub gid_mappings: Vec<IdMapping>,
}

/// Programs that run at fixed moments.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hooks {
    /// As `createRuntime`, before it; deprecated.
    #[serde(default, deserialize_with = "or_default")]
    pub prestart: Vec<Hook>,
    /// The environment is there, in the host's namespaces.
    #[serde(default, deserialize_with = "or_default")]
    pub create_runtime: Vec<Hook>,
    /// The environment is there, in the container's.
    #[serde(default, deserialize_with = "or_default")]
    pub create_container: Vec<Hook>,
    /// Before the process begins, in the container.
    #[serde(default, deserialize_with = "or_default")]
    pub start_container: Vec<Hook>,
    /// The process has begun.
    #[serde(default, deserialize_with = "or_default")]
    pub poststart: Vec<Hook>,
    /// The container was deleted.
    #[serde(default, deserialize_with = "or_default")]
    pub poststop: Vec<Hook>,
}

/// A program that runs at a fixed moment.
#[derive(Debug, Clone, Deserialize)]
pub struct Hook {
    /// Absolute.
    pub path: String,
    /// Its name first.
    #[serde(default, deserialize_with = "or_default")]
    pub args: Vec<String>,
    /// All of it.
    #[serde(default, deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// Seconds.
    pub timeout: Option<i64>,
}

/// Reads a document whose size is bounded; none of its texts has a NUL.
pub(crate) fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let what = || path.display().to_string();
    let file = std::fs::File::open(path).map_err(|e| Error::step(format!("open {}", what()), e))?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, BYTES_MAX + 1), &mut bytes)
        .map_err(|e| Error::step(format!("read {}", what()), e))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Error::Invalid(format!(
            "{} has more than {BYTES_MAX} bytes, which is the limit",
            what()
        )));
    }
    parse(&bytes).map_err(|why| Error::Invalid(format!("{}: {why}", what())))
}

/// Understands a document's bytes.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, String> {
    // A NUL is written that way only; a text may also have that as its own six characters.
    if bytes
        .windows(6)
        .any(|six| six.eq_ignore_ascii_case(b"\\u0000"))
    {
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if has_nul(&value) {
            return Err("a text in it has a NUL character".into());
        }
    }
    serde_json::from_slice(bytes).map_err(|e| e.to_string())
}

/// The reader bounds how deep values are nested.
fn has_nul(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(map) => map.iter().any(|(k, v)| k.contains('\0') || has_nul(v)),
        _ => false,
    }
}
