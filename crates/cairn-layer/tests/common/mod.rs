//! Tars made byte by byte, and what becomes of them here and in GNU tar's hands.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_layer::{Limits, Tree, checkout, export_layer, import_tar};
use cairn_store::{Disk, Store};

/// A header that a test may make as wrong as it likes.
#[derive(Clone)]
pub struct Header(pub [u8; 512]);

impl Header {
    /// A POSIX header of a file with mode 0644 and time 1000.
    pub fn new(name: &[u8], kind: u8, size: u64) -> Self {
        let mut header = Self([0; 512]);
        header.0[..name.len()].copy_from_slice(name);
        header.0[156] = kind;
        header.0[257..265].copy_from_slice(b"ustar\x0000");
        header
            .field(100, b"0000644\0")
            .field(108, b"0000000\0")
            .field(116, b"0000000\0")
            .field(124, format!("{size:011o}\0").as_bytes())
            .field(136, b"00000001750\0")
    }

    /// The same in GNU tar's old form.
    pub fn gnu(name: &[u8], kind: u8, size: u64) -> Self {
        Self::new(name, kind, size).field(257, b"ustar  \0")
    }

    /// The same as before there was any standard.
    pub fn v7(name: &[u8], kind: u8, size: u64) -> Self {
        Self::new(name, kind, size).field(257, &[0; 8])
    }

    pub fn field(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub fn link(self, target: &[u8]) -> Self {
        self.field(157, target)
    }

    fn sum(&self, value: impl Fn(u8) -> i64) -> i64 {
        let others = self.0.iter().enumerate();
        let others = others.filter(|(i, _)| !(148..156).contains(i));
        others.map(|(_, b)| value(*b)).sum::<i64>() + 8 * 32
    }

    pub fn done(self) -> Vec<u8> {
        let sum = self.sum(i64::from);
        self.field(148, format!("{sum:06o}\0 ").as_bytes())
            .0
            .to_vec()
    }

    /// With the checksum of those who summed signed bytes.
    pub fn done_signed(self) -> Vec<u8> {
        let sum = self.sum(|b| i64::from(b.cast_signed()));
        self.field(148, format!("{sum:06o}\0 ").as_bytes())
            .0
            .to_vec()
    }
}

/// Data with the zeros behind it.
pub fn padded(data: &[u8]) -> Vec<u8> {
    let mut out = data.to_vec();
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

pub fn file(name: &[u8], data: &[u8]) -> Vec<u8> {
    [
        Header::new(name, b'0', data.len() as u64).done(),
        padded(data),
    ]
    .concat()
}

/// Pax records.
pub fn records(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        out.extend_from_slice(format!("{length} {key}=").as_bytes());
        out.extend_from_slice(value);
        out.push(b'\n');
    }
    out
}

/// An extended header of any kind.
pub fn extended(kind: u8, data: &[u8]) -> Vec<u8> {
    let header = match kind {
        b'L' | b'K' => Header::gnu(b"././@LongLink", kind, data.len() as u64),
        _ => Header::new(b"pax", kind, data.len() as u64),
    };
    [header.done(), padded(data)].concat()
}

pub fn pax(list: &[(&str, &[u8])]) -> Vec<u8> {
    extended(b'x', &records(list))
}

/// Members and the end mark.
pub fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

/// A store that goes with its directory.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub store: Store,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("repository");
        Store::create(&root, Disk::default()).unwrap();
        let store = Store::open(&root, Disk::default(), None).unwrap();
        Self { dir, store }
    }

    /// Imports a tar, sees that it comes out byte for byte, and writes its tree into a directory.
    pub fn unpack(&self, bytes: &[u8]) -> Result<PathBuf, String> {
        let why = |e: &dyn std::error::Error| match e.source() {
            Some(cause) => format!("{e}: {cause}"),
            None => e.to_string(),
        };
        let ingest = self.store.ingest().unwrap();
        let tar = import_tar(&mut &bytes[..], ingest.feeder(), Limits::default());
        let tar = tar.map_err(|e| why(&e))?;
        let mut tree = Tree::new();
        tree.apply(&tar.entries).map_err(|e| why(&e))?;
        let prepared = ingest.finish().unwrap();
        self.store
            .publish::<_, cairn_store::Error>(prepared, |_| Ok(()))
            .unwrap();
        let mut out = Vec::new();
        export_layer(&self.store, &tar.layer, &mut out).map_err(|e| why(&e))?;
        assert!(out == bytes, "the tar does not come out as it went in");
        let target = self.fresh("cairn");
        checkout(&self.store, &tree, &target).map_err(|e| why(&e))?;
        Ok(target)
    }

    /// The same tar unpacked by GNU tar; false where it says that something is wrong.
    pub fn unpack_gnu(&self, bytes: &[u8]) -> (PathBuf, bool) {
        let archive = self.dir.path().join("archive.tar");
        std::fs::write(&archive, bytes).unwrap();
        let target = self.fresh("gnu");
        let status = Command::new("tar")
            .args(["--extract", "--preserve-permissions", "--numeric-owner"])
            .args([
                "--xattrs",
                "--xattrs-include=user.*",
                "--delay-directory-restore",
            ])
            .arg("--directory")
            .arg(&target)
            .arg("--file")
            .arg(&archive)
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        (target, status.success())
    }

    fn fresh(&self, name: &str) -> PathBuf {
        let target = self.dir.path().join(name);
        let _ = std::fs::remove_dir_all(&target);
        std::fs::create_dir(&target).unwrap();
        // Both begin with the same root, which no archive here describes.
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o755)).unwrap();
        target
    }
}

/// What can be told of the files below a directory, by path. Times of directories are left out where an
/// archive does not give them.
pub fn listing(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut out = BTreeMap::new();
    let mut first: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut stack = vec![root.to_owned()];
    while let Some(directory) = stack.pop() {
        let mut entries: Vec<PathBuf> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        for path in entries {
            let meta = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(root).unwrap().as_os_str();
            let name = name.as_encoded_bytes().to_vec();
            let (uid, gid) = (meta.uid(), meta.gid());
            let mut text = format!("{:o} {uid}:{gid}", meta.mode());
            if meta.is_dir() {
                stack.push(path);
            } else if meta.is_symlink() {
                text += &format!(" -> {:?}", std::fs::read_link(&path).unwrap());
            } else {
                text += &format!(" at {}.{:09}", meta.mtime(), meta.mtime_nsec());
                text += &format!(" device {:x}", meta.rdev());
                if meta.is_file() {
                    let bytes = std::fs::read(&path).unwrap();
                    let hash = cairn_model::BlobId::of(&bytes).short();
                    text += &format!(" {} bytes {hash}", bytes.len());
                    let same = first.entry(meta.ino()).or_insert_with(|| name.clone());
                    text += &format!(" as {:?}", String::from_utf8_lossy(same));
                }
            }
            out.insert(name, text);
        }
    }
    out
}
