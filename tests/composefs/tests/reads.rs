//! The composefs crate, written by others from the same documents, reads every image of the samples of
//! cairn-view's tests and finds in it what the tree has.

#[path = "../../../crates/cairn-view/tests/trees/mod.rs"]
#[allow(dead_code)]
mod trees;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use cairn_layer::NodeKind;
use composefs::erofs::reader::erofs_to_filesystem;
use composefs::fsverity::{FsVerityHashValue, Sha256HashValue};
use composefs::tree::{Directory, FileSystem, Inode, LeafContent, RegularFile, Stat};
use trees::facts::{self, Facts};
use trees::samples;

/// In front of the superblock, where EROFS has nothing: what the crate asks for before it reads an image.
/// Magic, format of EROFS, flags, version of composefs (that of its C library, which bounds no link).
const HEADER: [u32; 4] = [0xd078_629a, 1, 0, 1];

type Found = BTreeMap<Vec<u8>, (Facts, Option<String>)>;

fn device(encoded: u64) -> (u32, u32) {
    let encoded = encoded as u32;
    let minor = (encoded & 0xff) | ((encoded >> 12) & !0xff);
    ((encoded >> 8) & 0xfff, minor)
}

fn of_stat(stat: &Stat) -> Facts {
    let bytes = |name: &OsStr| name.as_bytes().to_vec();
    Facts {
        kind: "directory",
        size: 0,
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: (stat.st_mtim_sec, stat.st_mtim_nsec),
        links: 0,
        device: (0, 0),
        target: Vec::new(),
        content: None,
        xattrs: stat
            .xattrs
            .iter()
            .map(|(n, v)| (bytes(n), v.to_vec()))
            .collect(),
    }
}

fn read(
    fs: &FileSystem<Sha256HashValue>,
    links: &[u32],
    directory: &Directory<Sha256HashValue>,
    path: &[u8],
    out: &mut Found,
) {
    let mut own = of_stat(&directory.stat);
    let inner = directory
        .entries()
        .filter(|(_, inode)| matches!(inode, Inode::Directory(_)));
    own.links = 2 + inner.count() as u64;
    out.insert(path.to_vec(), (own, None));
    for (name, inode) in directory.entries() {
        let path = cairn_layer::join(path, name.as_bytes());
        let id = match inode {
            Inode::Directory(inner) => {
                read(fs, links, inner, &path, out);
                continue;
            }
            Inode::Leaf(id, _) => id.0,
        };
        let leaf = &fs.leaves[id];
        let mut facts = of_stat(&leaf.stat);
        facts.links = u64::from(links[id]);
        let mut object = None;
        match &leaf.content {
            LeafContent::Regular(file) => {
                facts.kind = "regular";
                facts.size = file.file_size();
                match file {
                    RegularFile::Inline(bytes) => facts.content = Some(bytes.to_vec()),
                    RegularFile::ExternalNoVerity(id, _) => object = Some(id.to_hex()),
                    other => panic!("{}: {other:?}", String::from_utf8_lossy(&path)),
                }
            }
            LeafContent::Symlink(target) => {
                facts.kind = "symlink";
                facts.target = target.as_bytes().to_vec();
                facts.size = facts.target.len() as u64;
            }
            LeafContent::CharacterDevice(number) => {
                (facts.kind, facts.device) = ("character", device(*number))
            }
            LeafContent::BlockDevice(number) => {
                (facts.kind, facts.device) = ("block", device(*number))
            }
            LeafContent::Fifo => facts.kind = "fifo",
            LeafContent::Socket => panic!("a socket at {}", String::from_utf8_lossy(&path)),
        }
        out.insert(path, (facts, object));
    }
}

#[test]
fn composefs_reads_what_the_tree_has() {
    for sample in samples() {
        let name = &sample.name;
        let (mut image, _) = sample.image();
        for (at, word) in HEADER.iter().enumerate() {
            image[at * 4..at * 4 + 4].copy_from_slice(&word.to_le_bytes());
        }
        let fs = erofs_to_filesystem::<Sha256HashValue>(&image);
        let fs = fs.unwrap_or_else(|e| panic!("{name}: {e:#}"));
        let mut found = Found::new();
        read(&fs, &fs.nlinks(), &fs.root, b"", &mut found);
        let wanted = facts::of(&sample);
        let paths = |map: Vec<&Vec<u8>>| map.into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(
            paths(found.keys().collect()),
            paths(wanted.keys().collect()),
            "{name}"
        );
        for (path, wanted) in wanted {
            let (found, object) = &found[&path];
            let id = sample.tree.get(&path).unwrap();
            let elsewhere = match &sample.tree.node(id).kind {
                NodeKind::File(content) if wanted.content.is_none() => Some(content.object().hex()),
                _ => None,
            };
            let path = String::from_utf8_lossy(&path);
            assert_eq!(found, &wanted, "{name}: /{path}");
            assert_eq!(object, &elsewhere, "{name}: /{path}");
        }
    }
}
