//! One tar header with the extended records before it, as an entry would have it.

use std::collections::BTreeMap;
use std::rc::Rc;

use cairn_model::{Meta, Timestamp};
use tar::{EntryType, Header};

use super::{pax, xattr};
use crate::error::{Error, Result};

/// Values that extended headers give to the next entry, over (global) ones for all that follow.
#[derive(Debug, Clone, Default)]
pub struct Extensions {
    pax: Vec<(Vec<u8>, Vec<u8>)>,
    global: Rc<BTreeMap<Vec<u8>, Vec<u8>>>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

/// Keys that mean something in a global header. Others would be those of every file of the archive, which
/// no tar writes and which would make a small archive a large layer.
const GLOBAL_KEYS: [&[u8]; 6] = [b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"];
const GLOBAL_VALUE_BYTES_MAX: usize = 4096;

impl Extensions {
    /// The records of a pax header, in place of those of one before it.
    pub fn set_pax(&mut self, bytes: &[u8], at: u64) -> Result<()> {
        self.pax = records(bytes, at)?;
        Ok(())
    }

    /// Adds the records of a global header; a later record of the same key wins, an empty one takes it away.
    pub fn add_global(&mut self, bytes: &[u8], at: u64) -> Result<()> {
        let global = Rc::make_mut(&mut self.global);
        for (key, value) in records(bytes, at)? {
            if value.is_empty() {
                global.remove(&key);
            } else if GLOBAL_KEYS.contains(&&key[..]) {
                if value.len() > GLOBAL_VALUE_BYTES_MAX {
                    return Err(bad_pax(at));
                }
                global.insert(key, value);
            }
        }
        Ok(())
    }

    /// Takes over the global records of `other`.
    pub fn follow(&mut self, other: &Self) {
        self.global = other.global.clone();
    }

    /// Data of a GNU header that holds a long name.
    pub fn set_long_name(&mut self, data: &[u8]) {
        self.long_name = until_nul(data);
    }

    /// Data of a GNU header that holds a long link target.
    pub fn set_long_link(&mut self, data: &[u8]) {
        self.long_link = until_nul(data);
    }

    /// Value of one record. An empty one means that there is none, not even a global one.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let local = self.pax.iter().find(|(k, _)| k == key);
        local
            .map(|(_, value)| value)
            .or_else(|| self.global.get(key))
            .map(Vec::as_slice)
            .filter(|value| !value.is_empty())
    }

    /// All records of this entry alone.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.pax.iter().map(|(k, v)| (k.as_slice(), v.as_slice()))
    }
}

/// Records of one header; a later record of the same key wins.
fn records(bytes: &[u8], at: u64) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut out: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (key, value) in pax::parse(bytes).ok_or_else(|| bad_pax(at))? {
        // GNU.sparse 0.0 repeats its keys; their order is the map.
        if !matches!(key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes") {
            out.retain(|(k, _)| k != key);
        }
        out.push((key.to_vec(), value.to_vec()));
    }
    Ok(out)
}

fn bad_pax(at: u64) -> Error {
    Error::Tar {
        at,
        why: "a pax header is malformed".into(),
    }
}

fn until_nul(bytes: &[u8]) -> Option<Vec<u8>> {
    let name = bytes.split(|b| *b == 0).next()?;
    (!name.is_empty()).then(|| name.to_vec())
}

/// A header, decoded.
#[derive(Debug)]
pub struct Decoded {
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub kind: EntryType,
    pub meta: Meta,
    /// Bytes of data that follow in the archive.
    pub stored: u64,
    pub device: (u32, u32),
}

