//! Keys of images: ECDSA over P-256 with SHA-256, as cosign makes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};

use crate::error::{Error, Result};
use crate::{der, pem};

/// Longest signature in DER: two numbers of 33 bytes, and what is around them.
const SIGNATURE_BYTES_MAX: usize = 80;

/// A key that signatures are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// The key in a PEM file.
    pub fn from_pem(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::Key(why.to_owned());
        let (label, bytes) = pem::first(text).ok_or_else(|| wrong("it is not a PEM file"))?;
        if label != "PUBLIC KEY" {
            return Err(wrong(&format!("it is a {label:?}, not a public key")));
        }
        let point = der::point(&bytes).ok_or_else(|| wrong("it is not one of ECDSA over P-256"))?;
        Ok(Self(point.to_vec()))
    }

    /// True where `signature`, in DER, is one of this key over `message`.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0);
        signature.len() <= SIGNATURE_BYTES_MAX && key.verify(message, signature).is_ok()
    }

    /// The key as a PEM file.
    pub fn to_pem(&self) -> String {
        let text = STANDARD.encode(der::spki(&self.0));
        let (first, rest) = text.split_at(64);
        format!("-----BEGIN PUBLIC KEY-----\n{first}\n{rest}\n-----END PUBLIC KEY-----\n")
    }
}

/// A key that signatures are made with.
pub struct SigningKey(EcdsaKeyPair);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

impl SigningKey {
    /// The key in a PEM file: PKCS #8, not encrypted.
    pub fn from_pem(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::Key(why.to_owned());
        let (label, bytes) = pem::first(text).ok_or_else(|| wrong("it is not a PEM file"))?;
        match label {
            "PRIVATE KEY" => {}
            label if label.starts_with("ENCRYPTED") => {
                return Err(wrong(
                    "it is encrypted, which Cairn cannot read; give a key as \"openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256\" makes it",
                ));
            }
            "EC PRIVATE KEY" => {
                return Err(wrong(
                    "it is not in PKCS #8; convert it with \"openssl pkcs8 -topk8 -nocrypt\"",
                ));
            }
            label => return Err(wrong(&format!("it is a {label:?}, not a private key"))),
        }
        let pair = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            &bytes,
            &SystemRandom::new(),
        );
        pair.map(Self)
            .map_err(|_| wrong("it is not one of ECDSA over P-256"))
    }

    /// A signature over `message`, in DER.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let signature = self.0.sign(&SystemRandom::new(), message);
        let failed = |_| Error::Key("the system has no random numbers".to_owned());
        Ok(signature.map_err(failed)?.as_ref().to_vec())
    }

    /// The key that its signatures are checked with.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().as_ref().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key and signature over "sample" of RFC 6979, A.2.5, in the forms that are read here.
    const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYP7UuiVanTHJYet0xjVtaMBJuJI7
Yfps5mliLmDyn7Z5A/4QCLi8maQa6elWKLxk8vGyDC1+n1F3o8KU1EYimQ==
-----END PUBLIC KEY-----
";
    const SIGNATURE: &str = "MEYCIQDv1IsqrLao/RFA3ZzUXoHWnSyHe1aq+ZHDTQ6oTq83FgIhAPfLHJQtZXxB1DbHobbin2Xz6QDbua/0Bk3Eqy+EOs2o";

    #[test]
    fn a_signature_of_the_standard_is_verified_and_no_other() {
        let key = PublicKey::from_pem(KEY).unwrap();
        assert_eq!(key.to_pem(), KEY);
        let signature = STANDARD.decode(SIGNATURE).unwrap();
        assert!(key.has_signed(b"sample", &signature));
        assert!(!key.has_signed(b"simple", &signature));
        for at in 0..signature.len() {
            let mut bad = signature.clone();
            bad[at] ^= 1;
            assert!(!key.has_signed(b"sample", &bad), "byte {at}");
        }
        assert!(!key.has_signed(b"sample", &[]));
        assert!(!key.has_signed(b"sample", &[0x30; SIGNATURE_BYTES_MAX + 1]));
    }

    #[test]
    fn other_keys_are_refused() {
        // Of the curve P-384, and what is no point.
        let spki = pem::first(KEY).unwrap().1;
        for at in [15, 22, 26] {
            let mut bad = spki.clone();
            bad[at] ^= 1;
            let text = STANDARD.encode(bad);
            let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
            assert!(PublicKey::from_pem(&pem).is_err(), "byte {at}");
        }
        let private = KEY.replace("PUBLIC", "PRIVATE");
        assert!(PublicKey::from_pem(&private).is_err());
        assert!(SigningKey::from_pem(&private).is_err());
        let encrypted = KEY.replace("PUBLIC", "ENCRYPTED SIGSTORE PRIVATE");
        let told = SigningKey::from_pem(&encrypted).unwrap_err().to_string();
        assert!(told.contains("encrypted"), "{told}");
    }
}
