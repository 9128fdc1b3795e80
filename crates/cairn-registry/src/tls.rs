//! Whom to believe that it is the host it says it is: the certificate authorities of this machine.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

use crate::bounded::read_bounded;
use crate::certs::Certs;

/// Where distributions keep all authorities in one file.
const FILES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs/ca-bundle.crt",
];
/// Largest file of certificates that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The authorities of this machine, read once: `SSL_CERT_FILE`, else the first of the usual files.
fn authorities() -> &'static [Certificate<'static>] {
    static KNOWN: OnceLock<Vec<Certificate<'static>>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let files = match named {
            Some(file) => vec![file],
            None => FILES.iter().map(PathBuf::from).collect(),
        };
        let found = files.iter().find_map(|file| certificates(file).ok());
        found.unwrap_or_default()
    })
}

/// The certificates in a file of PEM.
fn certificates(file: &Path) -> std::io::Result<Vec<Certificate<'static>>> {
    let bytes = read_bounded(std::fs::File::open(file)?, FILE_BYTES_MAX)?;
    let items = parse_pem(&bytes).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    Ok(items.collect())
}

/// What connections to a host are made with, given what is known of it. Unverified, anybody may be that host.
pub(crate) fn config(certs: Certs, verified: bool) -> TlsConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut all = authorities().to_vec();
    all.extend(certs.authorities);
    TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider)
        .root_certs(RootCerts::new_with_certs(&all))
        .client_cert(certs.client)
        .disable_verification(!verified)
        .build()
}
