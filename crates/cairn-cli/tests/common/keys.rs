//! Keys that OpenSSL makes.

use std::path::PathBuf;
use std::process::Command;

use crate::common::Cairn;

/// True where OpenSSL is there and does it.
pub fn openssl(args: &[&str]) -> bool {
    let output = Command::new("openssl").args(args).output();
    output.is_ok_and(|output| output.status.success())
}

/// A key pair that OpenSSL makes.
pub fn key_pair(cairn: &Cairn, name: &str) -> (String, String) {
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let key = text(cairn.path(&format!("{name}.key")));
    let public = text(cairn.path(&format!("{name}.pub")));
    let curve = "ec_paramgen_curve:P-256";
    assert!(openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        curve,
        "-out",
        &key
    ]));
    assert!(openssl(&["pkey", "-in", &key, "-pubout", "-out", &public]));
    (key, public)
}
