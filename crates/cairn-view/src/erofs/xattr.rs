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

/// Bytes of attributes that `i_xattr_icount` can say.
const BYTES_MAX: usize = (u16::MAX as usize - 1) * 4;

/// The attributes of an inode as they stand behind it.
pub struct Encoded {
    /// Header and entries; empty for none.
    pub bytes: Vec<u8>,
    /// The value of the field `i_xattr_icount`.
    pub count: u16,
    /// Attributes that an inode of its kind cannot have, or that are too long, each or all together.
    pub left_out: u64,
}

/// What an inode tells overlayfs.
#[derive(Clone, Copy)]
pub enum Own<'a> {
    /// Nothing.
    None,
    /// That its content is that of this object.
    File(&'a ObjectId),
    /// Of a directory.
    Directory {
        /// It does not show what lies below it.
        is_opaque: bool,
        /// It has whiteouts. Where nothing lies below a directory, overlayfs takes what is in it as it is, unless an
        /// origin says that it was merged once.
        has_whiteouts: bool,
    },
}

/// Encodes the attributes of an inode. Only files and directories have `user.` attributes (xattr(7)): of others
/// the kernel would list them and not give them out.
pub fn encode(xattrs: &[(Vec<u8>, Vec<u8>)], own: Own<'_>, has_user: bool) -> Encoded {
    let mut out = vec![0; HEADER];
    let mut left_out = 0;
    let mut push_own = |name: &[u8], value: &[u8]| {
        let pushed = push(&mut out, name, value);
        debug_assert!(pushed);
        left_out += u64::from(!pushed);
    };
    match own {
        Own::None => {}
        Own::File(object) => {
            let hex = object.hex();
            let redirect = format!("/{}/{}", &hex[..2], &hex[2..]);
            push_own(b"trusted.overlay.metacopy", b"");
            push_own(b"trusted.overlay.redirect", redirect.as_bytes());
        }
        Own::Directory {
            is_opaque,
            has_whiteouts,
        } => {
            if is_opaque {
                push_own(b"trusted.overlay.opaque", b"y");
            }
            if has_whiteouts {
                push_own(b"trusted.overlay.origin", b"");
            }
        }
    }
    for (name, value) in xattrs {
        let pushed = match name.strip_prefix(b"trusted.overlay.") {
            _ if !has_user && name.starts_with(b"user.") => false,
            // Overlayfs takes one level of "overlay." away again (Linux 6.7).
            Some(rest) => push(
                &mut out,
                &[b"trusted.overlay.overlay.", rest].concat(),
                value,
            ),
            None => push(&mut out, name, value),
        };
        left_out += u64::from(!pushed);
    }
    if out.len() == HEADER {
        out.clear();
    }
    let count = match out.len() {
        0 => 0,
        bytes => (bytes - HEADER) / 4 + 1,
    };
    Encoded {
        bytes: out,
        count: count as u16,
        left_out,
    }
}

/// Appends one attribute; false where it does not fit, or the kernel would list it and not give it out.
fn push(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> bool {
    let known = PREFIXES
        .iter()
        .find_map(|(prefix, index)| Some((name.strip_prefix(*prefix)?, *index)));
    let (rest, index) = known.unwrap_or((name, 0));
    // Only the names of ACLs are whole prefixes; "user." names nothing.
    if rest.is_empty() && name.ends_with(b".") {
        return false;
    }
    let bytes = 4 + (rest.len() + value.len()).next_multiple_of(4);
    let (Ok(name_len), Ok(value_len)) = (u8::try_from(rest.len()), u16::try_from(value.len()))
    else {
        return false;
    };
    if out.len() - HEADER + bytes > BYTES_MAX {
        return false;
    }
    out.extend_from_slice(&[name_len, index]);
    out.extend_from_slice(&value_len.to_le_bytes());
    out.extend_from_slice(rest);
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_attributes_are_for_files_and_directories() {
        let of = |name: &str| (name.as_bytes().to_vec(), b"value".to_vec());
        let both = [of("user.a"), of("trusted.b")];
        let (file, link) = (
            encode(&both, Own::None, true),
            encode(&both, Own::None, false),
        );
        assert_eq!((file.left_out, link.left_out), (0, 1));
        assert_eq!(link.bytes, encode(&both[1..], Own::None, true).bytes);
    }
}
