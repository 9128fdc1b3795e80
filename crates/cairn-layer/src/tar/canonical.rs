//! The canonical tar of entries, which did not come as one.

use std::borrow::Cow;
use std::io::Write;

use cairn_model::{Entry, Kind, Meta};
use tar::{EntryType, Header};

use super::{SparseMap, padding, pax, xattr};
use crate::error::{Error, Result};

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
        let MemberHeader {
            path,
            link,
            kind,
            size,
            meta,
            records,
        } = MemberHeader::of(entry, map);
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
        let mut header = ustar(&path, link, kind, size, &meta);
        if let Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } = entry.kind {
            set_device(&mut header, entry, major, minor)?;
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

fn set_device(header: &mut Header, entry: &Entry, major: u32, minor: u32) -> Result<()> {
    let fits = header
        .set_device_major(major)
        .and_then(|()| header.set_device_minor(minor));
    fits.map_err(|_| Error::entry(&entry.path, "its device number fits no tar"))
}

/// What the canonical tar of some entries comes to.
pub struct Canonical {
    /// Its length.
    pub bytes: u64,
    /// Holes are left out of it: it is version 2.
    pub has_maps: bool,
}

impl Canonical {
    /// Without making it. Fails where it could not be made.
    pub fn of(entries: &[Entry]) -> Result<Self> {
        let mut out = Self {
            bytes: 2 * super::BLOCK as u64,
            has_maps: false,
        };
        for entry in entries {
            if let Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } =
                entry.kind
            {
                set_device(&mut Header::new_ustar(), entry, major, minor)?;
            }
            let map = match &entry.kind {
                Kind::File(content) => SparseMap::of_content(content),
                _ => None,
            };
            let header = MemberHeader::of(entry, map.as_ref());
            let records = header.records.len() as u64;
            out.bytes += super::BLOCK as u64 + header.size + padding(header.size);
            if records > 0 {
                out.bytes += super::BLOCK as u64 + records + padding(records);
            }
            out.has_maps |= map.is_some();
        }
        Ok(out)
    }
}

/// What the headers of an entry say.
struct MemberHeader<'a> {
    path: Vec<u8>,
    link: &'a [u8],
    kind: EntryType,
    /// Of what follows them.
    size: u64,
    meta: Cow<'a, Meta>,
    records: Vec<u8>,
}

impl<'a> MemberHeader<'a> {
    fn of(entry: &'a Entry, map: Option<&SparseMap>) -> Self {
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
            Cow::Owned(Meta::root(0))
        } else {
            Cow::Borrowed(&entry.meta)
        };
        let mut records = records(if map.is_some() { b"" } else { &path }, link, size, &meta);
        if let (Some(_), Kind::File(content)) = (map, &entry.kind) {
            sparse_records(&mut records, &path, content.size);
            // What a reader that knows nothing of sparse files would make of it, as GNU tar names it.
            let (_, name) = crate::path::split(&path).unwrap_or_default();
            path = [b"GNUSparseFile.0/", name].concat();
        }
        Self {
            path,
            link,
            kind,
            size,
            meta,
            records,
        }
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
