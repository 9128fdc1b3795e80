//! Node: a package is the directory below the last `node_modules` of a path.

use super::form::shown;

/// The package of a file.
pub(super) fn package(path: &[u8]) -> Option<String> {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let at = parts.iter().rposition(|part| *part == b"node_modules")?;
    let rest = parts.get(at + 1..)?;
    let parts = match rest.first()?.starts_with(b"@") {
        true => 2,
        false => 1,
    };
    // The last part is the file itself.
    (rest.len() > parts).then(|| shown("node", &rest[..parts].join(&b'/')))
}
