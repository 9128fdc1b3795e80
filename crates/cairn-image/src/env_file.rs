//! Files of environment variables, by the rules of `docker run --env-file`.
//!
//! One variable a line. `NAME=VALUE` is taken as it stands, with blanks and quotes; a `NAME` alone passes
//! on the caller's value. Blanks before the name are dropped, as are a byte order mark, empty lines and lines
//! whose first character is `#`. Values may hold any byte but NUL.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::error::{Error, Result};

/// One line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name, not empty and without blanks.
    pub name: OsString,
    /// Its value; none where the caller's is to be passed on.
    pub value: Option<OsString>,
}

/// Longest line, as Docker has it.
const LINE_BYTES_MAX: usize = 64 << 10;

/// The variables of a file, in their order. `name` is the file's, for messages.
pub fn parse(bytes: &[u8], name: &str) -> Result<Vec<Variable>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut out = Vec::new();
    for (number, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let fail = |why: &str| {
            let what = format!("line {} of {name}", number + 1);
            Err(Error::invalid(what, why))
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = line.trim_ascii_start();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        if line.len() >= LINE_BYTES_MAX {
            return fail("it is longer than 64 KiB");
        }
        if line.contains(&0) {
            return fail("it contains a NUL byte");
        }
        let (variable, value) = match line.iter().position(|b| *b == b'=') {
            Some(at) => (&line[..at], Some(&line[at + 1..])),
            None => (line.trim_ascii_end(), None),
        };
        if variable.is_empty() {
            return fail("it has no name before the =");
        }
        if variable.iter().any(u8::is_ascii_whitespace) {
            let shown = String::from_utf8_lossy(variable);
            return fail(&format!(
                "the name {shown:?} contains spaces; use NAME=VALUE, without \"export\""
            ));
        }
        out.push(Variable {
            name: OsString::from_vec(variable.to_vec()),
            value: value.map(|value| OsString::from_vec(value.to_vec())),
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    type Pair = (Vec<u8>, Option<Vec<u8>>);

    fn read(text: &[u8]) -> Vec<Pair> {
        let bytes = |s: &OsString| s.as_bytes().to_vec();
        let variables = parse(text, "file").unwrap();
        variables
            .iter()
            .map(|v| (bytes(&v.name), v.value.as_ref().map(bytes)))
            .collect()
    }

    fn pair(name: &[u8], value: &[u8]) -> Pair {
        (name.to_vec(), Some(value.to_vec()))
    }

    #[test]
    fn values_are_taken_as_they_stand() {
        let text = b"\xef\xbb\xbfA=1\r\n# no\n\n  B= two \t\nC=\"q\" 'r'\nD=x=y # z\n  # no\nE=\nF\xff=\xe9t\xe9\nG.x-1=1";
        let expected = [
            pair(b"A", b"1"),
            pair(b"B", b" two \t"),
            pair(b"C", b"\"q\" 'r'"),
            pair(b"D", b"x=y # z"),
            pair(b"E", b""),
            pair(b"F\xff", b"\xe9t\xe9"),
            pair(b"G.x-1", b"1"),
        ];
        assert_eq!(read(text), expected);
        assert_eq!(
            read(b"HOME\nPATH  \n"),
            [(b"HOME".to_vec(), None), (b"PATH".to_vec(), None)]
        );
        assert!(read(b"").is_empty() && read(b"\xef\xbb\xbf").is_empty());
    }

    #[test]
    fn errors_name_file_and_line() {
        for (text, line, why) in [
            (&b"A=1\n=x\n"[..], 2, "no name"),
            (b"A=1\n\n export F=1", 3, "export"),
            (b"A B", 1, "spaces"),
            (b"A =1", 1, "spaces"),
            (b"A=\0", 1, "NUL"),
        ] {
            let e = parse(text, "my.env").unwrap_err().to_string();
            assert!(
                e.contains(&format!("line {line} of my.env")) && e.contains(why),
                "{e}"
            );
        }
        let long = [&b"A="[..], &vec![b'x'; LINE_BYTES_MAX]].concat();
        assert!(parse(&long, "f").is_err());
    }
}
