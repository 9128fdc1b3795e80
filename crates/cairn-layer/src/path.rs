//! Paths inside a layer: bytes, relative, clean.

use crate::error::{Error, Result};

/// Directories in each other: more than any program can name (PATH_MAX is 4096 bytes), and few enough that
/// walking them costs nothing.
const DEPTH_MAX: usize = 1024;

/// Bytes of one name.
const NAME_BYTES_MAX: usize = 255;

/// Symbolic links on the way of one path.
const SYMLINKS_MAX: usize = 40;

/// What is at a path on the way of another one.
#[derive(Debug)]
pub enum Met {
    /// A directory, or nothing.
    Way,
    /// A symbolic link to this target.
    Link(Vec<u8>),
    /// Anything else, which nothing leads through.
    File,
}

/// The clean path that `path` names inside a root when symbolic links are followed as after chroot(2), also where its
/// last parts do not exist; `None` for a loop or a path through a file. `at` is asked what has a clean path, for each
/// on the way, from the top down.
///
/// # Errors
/// Those of `at`.
pub fn resolve<E>(
    path: &[u8],
    mut at: impl FnMut(&[u8]) -> Result<Met, E>,
) -> Result<Option<Vec<u8>>, E> {
    let parts = |path: &[u8]| {
        path.split(|b| *b == b'/')
            .rev()
            .map(<[u8]>::to_vec)
            .collect()
    };
    let mut todo: Vec<Vec<u8>> = parts(path);
    let mut done: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    while let Some(part) = todo.pop() {
        match &part[..] {
            b"" | b"." => continue,
            b".." => {
                done.pop();
                continue;
            }
            _ => {}
        }
        done.push(part);
        match at(&done.join(&b'/'))? {
            Met::Link(target) => {
                links += 1;
                if links > SYMLINKS_MAX {
                    return Ok(None);
                }
                done.pop();
                if target.starts_with(b"/") {
                    done.clear();
                }
                todo.extend(parts(&target));
            }
            Met::Way => {}
            Met::File if todo.iter().all(Vec::is_empty) => {}
            Met::File => return Ok(None),
        }
    }
    Ok(Some(done.join(&b'/')))
}

/// The clean form of a path from an archive: no leading or doubled slash, no `.` part; the root is
/// empty. A `..` takes away the part before it, as text.
///
/// # Errors
/// For a `..` that leads to the root or above it, and for a NUL byte: no honest layer has them.
pub fn clean(path: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    let mut depth = 0;
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => {
                if depth == 0 {
                    return Err(leaves_root(path));
                }
                out.truncate(out.iter().rposition(|b| *b == b'/').unwrap_or(0));
                depth -= 1;
                continue;
            }
            _ if part.contains(&0) => return Err(Error::entry(path, "its path has a NUL byte")),
            // A marker may be longer than a name, for what counts is the name it hides.
            _ if part.strip_prefix(b".wh.").unwrap_or(part).len() > NAME_BYTES_MAX => {
                return Err(Error::entry(
                    path,
                    "a part of its path is longer than 255 bytes",
                ));
            }
            _ => {}
        }
        depth += 1;
        if depth > DEPTH_MAX {
            return Err(Error::entry(
                &path[..100],
                format!("its path has more than {DEPTH_MAX} parts"),
            ));
        }
        if !out.is_empty() {
            out.push(b'/');
        }
        out.extend_from_slice(part);
    }
    if depth == 0 && path.split(|b| *b == b'/').any(|part| part == b"..") {
        return Err(leaves_root(path));
    }
    Ok(out)
}

fn leaves_root(path: &[u8]) -> Error {
    Error::entry(path, "its path has a \"..\" part and could leave the root")
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
            ("x/a/../b", "x/b"),
            ("a/../b", "b"),
            ("a/b/../../c", "c"),
        ] {
            assert_eq!(clean(dirty.as_bytes()).unwrap(), tidy.as_bytes());
        }
        for bad in ["..", "a/../../b", "a/..", "x\0y"] {
            assert!(clean(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn paths_may_be_long_and_not_bottomless() {
        let deep = |parts: usize| vec!["d"; parts].join("/").into_bytes();
        assert_eq!(clean(&deep(DEPTH_MAX)).unwrap(), deep(DEPTH_MAX));
        assert!(clean(&deep(DEPTH_MAX + 1)).is_err());
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
