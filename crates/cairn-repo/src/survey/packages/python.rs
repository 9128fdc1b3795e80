//! Python: a directory `NAME-VERSION.dist-info` for each package, whose RECORD lists its files.

use super::form::{Form, Tell, lines, shown};
use crate::survey::paths::base;

pub(super) const FORM: Form = Form { is_record, read };

const ENDING: &[u8] = b".dist-info/RECORD";

fn is_record(path: &[u8]) -> bool {
    path.ends_with(ENDING)
}

fn read(path: &[u8], text: &[u8], tell: &mut Tell<'_>) {
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
