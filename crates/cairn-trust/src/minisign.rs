//! Signatures of files, as minisign makes them: Ed25519 over the BLAKE2b-512 of the file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};

use crate::error::{Error, Result};

/// Longest key or signature file.
const TEXT_BYTES_MAX: usize = 16 << 10;
const PREHASHED: [u8; 2] = *b"ED";
const WHOLE: [u8; 2] = *b"Ed";
const KEY_BYTES: usize = 2 + 8 + 32;
const SECRET_BYTES: usize = 158;
const SIGNATURE_BYTES: usize = 2 + 8 + 64;
/// Where in a secret key: how it is encrypted, and what follows the salt and two limits.
const KDF: std::ops::Range<usize> = 2..4;
const SECRET_FROM: usize = 54;

/// The hash of a file that is signed.
#[derive(Debug, Clone)]
pub struct Prehash(blake2b_simd::State);

impl Default for Prehash {
    fn default() -> Self {
        Self(blake2b_simd::State::new())
    }
}

impl Prehash {
    /// Takes in more of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> [u8; 64] {
        *self.0.finalize().as_array()
    }
}

/// A key that signatures of files are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileKey {
    number: [u8; 8],
    key: [u8; 32],
}

impl FileKey {
    /// The key of minisign's key file, or of its second line alone.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::Key(format!("{why}; a public key of minisign is needed"));
        let line = last_line(text).ok_or_else(|| wrong("it is empty or too long"))?;
        let bytes: [u8; KEY_BYTES] = base64(line).ok_or_else(|| wrong("it is no such key"))?;
        if bytes[..2] != WHOLE {
            return Err(wrong("it is of another kind"));
        }
        Ok(Self {
            number: array(&bytes[2..10]),
            key: array(&bytes[10..]),
        })
    }

    /// Fails unless `signature` is one of this key over the file that was hashed.
    pub fn verify(&self, hash: &Prehash, signature: &FileSignature) -> Result<()> {
        if signature.number != self.number {
            return Err(Error::Signature("it was made with another key".to_owned()));
        }
        let key = UnparsedPublicKey::new(&ED25519, &self.key);
        let over_file = key.verify(&hash.finish(), &signature.signature);
        let comment = [&signature.signature[..], signature.comment.as_bytes()].concat();
        let over_comment = key.verify(&comment, &signature.over_comment);
        match over_file.and(over_comment) {
            Ok(()) => Ok(()),
            Err(_) => Err(Error::Signature("it is not one of this file".to_owned())),
        }
    }
}

/// A signature of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSignature {
    number: [u8; 8],
    signature: [u8; 64],
    /// The trusted comment.
    pub comment: String,
    over_comment: [u8; 64],
}

impl FileSignature {
    /// The signature of minisign's file.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::Signature("it is no signature of minisign".to_owned());
        if text.len() > TEXT_BYTES_MAX {
            return Err(wrong());
        }
        let mut lines = text.lines();
        lines
            .next()
            .filter(|l| l.starts_with("untrusted comment:"))
            .ok_or_else(wrong)?;
        let bytes: [u8; SIGNATURE_BYTES] = lines.next().and_then(base64).ok_or_else(wrong)?;
        if bytes[..2] == WHOLE {
            let why = "it is over the whole file, not over its hash; sign it with \"minisign -SH\"";
            return Err(Error::Signature(why.to_owned()));
        }
        let comment = lines
            .next()
            .and_then(|line| line.strip_prefix("trusted comment: "));
        let parsed = Self {
            number: array(&bytes[2..10]),
            signature: array(&bytes[10..]),
            comment: comment.ok_or_else(wrong)?.to_owned(),
            over_comment: lines.next().and_then(base64).ok_or_else(wrong)?,
        };
        match bytes[..2] == PREHASHED {
            true => Ok(parsed),
            false => Err(wrong()),
        }
    }

    /// As minisign's file has it.
    pub fn text(&self) -> String {
        let signature = [&PREHASHED[..], &self.number, &self.signature].concat();
        format!(
            "untrusted comment: signature from cairn\n{}\ntrusted comment: {}\n{}\n",
            STANDARD.encode(signature),
            self.comment,
            STANDARD.encode(self.over_comment)
        )
    }
}

