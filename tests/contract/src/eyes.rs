//! What there is to see below a directory, whichever way it came there.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// All but times, which a script sets to when it ran.
pub(crate) fn survey(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut out = BTreeMap::new();
    let mut first: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    let mut stack = vec![PathBuf::new()];
    while let Some(name) = stack.pop() {
        let path = match name.as_os_str().is_empty() {
            true => root.join("."),
            false => root.join(&name),
        };
        let meta = path.symlink_metadata().expect("it is there");
        let mut text = format!("{:o} {}:{}", meta.mode(), meta.uid(), meta.gid());
        if meta.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a list");
            let mut below: Vec<PathBuf> = entries
                .map(|entry| name.join(entry.expect("an entry").file_name()))
                .collect();
            // Popped from the end: names come in their order, and the first of two links is the same one.
            below.sort_by(|a, b| b.cmp(a));
            stack.extend(below);
        } else if meta.is_symlink() {
            text += &format!(" -> {:?}", path.read_link().expect("a target"));
        } else if meta.is_file() {
            let inode = (meta.dev(), meta.ino());
            let one = first.entry(inode).or_insert_with(|| name.clone());
            let content = std::fs::read(&path).expect("content");
            text += &format!(" nlink {} of {one:?} {content:?}", meta.nlink());
        } else {
            text += &format!(" device {:x}", meta.rdev());
        }
        out.insert(name, text + &attributes(&path));
    }
    out
}

fn attributes(path: &Path) -> String {
    let path = CString::new(path.as_os_str().as_bytes()).expect("no NUL");
    let mut list = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(&path, &mut list).expect("attributes");
    let names = list[..length].split(|byte| *byte == 0);
    let mut out = Vec::new();
    for name in names.filter(|name| !name.is_empty()) {
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::lgetxattr(&path, name, &mut value).expect("an attribute");
        let name = String::from_utf8_lossy(name);
        out.push(format!(" {name}={:?}", &value[..length]));
    }
    out.sort();
    out.concat()
}
