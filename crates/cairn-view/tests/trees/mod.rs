//! Trees of every shape that an image can have, for readers that are not ours to read. Each comes with
//! the bytes of its inline files.

pub mod facts;

use std::collections::HashMap;

use cairn_layer::Tree;
use cairn_model::{BlobId, Content, Kind, Meta, ObjectId, Piece, Timestamp, TreeId};

/// A tree to write an image of.
pub struct Sample {
    pub name: String,
    pub tree: Tree,
    /// What the files hold that are short enough to be inline.
    pub contents: HashMap<ObjectId, Vec<u8>>,
}

impl Sample {
    fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            tree: Tree::new(),
            contents: HashMap::new(),
        }
    }

    fn add(&mut self, path: &str, meta: Meta, kind: Kind) {
        let added = self.tree.insert(path.as_bytes(), meta, kind);
        added.unwrap_or_else(|e| panic!("{}: {path}: {e}", self.name));
    }

    fn directory(&mut self, path: &str) {
        self.add(path, meta(0o755), Kind::Directory);
    }

    fn file(&mut self, path: &str, meta: Meta, bytes: &[u8]) {
        let pieces = match bytes.len() {
            0 => Vec::new(),
            len => vec![Piece::Data {
                id: BlobId::of(bytes),
                len: len as u32,
            }],
        };
        let content = Content {
            size: bytes.len() as u64,
            pieces,
        };
        self.contents.insert(content.object(), bytes.to_vec());
        self.add(path, meta, Kind::File(content));
    }

    /// A file of data, then a hole up to its size.
    fn sparse(&mut self, path: &str, size: u64) {
        let data = b"at the beginning of a long file".as_slice();
        let pieces = vec![
            Piece::Data {
                id: BlobId::of(data),
                len: data.len() as u32,
            },
            Piece::Hole {
                len: size - data.len() as u64,
            },
        ];
        self.add(path, meta(0o600), Kind::File(Content { size, pieces }));
    }

    /// The image, and how many attributes it has not.
    pub fn image(&self) -> (Vec<u8>, u64) {
        let inline = |content: &Content, out: &mut Vec<u8>| {
            out.extend_from_slice(&self.contents[&content.object()]);
            Ok(())
        };
        let mut image = Vec::new();
        let id = TreeId::from_bytes([7; 32]);
        let left_out = cairn_view::write_image(&self.tree, &id, &inline, &mut image);
        let left_out = left_out.unwrap_or_else(|e| panic!("{}: {e}", self.name));
        (image, left_out)
    }
}

fn meta(mode: u32) -> Meta {
    Meta {
        mtime: Timestamp {
            secs: 1_700_000_000,
            nanos: 5,
        },
        ..Meta::root(mode)
    }
}

fn empty() -> Sample {
    Sample::new("empty")
}

fn kinds() -> Sample {
    let mut s = Sample::new("kinds");
    s.directory("d");
    for (name, mode) in [
        ("plain", 0o644),
        ("suid", 0o4755),
        ("all", 0o7777),
        ("none", 0),
    ] {
        s.file(&format!("d/{name}"), meta(mode), name.as_bytes());
    }
    for (name, major, minor) in [("null", 1, 3), ("big", 4095, 0xf_ffff), ("zero", 0, 0)] {
        let device = Kind::CharDevice { major, minor };
        s.add(&format!("d/c-{name}"), meta(0o666), device);
        let device = Kind::BlockDevice { major, minor };
        s.add(&format!("d/b-{name}"), meta(0o660), device);
    }
    s.add("fifo", meta(0o600), Kind::Fifo);
    // As tars have it; a kernel knows no mode of a link but 0777.
    s.add("link", meta(0o644), Kind::Symlink(b"d/plain".to_vec()));
    let owners = [(0, u32::MAX - 1), (1000, 65_536), (65_535, 1)];
    for (n, (uid, gid)) in owners.into_iter().enumerate() {
        let meta = Meta {
            uid,
            gid,
            ..meta(0o640)
        };
        s.file(&format!("owned-{n}"), meta, b"x");
    }
    for (n, secs) in [-1, -5_000_000_000, 0, 1 << 33].into_iter().enumerate() {
        let mtime = Timestamp {
            secs,
            nanos: 999_999_999,
        };
        s.file(
            &format!("time-{n}"),
            Meta {
                mtime,
                ..meta(0o644)
            },
            b"",
        );
    }
    s
}

fn sizes() -> Sample {
    let mut s = Sample::new("sizes");
    for size in [0, 1, 31, 32, 63, 64, 65, 100, 4095, 4096, 4097, 1 << 20] {
        s.file(&format!("f{size}"), meta(0o644), &vec![b'a'; size]);
    }
    for (n, size) in [1 << 12, 1 << 31, 1 << 32, (1 << 40) + 1, (1 << 43) - 1]
        .iter()
        .enumerate()
    {
        s.sparse(&format!("sparse{n}"), *size);
    }
    // Around what fits behind an inode in a block.
    for length in [1, 59, 60, 1000, 3000, 4031, 4032, 4033, 4094, 4095] {
        let target = vec![b't'; length];
        s.add(&format!("l{length}"), meta(0o777), Kind::Symlink(target));
    }
    s
}

fn hard_links() -> Sample {
    let mut s = Sample::new("hard links");
    s.directory("a");
    s.directory("b");
    s.file("a/first", meta(0o644), b"one inode");
    for n in 0..300 {
        s.add(
            &format!("b/n{n:03}"),
            meta(0),
            Kind::Hardlink(b"a/first".to_vec()),
        );
    }
    s.file("a/long", meta(0o644), &[b'z'; 9000]);
    s.add("b/long", meta(0), Kind::Hardlink(b"a/long".to_vec()));
    s.add("a/fifo", meta(0o600), Kind::Fifo);
    s.add("b/fifo", meta(0), Kind::Hardlink(b"a/fifo".to_vec()));
    s
}

