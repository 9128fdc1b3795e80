//! What is mounted now, in every mount namespace that can be seen: a container's root is mounted in one of
//! its own, and so is what a user mounted under unshare(1).

use std::collections::HashSet;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Mounts of all namespaces that a process under `/proc` is in.
#[derive(Debug, Default)]
pub struct Mounted {
    points: HashSet<Vec<u8>>,
    /// Options of each overlay, and where it is mounted.
    overlays: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Mounted {
    /// Reads them. A namespace that this user may not look into is passed over.
    pub fn now() -> Self {
        let mut out = Self::default();
        let mut seen = HashSet::new();
        let mut read = |process: PathBuf, out: &mut Self| {
            let namespace = std::fs::read_link(process.join("ns/mnt")).unwrap_or_default();
            if seen.contains(&namespace) {
                return;
            }
            if let Ok(table) = std::fs::read(process.join("mountinfo")) {
                out.add(&table);
                seen.insert(namespace);
            }
        };
        read("/proc/self".into(), &mut out);
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes()[0].is_ascii_digit() {
                read(entry.path(), &mut out);
            }
        }
        out
    }

    fn add(&mut self, table: &[u8]) {
        for line in table.split(|b| *b == b'\n') {
            let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
            let Some(point) = fields.get(4).map(|field| unescape(field)) else {
                continue;
            };
            // Among the options, the file system's own come last.
            let options = fields.last().copied().unwrap_or_default();
            if fields.contains(&&b"overlay"[..]) {
                self.overlays.push((options.to_vec(), point.clone()));
            }
            self.points.insert(point);
        }
    }

    /// True where something is mounted on a directory of this path, in any namespace.
    pub fn is_point(&self, path: &Path) -> bool {
        self.points.contains(path.as_os_str().as_encoded_bytes())
    }

    /// Where an overlay is mounted that writes into the head directory `head`. Only its name is compared:
    /// it is an id that no other head has, whatever way leads to the repository.
    pub fn writer(&self, head: &Path) -> Option<PathBuf> {
        let mut wanted = b"/".to_vec();
        wanted.extend_from_slice(head.file_name()?.as_encoded_bytes());
        wanted.extend_from_slice(b"/upper");
        let writes = |options: &[u8]| options.windows(wanted.len()).any(|part| part == wanted);
        let found = self.overlays.iter().find(|(options, _)| writes(options));
        found.map(|(_, point)| PathBuf::from(std::ffi::OsString::from_vec(point.clone())))
    }
}

/// Undoes the octal escapes of mountinfo.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *first == b'\\');
        let value = code.and_then(|code| {
            let digits = std::str::from_utf8(code).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match value {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_and_writers_are_found_whatever_their_paths_hold() {
        let table = b"36 35 0:40 / /a\\040b rw,nosuid - overlay cairn rw,lowerdir+=x,upperdir=/r\\040s/heads/00ff/upper,workdir=/r\\040s/heads/00ff/work\n\
            37 35 8:1 / / rw - ext4 /dev/sda rw\nshort line\n";
        let mut mounted = Mounted::default();
        mounted.add(table);
        assert!(mounted.is_point(Path::new("/a b")));
        assert!(!mounted.is_point(Path::new("/a")));
        let writer = |head: &str| mounted.writer(Path::new(head));
        assert_eq!(writer("/other/way/heads/00ff"), Some("/a b".into()));
        assert_eq!(writer("/r s/heads/00fe"), None);
    }
}
