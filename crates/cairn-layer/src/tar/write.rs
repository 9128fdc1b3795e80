//! Writes a layer as a tar: the imported one again from its framing, or a canonical one.

use std::io::{self, Write};

use cairn_model::{Digest, Entry, Kind, Meta};
use cairn_store::Store;
use sha2::Digest as _;
use tar::{EntryType, Header};

use super::{SparseMap, StepV1, decode_framing, padding, pax, xattr};
use crate::content::read_content;
use crate::error::{Error, Result};
use crate::layer::Layer;

const FRAMING_BYTES_MAX: u64 = 4 << 30;

/// Writes the layer's tar to `out` and returns its SHA-256 and length. Where the diff id is known, the
/// bytes are the ones that were imported, or the export fails.
pub fn export_layer(store: &Store, layer: &Layer, out: &mut dyn Write) -> Result<(Digest, u64)> {
    let entries = layer.read_entries(store)?;
    let mut out = HashWriter {
        out,
        hasher: sha2::Sha256::new(),
        bytes: 0,
    };
    match &layer.framing {
        Some(framing) => {
            let damaged = || Error::Damaged {
                what: "the tar framing",
                layer: layer.id,
            };
            let bytes = store.read_stream(framing, FRAMING_BYTES_MAX)?;
            for step in decode_framing(&bytes).ok_or_else(damaged)? {
                replay(store, &entries, step, &mut out)?.ok_or_else(damaged)?;
            }
        }
        None => {
            let mut tar = CanonicalTar::new(&mut out);
            for entry in &entries {
                tar.header(entry)?;
                if let Kind::File(content) = &entry.kind {
                    read_content(store, content, tar.out())?;
                    tar.pad(content.size)?;
                }
            }
            tar.finish()?;
        }
    }
    let digest = Digest::from_bytes(out.hasher.finalize().into());
    match layer.diff_id {
        Some(expected) if expected != digest => Err(Error::Differs {
            expected,
            actual: digest,
        }),
        _ => Ok((digest, out.bytes)),
    }
}

fn replay(
    store: &Store,
    entries: &[Entry],
    step: StepV1,
    out: &mut HashWriter<'_>,
) -> Result<Option<()>> {
    match step {
        StepV1::Raw(bytes) => out.write_all(&bytes).map_err(Error::Write)?,
        StepV1::Entry(index) => {
            let Some(Entry {
                kind: Kind::File(content),
                ..
            }) = entries.get(index as usize)
            else {
                return Ok(None);
            };
            for (id, _) in content.blobs() {
                out.write_all(&store.get(&id)?).map_err(Error::Write)?;
            }
        }
    }
    Ok(Some(()))
}

struct HashWriter<'a> {
    out: &'a mut dyn Write,
    hasher: sha2::Sha256,
    bytes: u64,
}

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes entries as a tar of one fixed form (part of the repository format): ustar headers, with a pax
/// header before them for what ustar cannot say. The same entries give the same bytes. Version 1 has the
/// content of files in full; version 2 leaves holes out, and its layers have a framing.
pub struct CanonicalTar<W: Write> {
    out: W,
}

impl<W: Write> CanonicalTar<W> {
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Where content goes after the header of its file.
    pub fn out(&mut self) -> &mut W {
        &mut self.out
    }

    /// Everything before the content of an entry, which is written in full, holes as zeros.
    pub fn header(&mut self, entry: &Entry) -> Result<()> {
        self.headers(entry, None)
    }

    /// Everything before the data of a file with holes, of which only the data follows (version 2).
    pub fn sparse_header(&mut self, entry: &Entry, map: &SparseMap) -> Result<()> {
        self.headers(entry, Some(map))?;
        self.write(&map.text)
    }

    fn headers(&mut self, entry: &Entry, map: Option<&SparseMap>) -> Result<()> {
        let mut path = member_name(entry);
        let link: &[u8] = match &entry.kind {
            Kind::Symlink(target) | Kind::Hardlink(target) => target,
            _ => b"",
        };
        let (kind, size) = match &entry.kind {
            Kind::Directory => (EntryType::Directory, 0),
            Kind::File(content) => {
                let stored = map.map_or(content.size, SparseMap::stored);
                (EntryType::Regular, stored)
            }
            Kind::Symlink(_) => (EntryType::Symlink, 0),
            Kind::Hardlink(_) => (EntryType::Link, 0),
            Kind::CharDevice { .. } => (EntryType::Char, 0),
            Kind::BlockDevice { .. } => (EntryType::Block, 0),
            Kind::Fifo => (EntryType::Fifo, 0),
            Kind::Whiteout | Kind::Opaque => (EntryType::Regular, 0),
        };
        let meta = if matches!(entry.kind, Kind::Whiteout | Kind::Opaque) {
            &Meta::root(0)
        } else {
            &entry.meta
        };
        let mut records = records(if map.is_some() { b"" } else { &path }, link, size, meta);
        if let (Some(_), Kind::File(content)) = (map, &entry.kind) {
            sparse_records(&mut records, &path, content.size);
            // What a reader that knows nothing of sparse files would make of it, as GNU tar names it.
            let (_, name) = crate::path::split(&path).unwrap_or_default();
            path = [b"GNUSparseFile.0/", name].concat();
        }
        if !records.is_empty() {
            let mut header = ustar(
                b"pax",
                b"",
                EntryType::XHeader,
                records.len() as u64,
                &Meta::root(0o644),
            );
            header.set_cksum();
            self.write(header.as_bytes())?;
            self.write(&records)?;
            self.pad(records.len() as u64)?;
        }
        let mut header = ustar(&path, link, kind, size, meta);
        if let Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } = entry.kind {
            let fits = header
                .set_device_major(major)
                .and_then(|()| header.set_device_minor(minor));
            fits.map_err(|_| Error::entry(&entry.path, "its device number fits no tar"))?;
        }
        header.set_cksum();
        self.write(header.as_bytes())
    }

    /// Zeros after content of this length.
    pub fn pad(&mut self, size: u64) -> Result<()> {
        self.write(&[0; super::BLOCK][..padding(size) as usize])
    }

    /// The end of the archive.
    pub fn finish(mut self) -> Result<W> {
        self.write(&[0; 2 * super::BLOCK])?;
        Ok(self.out)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(Error::Write)
    }
}