fn attributes() -> Sample {
    let mut s = Sample::new("attributes");
    let with = |list: &[(&str, &[u8])]| {
        let pairs = list.iter();
        let mut xattrs: Vec<_> = pairs
            .map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()))
            .collect();
        xattrs.sort();
        Meta {
            xattrs,
            ..meta(0o644)
        }
    };
    let capability = b"\x01\0\0\x02\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let access = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x04\0\x04\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";
    s.file("one", with(&[("user.a", b"b")]), b"inline");
    s.file(
        "capability",
        with(&[("security.capability", capability)]),
        &[0; 500],
    );
    s.file("acl", with(&[("system.posix_acl_access", access)]), b"x");
    s.file(
        "many",
        with(&[
            ("user.empty", b""),
            ("trusted.t", b"\0\xff"),
            ("security.ima", b"i"),
        ]),
        b"",
    );
    let long_name = format!("user.{}", "n".repeat(250));
    s.file("long name", with(&[(&long_name, &[b'v'; 300])]), &[1; 70]);
    // Metadata longer than a block, before content that must not cross one.
    for bytes in [3000, 4000, 4090, 20_000, 60_000] {
        // Not "user.", which the kernel gives out for files and directories only.
        let meta = with(&[("trusted.long", &vec![b'v'; bytes])]);
        s.file(&format!("value{bytes}"), meta.clone(), &[b'c'; 60]);
        let target = vec![b't'; 3000];
        s.add(&format!("link{bytes}"), meta, Kind::Symlink(target));
    }
    let mut directory = with(&[("user.d", &[b'd'; 2000])]);
    directory.mode = 0o700;
    s.add("dir", directory, Kind::Directory);
    for n in 0..50 {
        s.file(&format!("dir/{n:060}"), meta(0o644), b"");
    }
    s
}

fn names() -> Sample {
    let mut s = Sample::new("names");
    for n in 0..60 {
        s.file(&format!("{n:02}{}", "x".repeat(253)), meta(0o644), b"long");
    }
    for name in [
        " ",
        "\u{1f980}",
        "a\\b",
        "-",
        "...",
        ".hidden",
        "new\nline",
        "\u{7f}",
    ] {
        s.file(name, meta(0o644), b"odd");
    }
    let mut path = String::new();
    for depth in 0..100 {
        path.push_str(&format!("d{depth}"));
        s.directory(&path);
        path.push('/');
    }
    s.file(&format!("{path}leaf"), meta(0o644), b"deep");
    s
}

/// A directory of `count` names of one length: the lengths at which a block is just full, and beside.
fn directory_of(count: usize, length: usize) -> Sample {
    let mut s = Sample::new(format!("{count} names of {length}"));
    for n in 0..count {
        s.file(&format!("{n:0length$}"), meta(0o644), &n.to_le_bytes());
    }
    s
}

/// A tree of arbitrary shape, the same for the same seed.
fn random(seed: u64) -> Sample {
    let mut s = Sample::new(format!("random {seed}"));
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut directories = vec![String::new()];
    let mut files: Vec<String> = Vec::new();
    for n in 0..next(400) + 20 {
        let parent = &directories[next(directories.len() as u64) as usize];
        let path = format!("{parent}{n}{}", "q".repeat(next(120) as usize));
        let mut meta = Meta {
            uid: next(1 << 17) as u32,
            ..meta(next(0o10000) as u32)
        };
        for x in 0..next(4).saturating_sub(1) {
            let value = vec![b'v'; next(700) as usize];
            meta.xattrs
                .push((format!("trusted.x{x}").into_bytes(), value));
        }
        match next(10) {
            0..2 => {
                s.add(&path, meta, Kind::Directory);
                directories.push(format!("{path}/"));
            }
            2..4 => {
                let target = vec![b't'; next(4095) as usize + 1];
                s.add(&path, meta, Kind::Symlink(target));
            }
            4 if !files.is_empty() => {
                let target = files[next(files.len() as u64) as usize].clone();
                s.add(&path, meta, Kind::Hardlink(target.into_bytes()));
            }
            5 => s.sparse(&path, 100 + next(1 << 40)),
            _ => {
                s.file(&path, meta, &vec![n as u8; next(200) as usize]);
                files.push(path);
            }
        }
    }
    s
}

/// A file with attributes that an image cannot hold, or the kernel would not give out, and how many.
pub fn too_much() -> (Sample, u64) {
    let mut s = Sample::new("too much");
    let list = [
        (b"user.".to_vec(), b"no name".to_vec()),
        (b"user.fits".to_vec(), vec![b'v'; 60_000]),
        (format!("user.{}", "n".repeat(256)).into_bytes(), Vec::new()),
        (b"user.too-long".to_vec(), vec![b'v'; 1 << 16]),
    ];
    let meta = Meta {
        xattrs: list.to_vec(),
        ..meta(0o644)
    };
    s.file("file", meta, b"x");
    (s, 3)
}

/// All of them.
pub fn samples() -> Vec<Sample> {
    let mut out = vec![
        empty(),
        kinds(),
        sizes(),
        hard_links(),
        attributes(),
        names(),
    ];
    // An entry takes 12 bytes and its name, a block has 4096: with "." and ".." of 27 together.
    for (count, length) in [
        (1, 1),
        (145, 16),
        (146, 16),
        (291, 16),
        (292, 16),
        (15, 255),
        (16, 255),
    ] {
        out.push(directory_of(count, length));
    }
    out.push(directory_of(5_000, 9));
    out.extend((1..=16).map(random));
    out
}
