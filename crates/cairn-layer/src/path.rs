//! Paths inside a layer: bytes, relative, clean.

use crate::error::{Error, Result};

/// The clean form of a path from an archive: no leading or doubled slash, no `.` part; the root is
/// empty.
///
/// # Errors
/// For a `..` part and for a NUL byte: no honest layer has them.
pub fn clean(path: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => {
                return Err(Error::entry(
                    path,
                    "its path has a \"..\" part and could leave the root",
                ));
            }
            _ if part.contains(&0) => return Err(Error::entry(path, "its path has a NUL byte")),
            _ if part.len() > 255 => {
                return Err(Error::entry(
                    path,
                    "a part of its path is longer than 255 bytes",
                ));
            }
            _ => {}
        }
        if !out.is_empty() {
            out.push(b'/');
        }
        out.extend_from_slice(part);
    }
    Ok(out)
}

/// Directory and name of a clean path; `None` for the root.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    })
}

/// `directory` and `name` as one clean path.
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        name.to_vec()
    } else {
        [directory, b"/", name].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_or_refused() {
        for (dirty, tidy) in [
            ("./a//b/", "a/b"),
            ("/etc/passwd", "etc/passwd"),
            ("./", ""),
            ("a/./b", "a/b"),
            ("...", "..."),
        ] {
            assert_eq!(clean(dirty.as_bytes()).unwrap(), tidy.as_bytes());
        }
        for bad in ["..", "a/../../b", "a/..", "x\0y"] {
            assert!(clean(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn split_and_join_are_inverse() {
        for path in [&b"a"[..], b"a/b", b"a/b/c"] {
            let (directory, name) = split(path).unwrap();
            assert_eq!(join(directory, name), path);
        }
        assert_eq!(split(b""), None);
    }
}
