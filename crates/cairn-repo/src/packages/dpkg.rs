//! dpkg's database: `/var/lib/dpkg/status`, or a file for each package beside it in images without dpkg.

use super::form::{Form, Tell, base, lines, shown};
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

pub(super) const FORM: Form = Form {
    is_record,
    read: read_files,
};

const LISTS: &[u8] = b"var/lib/dpkg/info/";
const SUMS: &[u8] = b"var/lib/dpkg/status.d/";

fn is_record(path: &[u8]) -> bool {
    path.starts_with(LISTS) && path.ends_with(b".list")
        || path.starts_with(SUMS) && path.ends_with(b".md5sums")
}

fn read_files(path: &[u8], text: &[u8], tell: &mut Tell<'_>) {
    let name = base(path);
    let end = name.iter().rposition(|byte| *byte == b'.');
    let name = &name[..end.unwrap_or(name.len())];
    // A package that may be there for several architectures has one in its name.
    let name = name.split(|byte| *byte == b':').next().unwrap_or(name);
    let is_sums = path.starts_with(SUMS);
    for line in lines(text) {
        let file = match is_sums {
            // The sum, two blanks, the path.
            true => line
                .iter()
                .position(|b| *b == b' ')
                .map(|at| line[at..].trim_ascii_start()),
            false => Some(line),
        };
        if let Some(file) = file.filter(|file| !file.is_empty()) {
            tell(shown("deb", name), file);
        }
    }
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
