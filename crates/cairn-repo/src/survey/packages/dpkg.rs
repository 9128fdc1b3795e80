//! dpkg: a list of paths for each package; images without dpkg have sums in `status.d` instead.

use super::form::{Form, Tell, lines, shown};
use crate::survey::paths::base;

pub(super) const FORM: Form = Form { is_record, read };

const LISTS: &[u8] = b"var/lib/dpkg/info/";
const SUMS: &[u8] = b"var/lib/dpkg/status.d/";

fn is_record(path: &[u8]) -> bool {
    path.starts_with(LISTS) && path.ends_with(b".list")
        || path.starts_with(SUMS) && path.ends_with(b".md5sums")
}

fn read(path: &[u8], text: &[u8], tell: &mut Tell<'_>) {
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
