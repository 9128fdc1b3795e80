//! Whether an image may be taken.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use cairn_model::Digest;
use cairn_registry::{Client, Location};
use cairn_trust::{Identity, KeySource, PublicKey, Signed, Verdict};
use serde::Serialize;

use super::read::{Signature, signatures};
use crate::error::{At, Error, Result};
use crate::images::Images;
use crate::report;

/// Longest key file, and longest policy.
const KEY_BYTES_MAX: u64 = 64 << 10;
const POLICY_BYTES_MAX: u64 = 1 << 20;

/// What is asked of images, and where that stands.
#[derive(Debug, Clone)]
pub struct Policy {
    path: PathBuf,
    policy: cairn_trust::Policy,
}

/// A signature that is good.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Verified {
    /// The manifest or index that was signed.
    #[serde(serialize_with = "report::text")]
    pub digest: Digest,
    /// The name that was signed with it.
    pub signed_name: String,
}

impl Policy {
    /// The policy in a file; none where there is no such file.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let file = match File::open(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.at("open", path)?,
        };
        let mut bytes = Vec::new();
        file.take(POLICY_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .at("read", path)?;
        let policy = cairn_trust::Policy::parse(&bytes).map_err(|e| of_file(path, &e))?;
        Ok(Some(Self {
            path: path.to_owned(),
            policy,
        }))
    }

    /// Fails unless the image at `location` may be taken; `digests` are those that lead to it, any of which may be
    /// signed.
    pub(crate) fn admit(
        &self,
        client: &Client,
        location: &Location,
        digests: &[Digest],
    ) -> Result<()> {
        // Not that of a mirror: what was asked for counts.
        let name = full_name(location);
        let verdict = self.policy.verdict(&name, location.tag());
        match verdict.map_err(|e| of_file(&self.path, &e))? {
            Verdict::Accept => Ok(()),
            Verdict::Reject => {
                let why = format!("{location} is rejected by {}", self.path.display());
                Err(Error::Invalid(why))
            }
            Verdict::Signed(all) => {
                let mut found = Vec::new();
                for digest in digests {
                    found.extend(signatures(client, digest)?);
                }
                for signed in &all {
                    self.meet(signed, &found, &name, location, digests)?;
                }
                Ok(())
            }
        }
    }

    fn meet(
        &self,
        signed: &Signed,
        found: &[Signature],
        name: &str,
        location: &Location,
        digests: &[Digest],
    ) -> Result<()> {
        let keys = signed.keys.iter().map(key).collect::<Result<Vec<_>>>()?;
        let fits = |said: &str| signed.identity.fits(said, name, location.tag());
        match good(found, &keys, digests, fits) {
            Ok(_) => Ok(()),
            Err(why) => {
                let path = self.path.display();
                let why = format!("{location} may not be taken: {why}; {path} asks for it");
                Err(Error::Invalid(why))
            }
        }
    }
}

/// The first signature of one of these keys over one of these digests, for a name that fits.
fn good(
    found: &[Signature],
    keys: &[PublicKey],
    digests: &[Digest],
    fits: impl Fn(&str) -> bool,
) -> Result<Verified, String> {
    let mut why = match found.len() {
        0 => "it has no signature".to_owned(),
        count => format!("none of its signatures ({count}) is of such a key"),
    };
    for signature in found {
        for said in keys.iter().filter_map(|key| signature.said_by(key)) {
            match (digests.contains(&said.digest), fits(&said.reference)) {
                (true, true) => {
                    return Ok(Verified {
                        digest: said.digest,
                        signed_name: said.reference,
                    });
                }
                (true, false) => why = format!("it is signed as {:?}", said.reference),
                (false, _) => why = format!("the signature is one of {}", said.digest),
            }
        }
    }
    Err(why)
}

fn key(source: &KeySource) -> Result<PublicKey> {
    let text = match source {
        KeySource::Data(text) => text.clone(),
        KeySource::Path(path) => {
            let path = Path::new(path);
            let mut text = String::new();
            let file = File::open(path).at("open the key", path)?;
            file.take(KEY_BYTES_MAX)
                .read_to_string(&mut text)
                .at("read", path)?;
            text
        }
    };
    Ok(PublicKey::from_pem(&text)?)
}

/// Registry and repository.
pub fn full_name(location: &Location) -> String {
    format!("{}/{}", location.registry(), location.repository())
}

fn of_file(path: &Path, e: &cairn_trust::Error) -> Error {
    Error::Invalid(format!("{}: {e}", path.display()))
}

impl Images<'_> {
    /// Looks for a signature of one of these keys over the image at `location`, for a name in its repository.
    pub fn verify(client: &Client, location: &Location, keys: &[PublicKey]) -> Result<Verified> {
        let digest = client.resolve(location)?;
        let found = signatures(client, &digest)?;
        let name = full_name(location);
        let fits = |said: &str| Identity::Repository.fits(said, &name, location.tag());
        let wrong = |why| Error::Invalid(format!("{location} is not verified: {why}"));
        good(&found, keys, &[digest], fits).map_err(wrong)
    }
}
