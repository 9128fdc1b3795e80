//! What is common to the records of package managers: what they say of versions, and whose files are.

use cairn_layer::split;
use cairn_model::path_display;

/// Is told a package and a path that it has.
pub(super) type Tell<'a> = dyn FnMut(String, &[u8]) + 'a;

/// A form of records.
pub(super) struct Form {
    /// True for the paths of such records.
    pub is_record: fn(&[u8]) -> bool,
    /// Tells each package and path that a record with this path and text has.
    pub read: fn(&[u8], &[u8], &mut Tell<'_>),
}

/// Lines of a text.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = text.split(|byte| *byte == b'\n');
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// A name out of a record, for people.
pub(super) fn shown(manager: &str, name: &[u8]) -> String {
    format!("{manager} {}", path_display(name))
}

/// The last part of a path.
pub(super) fn base(path: &[u8]) -> &[u8] {
    split(path).map_or(path, |(_, name)| name)
}
