//! Where this user's files are.

use std::path::PathBuf;

/// The path that a variable of the environment names.
pub(crate) fn set(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name)?;
    (!value.is_empty()).then(|| value.into())
}

/// The directory of this user's configuration.
pub(crate) fn user_config() -> Option<PathBuf> {
    set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))
}
