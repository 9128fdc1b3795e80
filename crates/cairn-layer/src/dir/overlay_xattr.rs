//! A file's own attributes of overlayfs's namespace, `trusted.overlay.*`.
//!
//! They are kept everywhere. Where overlayfs reads a directory, they stand there escaped by one more
//! `overlay.`, which it takes away again in the mount and adds to what a process sets (Linux 6.7,
//! Documentation/filesystems/overlayfs.rst, "Nesting overlayfs mounts").

const OVERLAY: &[u8] = b"trusted.overlay.";
const ESCAPED: &[u8] = b"trusted.overlay.overlay.";

/// The name under which overlayfs finds this attribute of a file; `None` where it is the same.
pub fn escaped(name: &[u8]) -> Option<Vec<u8>> {
    Some([ESCAPED, name.strip_prefix(OVERLAY)?].concat())
}

/// The name a file's own attribute has in the mount; `None` for overlayfs's own and for all others.
pub fn unescaped(name: &[u8]) -> Option<Vec<u8>> {
    Some([OVERLAY, name.strip_prefix(ESCAPED)?].concat())
}
