//! apk's database: `/lib/apk/db/installed`.

use super::form::{Form, Tell, lines, shown};
use super::{Found, pairs};

pub(super) fn is_database(path: &[u8]) -> bool {
    path == b"lib/apk/db/installed" || path == b"usr/lib/apk/db/installed"
}

pub(super) fn read(text: &[u8]) -> Found {
    pairs(text, ["P", "V"], |_| true)
}

pub(super) const FORM: Form = Form {
    is_record: is_database,
    read: read_files,
};

fn read_files(_: &[u8], text: &[u8], tell: &mut Tell<'_>) {
    let (mut package, mut directory): (Option<&[u8]>, &[u8]) = (None, b"");
    for line in lines(text) {
        match line {
            [b'P', b':', name @ ..] => (package, directory) = (Some(name), b""),
            [b'F', b':', path @ ..] => directory = path,
            [b'R', b':', name @ ..] => {
                if let Some(package) = package {
                    tell(shown("apk", package), &[directory, b"/", name].concat());
                }
            }
            [] => package = None,
            _ => {}
        }
    }
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
