//! `certs.d` of docker and of the containers world: whom to believe that it is one host, and who to be to it.
//!
//! A directory for each host (`HOST` or `HOST:PORT`): `*.crt` are certificate authorities beside those of the machine,
//! `NAME.cert` and `NAME.key` a client's certificate and its key. The first place with a directory for the host counts.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, parse_pem};

use crate::bounded::read_bounded;
use crate::error::{Error, Result};
use crate::places;

const SYSTEM: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];
const FILE_BYTES_MAX: u64 = 4 << 20;
const FILES_MAX: usize = 1000;

/// What is known of one host.
#[derive(Debug, Default)]
pub(crate) struct Certs {
    /// Who may vouch for it, beside the authorities of the machine.
    pub authorities: Vec<Certificate<'static>>,
    /// Who this client is to it.
    pub client: Option<ClientCert>,
}

/// The directory of a host, if it has one.
pub(crate) fn directory(authority: &str) -> Option<PathBuf> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if authority.starts_with('.') || !authority.chars().all(is_name) {
        return None;
    }
    let user = places::user_config().map(|config| config.join("containers/certs.d"));
    let system = SYSTEM.iter().map(PathBuf::from);
    let all = user.into_iter().chain(system);
    all.map(|place| place.join(authority))
        .find(|directory| directory.is_dir())
}

/// What the directory of a host says.
///
/// # Errors
/// Where a file cannot be read or understood, or a certificate has no key.
pub(crate) fn read(directory: &Path) -> Result<Certs> {
    let mut out = Certs::default();
    for file in files(directory)? {
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("crt") => out.authorities.extend(certificates(&file)?),
            Some("cert") => {
                let key = private_key(&file.with_extension("key"))?;
                out.client = Some(ClientCert::new_with_certs(&certificates(&file)?, key));
            }
            Some("key") if !file.with_extension("cert").exists() => {
                return Err(wrong(&file, "there is no certificate beside this key"));
            }
            _ => {}
        }
    }
    Ok(out)
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e: io::Error| wrong(directory, format!("cannot be read: {e}"));
    let mut out = Vec::new();
    for entry in std::fs::read_dir(directory)
        .map_err(failed)?
        .take(FILES_MAX)
    {
        out.push(entry.map_err(failed)?.path());
    }
    out.sort();
    Ok(out)
}

fn items(file: &Path) -> Result<Vec<PemItem<'static>>> {
    let read = File::open(file).and_then(|file| read_bounded(file, FILE_BYTES_MAX));
    let bytes = read.map_err(|e| wrong(file, format!("cannot be read: {e}")))?;
    let items = parse_pem(&bytes).collect::<Result<Vec<_>, _>>();
    // Not what it is: a part of a key, perhaps.
    items.map_err(|_| wrong(file, "it is not PEM"))
}

fn certificates(file: &Path) -> Result<Vec<Certificate<'static>>> {
    let certificate = |item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    };
    let found: Vec<_> = items(file)?.into_iter().filter_map(certificate).collect();
    match found.is_empty() {
        true => Err(wrong(file, "there is no certificate in it")),
        false => Ok(found),
    }
}

fn private_key(file: &Path) -> Result<PrivateKey<'static>> {
    let key = |item| match item {
        PemItem::PrivateKey(key) => Some(key),
        _ => None,
    };
    let found = items(file)?.into_iter().find_map(key);
    found.ok_or_else(|| wrong(file, "there is no private key in it"))
}

fn wrong(file: &Path, why: impl Into<String>) -> Error {
    Error::Configuration {
        file: file.display().to_string(),
        why: why.into(),
    }
}