const NUMBER_MAX: u64 = 0o7_777_777;
const LONG_NUMBER_MAX: u64 = 0o77_777_777_777;

/// The path as a tar has it: directories end in a slash, deletions are files with names of their own (OCI image
/// specification, layer.md, "Whiteouts").
fn member_name(entry: &Entry) -> Vec<u8> {
    let path = &entry.path[..];
    match entry.kind {
        Kind::Directory if path.is_empty() => b"./".to_vec(),
        Kind::Directory => [path, b"/"].concat(),
        Kind::Whiteout => {
            let (directory, name) = crate::path::split(path).unwrap_or_default();
            crate::path::join(directory, &[b".wh.", name].concat())
        }
        Kind::Opaque => crate::path::join(path, b".wh..wh..opq"),
        _ => path.to_vec(),
    }
}

/// What a ustar header cannot say.
fn records(path: &[u8], link: &[u8], size: u64, meta: &Meta) -> Vec<u8> {
    let mut out = Vec::new();
    if path.len() > 100 {
        pax::push(&mut out, b"path", path);
    }
    if link.len() > 100 {
        pax::push(&mut out, b"linkpath", link);
    }
    if size > LONG_NUMBER_MAX {
        pax::push(&mut out, b"size", size.to_string().as_bytes());
    }
    for (key, id) in [(&b"uid"[..], meta.uid), (b"gid", meta.gid)] {
        if u64::from(id) > NUMBER_MAX {
            pax::push(&mut out, key, id.to_string().as_bytes());
        }
    }
    let mtime = meta.mtime;
    if mtime.nanos != 0 || mtime.secs < 0 || mtime.secs.unsigned_abs() > LONG_NUMBER_MAX {
        pax::push(
            &mut out,
            b"mtime",
            time_text(mtime.secs, mtime.nanos).as_bytes(),
        );
    }
    for (name, value) in &meta.xattrs {
        xattr::push(&mut out, name, value);
    }
    out
}

/// What makes a file a sparse one, in GNU tar's form 1.0.
fn sparse_records(out: &mut Vec<u8>, path: &[u8], size: u64) {
    pax::push(out, b"GNU.sparse.major", b"1");
    pax::push(out, b"GNU.sparse.minor", b"0");
    pax::push(out, b"GNU.sparse.name", path);
    pax::push(out, b"GNU.sparse.realsize", size.to_string().as_bytes());
}

fn time_text(secs: i64, nanos: u32) -> String {
    let (sign, secs, nanos) = match (secs, nanos) {
        (..0, 1..) => ("-", (secs + 1).unsigned_abs(), 1_000_000_000 - nanos),
        (..0, 0) => ("-", secs.unsigned_abs(), 0),
        _ => ("", secs.unsigned_abs(), nanos),
    };
    let text = format!("{sign}{secs}.{nanos:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn ustar(path: &[u8], link: &[u8], kind: EntryType, size: u64, meta: &Meta) -> Header {
    let mut header = Header::new_ustar();
    let old = header.as_old_mut();
    let copy = |field: &mut [u8; 100], bytes: &[u8]| {
        let n = bytes.len().min(100);
        field[..n].copy_from_slice(&bytes[..n]);
    };
    copy(&mut old.name, path);
    copy(&mut old.linkname, link);
    header.set_entry_type(kind);
    header.set_mode(meta.mode);
    header.set_uid(u64::from(meta.uid).min(NUMBER_MAX));
    header.set_gid(u64::from(meta.gid).min(NUMBER_MAX));
    header.set_size(size.min(LONG_NUMBER_MAX));
    header.set_mtime(
        u64::try_from(meta.mtime.secs)
            .unwrap_or(0)
            .min(LONG_NUMBER_MAX),
    );
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_pax_has_them() {
        assert_eq!(time_text(5, 0), "5");
        assert_eq!(time_text(1, 20), "1.00000002");
        assert_eq!(time_text(-2, 500_000_000), "-1.5");
        assert_eq!(time_text(-1, 750_000_000), "-0.25");
        assert_eq!(time_text(-7, 0), "-7");
    }
}
