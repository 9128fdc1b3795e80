//! Node packages: `node_modules/NAME/package.json`, or `node_modules/@SCOPE/NAME/package.json`.

use serde::Deserialize;

use super::Found;
use super::form::shown;

#[derive(Deserialize)]
struct Document {
    name: String,
    version: String,
}

pub(super) fn is_database(path: &[u8]) -> bool {
    let mut parts = path.rsplit(|b| *b == b'/');
    if parts.next() != Some(b"package.json") {
        return false;
    }
    let _name = parts.next();
    match parts.next() {
        Some(b"node_modules") => true,
        Some(scope) => scope.starts_with(b"@") && parts.next() == Some(b"node_modules"),
        None => false,
    }
}

pub(super) fn read(text: &[u8]) -> Found {
    let found: Option<Document> = serde_json::from_slice(text).ok();
    found.map(|d| (d.name, d.version)).into_iter().collect()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_itself() {
        let text = br#"{"name": "left-pad", "version": "1.3.0", "main": "x"}"#;
        assert_eq!(read(text), [("left-pad".to_owned(), "1.3.0".to_owned())]);
        assert_eq!(read(br#"{"name": 5}"#), []);
    }
}