/// A key that files are signed with.
pub struct FileSigningKey {
    number: [u8; 8],
    pair: Ed25519KeyPair,
}

impl FileSigningKey {
    /// The key of minisign's file, which must not be encrypted (`minisign -G -W`).
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::Key(format!("{why}; a secret key of minisign is needed"));
        let line = last_line(text).ok_or_else(|| wrong("it is empty or too long"))?;
        let bytes: [u8; SECRET_BYTES] = base64(line).ok_or_else(|| wrong("it is no such key"))?;
        if bytes[..2] != WHOLE {
            return Err(wrong("it is of another kind"));
        }
        if bytes[KDF] != [0, 0] {
            return Err(Error::Key(
                "it is encrypted with a password, which Cairn cannot read; make one with \"minisign -G -W\"".to_owned(),
            ));
        }
        let (secret, sum) = bytes[SECRET_FROM..].split_at(72);
        let mut hash = blake2b_simd::Params::new().hash_length(32).to_state();
        hash.update(&WHOLE).update(secret);
        if hash.finalize().as_bytes() != sum {
            return Err(wrong("its checksum is wrong"));
        }
        let pair = Ed25519KeyPair::from_seed_and_public_key(&secret[8..40], &secret[40..72]);
        Ok(Self {
            number: array(&secret[..8]),
            pair: pair.map_err(|_| wrong("its two halves do not belong together"))?,
        })
    }

    /// A signature over the file that was hashed, and over a comment of one line.
    pub fn sign(&self, hash: &Prehash, comment: &str) -> FileSignature {
        let comment: String = comment.chars().filter(|c| !c.is_control()).collect();
        let signature: [u8; 64] = array(self.pair.sign(&hash.finish()).as_ref());
        let over = [&signature[..], comment.as_bytes()].concat();
        FileSignature {
            number: self.number,
            signature,
            over_comment: array(self.pair.sign(&over).as_ref()),
            comment,
        }
    }
}

fn last_line(text: &str) -> Option<&str> {
    let short = text.len() <= TEXT_BYTES_MAX;
    text.lines().rfind(|line| short && !line.trim().is_empty())
}

fn base64<const N: usize>(line: &str) -> Option<[u8; N]> {
    STANDARD.decode(line.trim()).ok()?.try_into().ok()
}

/// As many bytes as there are; callers know that.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by minisign itself, over a file of the word "test".
    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    const SIGNATURE: &str = "untrusted comment: signature from minisign secret key
RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=
trusted comment: timestamp:1633700835\tfile:test\tprehashed
wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==
";

    fn hash(bytes: &[u8]) -> Prehash {
        let mut hash = Prehash::default();
        hash.update(bytes);
        hash
    }

    #[test]
    fn a_signature_of_minisign_is_verified_and_no_other() {
        let key = FileKey::parse(KEY).unwrap();
        let signature = FileSignature::parse(SIGNATURE).unwrap();
        key.verify(&hash(b"test"), &signature).unwrap();
        assert!(key.verify(&hash(b"rest"), &signature).is_err());
        for (from, to) in [
            ("file:test", "file:rest"),
            ("r3g7V1", "r3g7V2"),
            ("UQf6LRC", "UQf6LRD"),
        ] {
            let bad = FileSignature::parse(&SIGNATURE.replace(from, to)).unwrap();
            assert!(key.verify(&hash(b"test"), &bad).is_err(), "{from}");
        }
        let again = FileSignature::parse(&signature.text()).unwrap();
        assert_eq!(again, signature);
    }

    #[test]
    fn what_is_no_key_or_signature_is_refused() {
        for bad in ["", "words", &KEY[..20], &KEY.replace("RW", "RU")] {
            assert!(FileKey::parse(bad).is_err(), "{bad}");
            assert!(FileSigningKey::parse(bad).is_err(), "{bad}");
        }
        let whole = FileSignature::parse(&SIGNATURE.replace("\nRUQ", "\nRWQ"));
        assert!(whole.unwrap_err().to_string().contains("minisign -SH"));
        let lines: Vec<&str> = SIGNATURE.lines().collect();
        for missing in 0..lines.len() {
            let mut cut = lines.clone();
            cut.remove(missing);
            assert!(
                FileSignature::parse(&cut.join("\n")).is_err(),
                "line {missing}"
            );
        }
    }
}
