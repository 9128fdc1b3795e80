//! A certificate authority of the test's own, made by `openssl`.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory with the authority `NAME.crt` and what it vouches for.
pub struct Authority {
    directory: PathBuf,
    name: String,
}

fn openssl(directory: &Path, args: &str) {
    let output = Command::new("openssl")
        .args(args.split_whitespace())
        .current_dir(directory)
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {args}: {err}");
}

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

impl Authority {
    /// Makes one; `None` where the program is not there.
    pub fn new(directory: &Path, name: &str) -> Option<Self> {
        Command::new("openssl").arg("version").output().ok()?;
        std::fs::create_dir_all(directory).unwrap();
        openssl(
            directory,
            &format!("req -x509 {KEY} -keyout {name}.key -out {name}.crt -subj /CN={name} -days 2"),
        );
        Some(Self {
            directory: directory.to_owned(),
            name: name.to_owned(),
        })
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join(format!("{}.crt", self.name))
    }

    /// Certificate and key for `name`, in `NAME.cert` and `NAME.key`: of a host with these alternative names, or of a
    /// client without any.
    pub fn vouch(&self, name: &str, hosts: &str) -> (PathBuf, PathBuf) {
        let ca = &self.name;
        let usage = if hosts.is_empty() {
            "clientAuth"
        } else {
            "serverAuth"
        };
        let mut extensions = format!("extendedKeyUsage = {usage}\n");
        if !hosts.is_empty() {
            extensions += &format!("subjectAltName = {hosts}\n");
        }
        std::fs::write(self.directory.join(format!("{name}.ext")), extensions).unwrap();
        openssl(
            &self.directory,
            &format!("req {KEY} -keyout {name}.key -out {name}.csr -subj /CN={name}"),
        );
        openssl(
            &self.directory,
            &format!(
                "x509 -req -in {name}.csr -CA {ca}.crt -CAkey {ca}.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.cert"
            ),
        );
        let at = |ending: &str| self.directory.join(format!("{name}.{ending}"));
        (at("cert"), at("key"))
    }
}
