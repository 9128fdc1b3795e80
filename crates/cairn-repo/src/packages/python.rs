//! Python packages: `METADATA` of a wheel, `PKG-INFO` of an egg (packaging.python.org, "Core metadata").

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
