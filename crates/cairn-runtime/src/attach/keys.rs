//! Detach keys: a sequence of keys that leaves a container running and its terminal.

use crate::error::{Error, Result};

/// More than anybody types.
const KEYS_MAX: usize = 16;
const EXAMPLE: &str = "must be characters or ctrl- with a letter or one of @[\\]^_, with commas, such as ctrl-p,ctrl-q";

/// The sequence; empty for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

impl Default for DetachKeys {
    /// As Docker: Ctrl-P, then Ctrl-Q.
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

impl DetachKeys {
    /// From `ctrl-p,ctrl-q`, `a,b`, or nothing.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let refused = || Error::Invalid(format!("--detach-keys {text:?}: {EXAMPLE}"));
        let keys = text.split(',').map(|key| key_of(key).ok_or_else(refused));
        let keys = keys.collect::<Result<Vec<u8>>>()?;
        if keys.len() > KEYS_MAX {
            return Err(refused());
        }
        Ok(Self(keys))
    }
}

fn key_of(text: &str) -> Option<u8> {
    if let &[key] = text.as_bytes() {
        return key.is_ascii_graphic().then_some(key);
    }
    match text.strip_prefix("ctrl-")?.as_bytes() {
        &[key @ b'a'..=b'z'] => Some(key - b'a' + 1),
        b"@" => Some(0),
        &[key @ b'['..=b'_'] => Some(key - b'@'),
        _ => None,
    }
}

/// Watches what is typed for the sequence.
#[derive(Debug)]
pub struct Watcher {
    keys: DetachKeys,
    /// How many of them came last; they are held back.
    seen: usize,
}

impl Watcher {
    pub fn new(keys: DetachKeys) -> Self {
        Self { keys, seen: 0 }
    }

    /// What of the typed bytes is for the container, and whether the sequence is complete; what follows it is
    /// for nobody.
    pub fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let keys = &self.keys.0;
        if keys.is_empty() {
            return (typed.to_vec(), false);
        }
        let mut out = Vec::with_capacity(typed.len() + self.seen);
        for byte in typed {
            if *byte == keys[self.seen] {
                self.seen += 1;
                if self.seen == keys.len() {
                    self.seen = 0;
                    return (out, true);
                }
                continue;
            }
            // The longest end of what came that begins the sequence is held back, the rest goes on.
            let came = [&keys[..self.seen], &[*byte]].concat();
            let fits = |length: &usize| came.ends_with(&keys[..*length]);
            let kept = (0..=self.seen).rev().find(fits).unwrap_or(0);
            out.extend_from_slice(&came[..came.len() - kept]);
            self.seen = kept;
        }
        (out, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_characters_and_control_characters() {
        let parsed = |text: &str| DetachKeys::parse(text).map(|keys| keys.0).ok();
        assert_eq!(parsed("ctrl-p,ctrl-q"), Some(vec![0x10, 0x11]));
        assert_eq!(
            parsed("a,ctrl-@,ctrl-\\,ctrl-_"),
            Some(vec![b'a', 0, 28, 31])
        );
        assert_eq!(parsed(""), Some(Vec::new()));
        let many = vec!["a"; 17].join(",");
        for bad in [
            "ctrl-", "ctrl-1", "ctrl-P", "ab", "a,", ",", "é", " ", "\n", &many,
        ] {
            assert_eq!(parsed(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_sequence_is_found_across_pieces_and_nothing_else_is_lost() {
        let mut watcher = Watcher::new(DetachKeys::parse("a,a,b").unwrap());
        assert_eq!(watcher.pass(b"xa"), (b"x".to_vec(), false));
        assert_eq!(watcher.pass(b"c"), (b"ac".to_vec(), false));
        assert_eq!(watcher.pass(b"aaa"), (b"a".to_vec(), false));
        assert_eq!(watcher.pass(b"bmore"), (Vec::new(), true));
        let mut none = Watcher::new(DetachKeys::parse("").unwrap());
        assert_eq!(none.pass(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }
}
