//! Extended attributes inside an inode: a header of 12 bytes, then entries padded to 4.

use cairn_model::ObjectId;

const HEADER: usize = 12;

/// Name prefixes that are stored as a number.
const PREFIXES: [(&[u8], u8); 5] = [
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"user.", 1),
    (b"trusted.", 4),
    (b"security.", 6),
];

/// The encoded attributes of an inode and the value of its field `i_xattr_icount`; `None` where they
/// do not fit an inode.
pub fn encode(xattrs: &[(Vec<u8>, Vec<u8>)], object: Option<&ObjectId>) -> Option<(Vec<u8>, u16)> {
    if xattrs.is_empty() && object.is_none() {
        return Some((Vec::new(), 0));
    }
    let mut out = vec![0; HEADER];
    if let Some(object) = object {
        push(&mut out, b"trusted.overlay.metacopy", b"")?;
        let hex = object.hex();
        push(
            &mut out,
            b"trusted.overlay.redirect",
            format!("/{}/{}", &hex[..2], &hex[2..]).as_bytes(),
        )?;
    }
    for (name, value) in xattrs {
        match name.strip_prefix(b"trusted.overlay.") {
            // Overlayfs takes one level of "overlay." away again (Linux 6.7).
            Some(rest) => push(
                &mut out,
                &[b"trusted.overlay.overlay.", rest].concat(),
                value,
            )?,
            None => push(&mut out, name, value)?,
        }
    }
    let count = (out.len() - HEADER) / 4 + 1;
    Some((out, u16::try_from(count).ok()?))
}

fn push(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Option<()> {
    let known = PREFIXES
        .iter()
        .find_map(|(prefix, index)| Some((name.strip_prefix(*prefix)?, *index)));
    let (rest, index) = known.unwrap_or((name, 0));
    out.extend_from_slice(&[u8::try_from(rest.len()).ok()?, index]);
    out.extend_from_slice(&u16::try_from(value.len()).ok()?.to_le_bytes());
    out.extend_from_slice(rest);
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
    Some(())
}
