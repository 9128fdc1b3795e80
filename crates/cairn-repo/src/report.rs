//! Reports as data: how values of other crates, whose own form is for rows on disk, are shown to programs.
//! The names of fields are those of `docs/json.md`.

use std::fmt::Display;
use std::path::Path;

use cairn_model::path_display;
use serde::{Serialize, Serializer};

/// A value in the form that people read and type.
pub fn text<S: Serializer>(value: &impl Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

/// A list of such values.
pub fn texts<S: Serializer>(values: &[impl Display], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(values.iter().map(ToString::to_string))
}

/// A path of the host.
pub fn host_path<S: Serializer>(path: &Option<impl AsRef<Path>>, to: S) -> Result<S::Ok, S::Error> {
    let path = path
        .as_ref()
        .map(|path| path.as_ref().display().to_string());
    path.serialize(to)
}

/// Paths inside an image.
pub fn paths<S: Serializer>(paths: &[Vec<u8>], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(paths.iter().map(|path| path_display(path)))
}

/// Paths inside an image, from its root.
pub fn rooted_paths<S: Serializer>(paths: &[Vec<u8>], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(paths.iter().map(|path| format!("/{}", path_display(path))))
}
