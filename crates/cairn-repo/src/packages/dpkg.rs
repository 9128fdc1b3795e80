//! dpkg's database: `/var/lib/dpkg/status`, or a file for each package beside it in images without dpkg.

use super::{Found, pairs, value};

pub(super) fn is_database(path: &[u8]) -> bool {
    path == b"var/lib/dpkg/status" || path.starts_with(b"var/lib/dpkg/status.d/")
}

/// Packages that are installed; of a removed one its configuration may be left.
pub(super) fn read(text: &[u8]) -> Found {
    pairs(text, ["Package", "Version"], |part| {
        let status = part.iter().find_map(|line| value(line, "Status"));
        status.is_none_or(|status| status.ends_with(" installed"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_listed_and_what_was_removed_is_not() {
        let text = "Package: bash\nStatus: install ok installed\nVersion: 5.2-1\nDescription: a\n Version: x\n\n\
                    Package: vi\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: base\nVersion: 2\n";
        let found = read(text.as_bytes());
        let expected = [("bash", "5.2-1"), ("base", "2")];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