/// Decodes a header whose checksum is right.
pub fn decode(header: &Header, ext: &Extensions, at: u64) -> Result<Decoded> {
    let bad = |what: &str| Error::Tar {
        at,
        why: format!("the header's {what} is not a number that makes sense"),
    };
    let number = |key: &[u8]| -> Option<Result<u64>> {
        let text = ext.get(key)?;
        Some(
            std::str::from_utf8(text)
                .ok()
                .and_then(|t| t.parse().ok())
                .ok_or_else(|| bad(&String::from_utf8_lossy(key))),
        )
    };
    let path = ext.get(b"GNU.sparse.name").or_else(|| ext.get(b"path"));
    let path = path.or(ext.long_name.as_deref());
    let path = path.map_or_else(|| header_path(header), <[u8]>::to_vec);
    if path.is_empty() {
        return Err(Error::Tar {
            at,
            why: "a header has no name".into(),
        });
    }
    let link = ext.get(b"linkpath").or(ext.long_link.as_deref());
    let link = match link {
        Some(link) => link.to_vec(),
        None => header
            .link_name_bytes()
            .map(|l| l.into_owned())
            .unwrap_or_default(),
    };
    let field = |key: &'static [u8], from_header: std::io::Result<u64>| -> Result<u64> {
        number(key).unwrap_or_else(|| from_header.map_err(|_| bad(&String::from_utf8_lossy(key))))
    };
    // A field of blanks is zero, as other readers have it.
    let blank = |bytes: &[u8]| bytes.iter().all(|b| matches!(b, 0 | b' '));
    let old = header.as_old();
    let or_zero = |raw: &[u8], value: std::io::Result<u64>| if blank(raw) { Ok(0) } else { value };
    let id = |n: u64, what| u32::try_from(n).map_err(|_| bad(what));
    let mtime = match ext.get(b"mtime") {
        Some(text) => parse_time(text).ok_or_else(|| bad("mtime"))?,
        None => Timestamp {
            secs: header_time(header).ok_or_else(|| bad("mtime"))?,
            nanos: 0,
        },
    };
    let mut meta = Meta {
        mode: or_zero(&old.mode, header.mode().map(u64::from)).map_err(|_| bad("mode"))? as u32
            & 0o7777,
        uid: id(field(b"uid", or_zero(&old.uid, header.uid()))?, "uid")?,
        gid: id(field(b"gid", or_zero(&old.gid, header.gid()))?, "gid")?,
        mtime,
        xattrs: Vec::new(),
    };
    meta.xattrs = xattr::of_records(ext.iter()).map_err(|why| Error::entry(&path, why))?;
    let device = |n: std::io::Result<Option<u32>>| n.ok().flatten().unwrap_or(0);
    Ok(Decoded {
        path,
        link,
        kind: header.entry_type(),
        meta,
        stored: field(b"size", or_zero(&old.size, header.entry_size()))?,
        device: (device(header.device_major()), device(header.device_minor())),
    })
}

/// The name a header has by itself. Star's own form of ustar has times where others have the last bytes of
/// the prefix.
fn header_path(header: &Header) -> Vec<u8> {
    let bytes = header.as_bytes();
    if header.as_ustar().is_none() || bytes[508..512] != *b"tar\0" {
        return header.path_bytes().into_owned();
    }
    let text = |field: &[u8]| until_nul(field).unwrap_or_default();
    crate::path::join(&text(&bytes[345..476]), &text(&bytes[..100]))
}

/// Seconds of a header's mtime field, whose base-256 form may be negative.
fn header_time(header: &Header) -> Option<i64> {
    let raw = &header.as_old().mtime;
    if raw.iter().all(|b| matches!(b, 0 | b' ')) {
        return Some(0);
    }
    if raw[0] == 0xff {
        let tail: [u8; 8] = raw[4..12].try_into().ok()?;
        return Some(i64::from_be_bytes(tail));
    }
    i64::try_from(header.mtime().ok()?).ok()
}

/// A pax time: decimal seconds with an optional fraction, maybe negative.
fn parse_time(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let secs: i64 = if matches!(whole, "" | "-") {
        0
    } else {
        whole.parse().ok()?
    };
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanos: u32 = digits.parse().ok()?;
    Some(match (negative, nanos) {
        (true, 1..) => Timestamp {
            secs: secs.checked_sub(1)?,
            nanos: 1_000_000_000 - nanos,
        },
        _ => Timestamp { secs, nanos },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond() {
        let time = |t: &str| parse_time(t.as_bytes()).map(|t| (t.secs, t.nanos));
        assert_eq!(
            time("1350244992.023960108"),
            Some((1_350_244_992, 23_960_108))
        );
        assert_eq!(time("7"), Some((7, 0)));
        assert_eq!(time("-1.5"), Some((-2, 500_000_000)));
        assert_eq!(time("-0.25"), Some((-1, 750_000_000)));
        assert_eq!(time("1.2x"), None);
        assert_eq!(time("1e3"), None);
    }
}
