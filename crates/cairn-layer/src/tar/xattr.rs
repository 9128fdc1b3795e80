//! Extended attributes as pax records.
//!
//! Written as GNU tar does: `SCHILY.xattr.NAME=VALUE`, with `%` and `=` of the name as `%25` and `%3D`.
//! Read in this form and in libarchive's own, `LIBARCHIVE.xattr.NAME=VALUE`, whose name is URL-encoded and
//! whose value is base64; where an archive has both, the second says it exactly.

use super::pax;

const GNU: &[u8] = b"SCHILY.xattr.";
const LIBARCHIVE: &[u8] = b"LIBARCHIVE.xattr.";
const NAME_BYTES_MAX: usize = 255;
const VALUE_BYTES_MAX: usize = 65536;

/// Appends the record of one attribute.
pub fn push(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let mut key = GNU.to_vec();
    for byte in name {
        match byte {
            b'%' => key.extend_from_slice(b"%25"),
            b'=' => key.extend_from_slice(b"%3D"),
            other => key.push(*other),
        }
    }
    pax::push(out, &key, value);
}

/// Names and values.
type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// The attributes that the records of an entry give it, sorted by name.
pub fn of_records<'a>(
    records: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
) -> Result<Xattrs, &'static str> {
    let exact = records
        .clone()
        .filter_map(|(key, value)| Some((url_decoded(key.strip_prefix(LIBARCHIVE)?), value)))
        .map(|(name, value)| Some((name, base64_decoded(value)?)));
    let exact: Option<Xattrs> = exact.collect();
    let mut out = exact.ok_or("it has an extended attribute that is not base64")?;
    if out.is_empty() {
        let plain = records
            .filter_map(|(key, value)| Some((gnu_decoded(key.strip_prefix(GNU)?), value.to_vec())));
        out.extend(plain);
    }
    for (name, value) in &out {
        let fits = (1..=NAME_BYTES_MAX).contains(&name.len()) && value.len() <= VALUE_BYTES_MAX;
        if !fits || name.contains(&0) {
            return Err("it has an extended attribute that no file system takes");
        }
    }
    out.sort_by(|(a, _), (b, _)| a.cmp(b));
    // Different spellings of one name: the last one counts.
    out.reverse();
    out.dedup_by(|(a, _), (b, _)| a == b);
    out.reverse();
    Ok(out)
}

/// GNU tar encodes two bytes and takes any other `%` for itself.
fn gnu_decoded(mut name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    while let Some((first, rest)) = name.split_first() {
        let (byte, rest) = match rest.split_at_checked(2) {
            Some((b"25", rest)) if *first == b'%' => (b'%', rest),
            Some((b"3D", rest)) if *first == b'%' => (b'=', rest),
            _ => (*first, rest),
        };
        out.push(byte);
        name = rest;
    }
    out
}

fn url_decoded(mut name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    while let Some((first, rest)) = name.split_first() {
        let code = (*first == b'%').then(|| rest.get(..2)).flatten();
        let code = code.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                name = &rest[2..];
            }
            None => {
                out.push(*first);
                name = rest;
            }
        }
    }
    out
}

/// Base64 with or without padding, as libarchive writes it.
fn base64_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut have) = (0_u32, 0);
    for byte in text.iter().filter(|b| !matches!(b, b'=' | b'\n')) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        have += 6;
        if have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_whatever_they_hold() {
        for name in [
            &b"user.a=b"[..],
            b"user.100%",
            b"user.%3D",
            b"user.\xff%25=",
        ] {
            let mut bytes = Vec::new();
            push(&mut bytes, name, b"x=y");
            let records = pax::parse(&bytes).unwrap();
            let read = of_records(records.into_iter()).unwrap();
            assert_eq!(read, [(name.to_vec(), b"x=y".to_vec())]);
        }
    }

    #[test]
    fn libarchives_own_form_is_read_and_preferred() {
        let records = [
            (&b"SCHILY.xattr.user.a"[..], &b"b=c"[..]),
            (b"LIBARCHIVE.xattr.user.a%3Db", b"Yw"),
            (b"LIBARCHIVE.xattr.user.n", b"AP8="),
        ];
        let read = of_records(records.into_iter()).unwrap();
        let want = [
            (b"user.a=b".to_vec(), b"c".to_vec()),
            (b"user.n".to_vec(), vec![0, 255]),
        ];
        assert_eq!(read, want);
    }
}
