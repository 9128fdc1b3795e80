//! Writes the seeds of the fuzz corpus: `cargo run -p cairn-decoders --example seeds -- tests/fuzz/corpus`,
//! after which tars made by other programs can be put beside them by hand.

use std::path::Path;

use cairn_image::{ImageConfig, Platform};
use cairn_layer::{Limits, import_tar};
use cairn_model::{Digest, LayerName};
use cairn_store::{Disk, Error, Store};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn header(name: &str, kind: u8, size: usize, link: &str) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[108..115].copy_from_slice(b"0000000");
    block[116..123].copy_from_slice(b"0000000");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[136..147].copy_from_slice(b"14371573200");
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..263].copy_from_slice(b"ustar\0");
    block[263..265].copy_from_slice(b"00");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn member(name: &str, kind: u8, content: &[u8], link: &str) -> Vec<u8> {
    let mut out = header(name, kind, content.len(), link);
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// A pax record: its length counts its own digits.
fn record(key: &str, value: &str) -> String {
    let bare = key.len() + value.len() + 3;
    let length = (bare..bare + 8).find(|n| n - n.to_string().len() == bare);
    format!("{} {key}={value}\n", length.unwrap_or(bare))
}

fn tar() -> Vec<u8> {
    let pax = [
        record("mtime", "1700000000.123456789"),
        record("SCHILY.xattr.user.k", "value"),
        record("path", "long/name"),
    ]
    .concat();
    let sparse = [
        record("GNU.sparse.major", "1"),
        record("GNU.sparse.minor", "0"),
        record("GNU.sparse.name", "holes"),
        record("GNU.sparse.realsize", "10000"),
    ]
    .concat();
    let map = [&b"1\n8192\n100\n"[..], &[0; 501], &[7; 100]].concat();
    [
        member("etc/", b'5', b"", ""),
        member("etc/hosts", b'0', b"127.0.0.1 localhost\n", ""),
        member("etc/again", b'1', b"", "etc/hosts"),
        member("etc/link", b'2', b"", "hosts"),
        member("pipe", b'6', b"", ""),
        member("PaxHeaders/1", b'x', pax.as_bytes(), ""),
        member("long", b'0', &[b'x'; 700], ""),
        member("././@LongLink", b'L', &[b'n'; 150], ""),
        member("short", b'0', b"", ""),
        member("PaxHeaders/2", b'x', sparse.as_bytes(), ""),
        member("GNUSparseFile.0/holes", b'0', &map, ""),
        member("etc/.wh.gone", b'0', b"", ""),
        member("var/.wh..wh..opq", b'0', b"", ""),
        vec![0; 1024],
    ]
    .concat()
}

fn main() -> Result<()> {
    let corpus = std::env::args().nth(1).ok_or("usage: seeds DIR")?;
    let keep = |target: &str, name: &str, bytes: &[u8]| -> Result<()> {
        let directory = Path::new(&corpus).join(target);
        std::fs::create_dir_all(&directory)?;
        Ok(std::fs::write(directory.join(name), bytes)?)
    };
    let dir = tempfile::tempdir()?;
    let root = dir.path().join("repository");
    Store::create(&root, Disk::default())?;
    let store = Store::open(&root, Disk::default(), None)?;
    let tar = tar();
    let ingest = store.ingest()?;
    let imported = import_tar(&mut &tar[..], ingest.feeder(), Limits::default())?;
    store.publish::<_, Error>(ingest.finish()?, |_| Ok(()))?;
    keep("tar", "seed", &tar)?;
    let manifest = store.read_stream(&imported.layer.manifest, 1 << 20)?;
    keep("manifest", "seed", &manifest)?;
    for (place, target, kind) in [("packs", "pack", "pack"), ("index", "index", "idx")] {
        for entry in std::fs::read_dir(root.join(place))? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == kind) {
                keep(target, "seed", &std::fs::read(path)?)?;
            }
        }
    }
    keep("journal", "seed", &std::fs::read(root.join("journal"))?)?;
    let digest = Digest::from_bytes([7; 32]);
    let config = ImageConfig::new(
        &Platform::host(),
        &[LayerName::Tar(digest)],
        "2026-01-01T00:00:00Z",
        "seed",
    );
    keep("image_document", "seed", config.bytes())?;
    let full = br#"{"architecture":"arm64","variant":"v8","os":"linux","config":{"User":"1:2","Env":["A=b"],"Entrypoint":["/x"],"Cmd":["y"],"WorkingDir":"/w","Volumes":{"/v":{}},"ExposedPorts":{"80/tcp":{}},"Labels":{"a":"b"},"StopSignal":"SIGINT","Healthcheck":{"Test":["NONE"]}},"rootfs":{"type":"layers","diff_ids":[]},"history":[{"created":"2026-01-01T00:00:00Z","created_by":"x","empty_layer":true}],"unknown":[1,null]}"#;
    keep("image_document", "full", full)?;
    keep(
        "chunker",
        "bytes",
        b"\x05the quick brown fox jumps over the lazy dog",
    )?;
    keep("chunker", "counting", &(0..=255_u8).collect::<Vec<_>>())?;
    Ok(())
}
