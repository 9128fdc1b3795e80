//! Python packages: `METADATA` of a wheel, `PKG-INFO` of an egg (packaging.python.org, "Core metadata").

use super::form::{Form, Tell, base, lines, shown};
use super::{Found, value};

pub(super) fn is_database(path: &[u8]) -> bool {
    path.ends_with(b".dist-info/METADATA") || path.ends_with(b".egg-info/PKG-INFO")
}

/// The headers end at the first empty line; what follows is a description.
pub(super) fn read(text: &[u8]) -> Found {
    let headers = || {
        let lines = text.split(|b| *b == b'\n');
        lines.take_while(|line| !line.trim_ascii().is_empty())
    };
    let of = |name| headers().find_map(|line| value(line, name));
    of("Name").zip(of("Version")).into_iter().collect()
}

pub(super) const FORM: Form = Form {
    is_record,
    read: read_files,
};

const ENDING: &[u8] = b".dist-info/RECORD";

fn is_record(path: &[u8]) -> bool {
    path.ends_with(ENDING)
}

fn read_files(path: &[u8], text: &[u8], tell: &mut Tell<'_>) {
    let info = &path[..path.len() - ENDING.len()];
    let directory = &info[..info.len() - base(info).len()];
    let package = base(info);
    let name = package
        .split(|byte| *byte == b'-')
        .next()
        .unwrap_or(package);
    for line in lines(text) {
        if let Some(file) = first_field(line).filter(|file| !file.is_empty())
            && let Some(path) = joined(directory, file)
        {
            tell(shown("python", name), &path);
        }
    }
}

/// The first of fields that commas divide; one with a comma is in quotes.
fn first_field(line: &[u8]) -> Option<&[u8]> {
    match line.strip_prefix(b"\"") {
        Some(quoted) => quoted.split(|byte| *byte == b'"').next(),
        None => line.split(|byte| *byte == b',').next(),
    }
}

/// A path that may lead up from its directory, but not out of the image.
fn joined(directory: &[u8], file: &[u8]) -> Option<Vec<u8>> {
    if file.starts_with(b"/") {
        return Some(file.to_vec());
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in directory
        .split(|b| *b == b'/')
        .chain(file.split(|b| *b == b'/'))
    {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_it_and_the_description_does_not() {
        let text = b"Metadata-Version: 2.1\nName: six\nVersion: 1.16.0\n\nName: other\n";
        assert_eq!(read(text), [("six".to_owned(), "1.16.0".to_owned())]);
        assert_eq!(read(b"Name: six\n\nVersion: 1\n"), []);
    }
}
