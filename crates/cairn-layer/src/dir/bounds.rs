//! What a file system can hold and a layer cannot: refused on the way in, so that whatever is written out
//! can be read again.

use cairn_model::{Entry, Kind};

use crate::error::{Error, Result};
use crate::path::clean;

/// Attributes of one file and their bytes: with them its pax header stays under what the reader takes.
const XATTRS_MAX: usize = 480;
const XATTR_BYTES_MAX: usize = 512 << 10;

/// Refuses an entry whose tar the reader of layers would refuse.
pub fn check(entry: &Entry) -> Result<()> {
    clean(&entry.path)?;
    if let Kind::CharDevice { major: 0, minor: 0 } = entry.kind {
        return Err(Error::entry(
            &entry.path,
            "a character device 0:0 would hide what is below it",
        ));
    }
    let xattrs = &entry.meta.xattrs;
    // A byte of a name has three where it is encoded.
    let bytes: usize = xattrs.iter().map(|(n, v)| 3 * n.len() + v.len() + 32).sum();
    if xattrs.len() > XATTRS_MAX || bytes > XATTR_BYTES_MAX {
        return Err(Error::entry(
            &entry.path,
            format!(
                "it has {} extended attributes of {bytes} bytes; a layer holds {XATTRS_MAX} and {XATTR_BYTES_MAX} bytes of one file",
                xattrs.len()
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cairn_model::Meta;

    use super::*;

    #[test]
    fn what_a_layer_cannot_hold_is_refused_on_the_way_in() {
        let entry = |path: Vec<u8>, kind, meta| Entry { path, meta, kind };
        let plain = Meta::root(0o644);
        let deep = |parts: usize| vec!["d"; parts].join("/").into_bytes();
        check(&entry(deep(1024), Kind::Fifo, plain.clone())).unwrap();
        check(&entry(deep(1025), Kind::Fifo, plain.clone())).unwrap_err();
        let hides = Kind::CharDevice { major: 0, minor: 0 };
        check(&entry(b"a".to_vec(), hides, plain.clone())).unwrap_err();
        let mut many = plain.clone();
        for n in 0..=XATTRS_MAX {
            many.set_xattr(format!("user.{n}").as_bytes(), b"");
        }
        check(&entry(b"a".to_vec(), Kind::Fifo, many)).unwrap_err();
        let mut large = plain;
        for n in 0..9 {
            large.set_xattr(format!("user.{n}").as_bytes(), &[0; 65_536]);
        }
        check(&entry(b"a".to_vec(), Kind::Fifo, large)).unwrap_err();
    }
}
