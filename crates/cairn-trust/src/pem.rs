//! PEM: base64 between two lines that say of what.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest text that is looked at.
const BYTES_MAX: usize = 64 << 10;

/// Label and content of the first block; none where there is none.
pub fn first(text: &str) -> Option<(&str, Vec<u8>)> {
    if text.len() > BYTES_MAX {
        return None;
    }
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    Some((label, STANDARD.decode(body).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_block_is_taken() {
        let text = "words\n-----BEGIN X Y-----\nYW\nJj\n-----END X Y-----\n-----BEGIN Z-----\n";
        assert_eq!(first(text), Some(("X Y", b"abc".to_vec())));
        for bad in [
            "",
            "-----BEGIN X-----",
            "-----BEGIN X-----\nYWJj\n-----END Y-----",
            "-----BEGIN X-----\n!\n-----END X-----",
        ] {
            assert_eq!(first(bad), None, "{bad}");
        }
    }
}
