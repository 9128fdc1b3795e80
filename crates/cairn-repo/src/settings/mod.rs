//! Settings of a repository: one commented TOML file, `cairn.toml` in its root.
//!
//! The file is only there once something was set, reading never makes it, and a change keeps every comment in
//! it. Unknown settings and values out of bounds are refused with the line. Options of a command win over it.

mod file;
mod keys;

pub use file::{SettingsFile, Value};
pub use keys::{Setting, Settings};
