//! One tar header with the extended records before it, as an entry would have it.

use cairn_model::{Meta, Timestamp};
use tar::{EntryType, Header};

use super::pax;
use crate::error::{Error, Result};

/// Values that extended headers give to the next entry, or (global) to all that follow.
#[derive(Debug, Clone, Default)]
pub struct Extensions {
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Extensions {
    /// Adds the records of a pax header; a later record of the same key wins.
    pub fn add_pax(&mut self, bytes: &[u8]) -> Option<()> {
        for (key, value) in pax::parse(bytes)? {
            self.set(key, value);
        }
        Some(())
    }

    /// Sets one record.
    pub fn set(&mut self, key: &[u8], value: &[u8]) {
        // GNU.sparse 0.0 repeats its keys; their order is the map.
        if !matches!(key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes") {
            self.records.retain(|(k, _)| k != key);
        }
        self.records.push((key.to_vec(), value.to_vec()));
    }

    /// Value of one record.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.records
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_slice())
    }

    /// All records.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.records
            .iter()
            .map(|(k, v)| (k.as_slice(), v.as_slice()))
    }

    /// These records over `global` ones.
    pub fn over(self, global: &Self) -> Self {
        let mut out = global.clone();
        for (key, value) in &self.records {
            out.set(key, value);
        }
        out
    }
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
    let path = path.map_or_else(|| header.path_bytes().into_owned(), <[u8]>::to_vec);
    let link = match ext.get(b"linkpath") {
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
    for (key, value) in ext.iter() {
        let Some(name) = key.strip_prefix(b"SCHILY.xattr.") else {
            continue;
        };
        if name.starts_with(b"trusted.overlay.") {
            return Err(Error::entry(
                &path,
                "it has an attribute trusted.overlay.*, which would steer the overlay mount",
            ));
        }
        if name.is_empty() || name.len() > 255 || name.contains(&0) || value.len() > 65536 {
            return Err(Error::entry(
                &path,
                "it has an extended attribute that no file system takes",
            ));
        }
        meta.set_xattr(name, value);
    }
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
