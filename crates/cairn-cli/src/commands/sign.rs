//! `sign`, `verify`, and the machine's policy of images.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cairn_registry::Location;
use cairn_repo::{Images, Policy, Verified};
use cairn_trust::{PublicKey, SigningKey};
use serde::Serialize;

use super::Env;
use super::have::text;
use super::registry::Registry;
use crate::args::{Sign, VerifyImage, Wire};
use crate::output;

/// Where the policy of all users is.
const SYSTEM_POLICY: &str = "/etc/containers/policy.json";

/// An image that was signed, or verified.
#[derive(Serialize)]
struct SignedLine {
    reference: String,
    #[serde(flatten)]
    verified: Verified,
}

/// `cairn sign`
pub fn sign(env: &Env, args: &Sign) -> Result<()> {
    let location: Location = args.reference.parse()?;
    let key = signing_key(&args.key)?;
    let repo = env.open_or_create()?;
    let client = registry(env)?.pusher(&location)?(&[]);
    let digest = repo.images().sign(&client, &location, &key)?;
    if env.json {
        let reference = location.to_string();
        let digest = digest.to_string();
        return Ok(output::json(
            &serde_json::json!({"reference": reference, "digest": digest}),
        )?);
    }
    println!("{location}  signed {digest}");
    Ok(())
}

/// `cairn verify`
pub fn verify(env: &Env, args: &VerifyImage) -> Result<()> {
    let location: Location = args.reference.parse()?;
    let keys = args.key.iter().map(|path| public_key(path));
    let keys = keys.collect::<Result<Vec<_>>>()?;
    let verified = registry(env)?.with_any(&location, |client| {
        Ok(Images::verify(&client, &location, &keys)?)
    })?;
    let reference = location.to_string();
    if env.json {
        return Ok(output::report(&SignedLine {
            reference,
            verified,
        })?);
    }
    println!(
        "{reference}  {} is signed as {}",
        verified.digest, verified.signed_name
    );
    Ok(())
}

fn registry(env: &Env) -> Result<Registry> {
    Registry::of(env, &env.settings()?, &Wire::default())
}

/// The private key in a file.
pub fn signing_key(path: &Path) -> Result<SigningKey> {
    SigningKey::from_pem(&text(path)?).with_context(|| path.display().to_string())
}

fn public_key(path: &Path) -> Result<PublicKey> {
    PublicKey::from_pem(&text(path)?).with_context(|| path.display().to_string())
}

/// The policy that pulls follow: the user's, else that of the machine; none where there is neither.
pub fn policy() -> Result<Option<Policy>> {
    let home = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    let own = home.map(|home| home.join("containers/policy.json"));
    for path in own.into_iter().chain([PathBuf::from(SYSTEM_POLICY)]) {
        if let Some(policy) = Policy::read(&path)? {
            return Ok(Some(policy));
        }
    }
    Ok(None)
}
