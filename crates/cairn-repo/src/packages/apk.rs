//! apk's database: `/lib/apk/db/installed`.

use super::{Found, pairs};

pub(crate) fn is_database(path: &[u8]) -> bool {
    path == b"lib/apk/db/installed" || path == b"usr/lib/apk/db/installed"
}

pub(super) fn read(text: &[u8]) -> Found {
    pairs(text, ["P", "V"], |_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_a_package() {
        let found = read(b"C:Q1\nP:musl\nV:1.2.4-r2\nA:x86_64\n\nP:busybox\nV:1.36\n");
        let expected = [("musl", "1.2.4-r2"), ("busybox", "1.36")];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
