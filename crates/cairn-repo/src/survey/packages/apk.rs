//! apk: one file of all packages, in paragraphs of lines `X:value`.

use super::form::{Form, Tell, lines, shown};
use crate::packages::apk::is_database;

pub(super) const FORM: Form = Form {
    is_record: is_database,
    read,
};

fn read(_: &[u8], text: &[u8], tell: &mut Tell<'_>) {
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
