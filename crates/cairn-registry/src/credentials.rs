//! Who the user is to a registry, as `docker login` and `podman login` wrote it down.
//!
//! The first file that knows the registry decides: `REGISTRY_AUTH_FILE`, podman's `auth.json`, docker's
//! `config.json`. A file may name a helper (`docker-credential-NAME`), which is run with the registry's name on its
//! standard input, its output bounded in length and time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::auth::Credentials;
use crate::bounded::read_bounded;
use crate::error::{Error, Result};
use crate::helper::{TOKEN_USER, ask};
use crate::location::Location;
use crate::places::{set, user_config};

pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;
/// What docker calls its own registry in these files.
pub(crate) const DOCKER: [&str; 3] = [
    "https://index.docker.io/v1/",
    "index.docker.io",
    "docker.io",
];
/// A file of credentials, as far as it is of interest.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Document {
    auths: BTreeMap<String, Option<Entry>>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// The credentials for a repository, if there are any in `authfile` or, without it, in the files of this user.
pub fn credentials(location: &Location, authfile: Option<&Path>) -> Result<Option<Credentials>> {
    find(location, &files(authfile))
}

/// Where credentials may be, in the order in which they count.
pub(crate) fn files(authfile: Option<&Path>) -> Vec<PathBuf> {
    let named = authfile.map(Path::to_owned);
    if let Some(named) = named.or_else(|| set("REGISTRY_AUTH_FILE")) {
        return vec![named];
    }
    let home = set("HOME");
    let mut out = Vec::new();
    match set("XDG_RUNTIME_DIR") {
        Some(runtime) => out.push(runtime.join("containers/auth.json")),
        None => {
            let user = rustix::process::getuid().as_raw();
            out.push(format!("/run/containers/{user}/auth.json").into());
        }
    }
    out.extend(user_config().map(|config| config.join("containers/auth.json")));
    let docker = set("DOCKER_CONFIG").or_else(|| home.map(|home| home.join(".docker")));
    out.extend(docker.map(|docker| docker.join("config.json")));
    out
}

fn find(location: &Location, files: &[PathBuf]) -> Result<Option<Credentials>> {
    let names = names(location);
    for file in files {
        let Some(document) = read(file)? else {
            continue;
        };
        for name in &names {
            if let Some(found) = document.find(name, file)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

fn read(file: &Path) -> Result<Option<Document>> {
    let wrong = |why: String| Error::Configuration {
        file: file.display().to_string(),
        why,
    };
    let opened = match File::open(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        // Another user's, in a shared place: no credentials of this user's.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        opened => opened.map_err(|e| wrong(format!("cannot be opened: {e}")))?,
    };
    let bytes =
        read_bounded(opened, FILE_BYTES_MAX).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    // The position and not the text: that may be a secret.
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|e| {
        wrong(format!(
            "it is not a file of credentials (line {})",
            e.line()
        ))
    })
}

/// What the repository may be called in a file: the most specific name first, as podman has it.
fn names(location: &Location) -> Vec<String> {
    let (registry, mut path) = (location.registry(), location.repository());
    let mut out = Vec::new();
    loop {
        out.push(format!("{registry}/{path}"));
        match path.rsplit_once('/') {
            Some((above, _)) => path = above,
            None => break,
        }
    }
    match registry {
        "docker.io" => out.extend(DOCKER.map(str::to_owned)),
        registry => out.push(registry.to_owned()),
    }
    out
}

/// A key without what docker put around host names in older versions.
pub(crate) fn bare(key: &str) -> &str {
    if DOCKER.contains(&key) {
        return key;
    }
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let key = key.trim_end_matches('/');
    key.strip_suffix("/v1")
        .or_else(|| key.strip_suffix("/v2"))
        .unwrap_or(key)
}

impl Document {
    fn find(&self, name: &str, file: &Path) -> Result<Option<Credentials>> {
        let helper = self.helpers.iter().find(|(key, _)| bare(key) == name);
        if let Some((key, helper)) = helper {
            return ask(helper, key);
        }
        let entry = self.auths.iter().find(|(key, _)| bare(key) == name);
        if let Some((key, Some(entry))) = entry
            && let Some(found) = entry.credentials(key, file)?
        {
            return Ok(Some(found));
        }
        match &self.store {
            // A store knows hosts only.
            Some(store) if !name.contains('/') || DOCKER.contains(&name) => ask(store, name),
            _ => Ok(None),
        }
    }
}

impl Entry {
    fn credentials(&self, key: &str, file: &Path) -> Result<Option<Credentials>> {
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = some(&self.identitytoken) {
            return Ok(Some(Credentials {
                user: TOKEN_USER.to_owned(),
                secret: token,
                is_identity_token: true,
            }));
        }
        let pair = match (some(&self.auth), some(&self.username), some(&self.password)) {
            (Some(auth), _, _) => {
                let decoded = BASE64_STANDARD.decode(auth.trim()).ok();
                let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
                let decoded = decoded.as_deref().map(|text| text.trim_end_matches('\0'));
                let pair = decoded.and_then(|text| text.split_once(':'));
                let pair = pair.map(|(user, secret)| (user.to_owned(), secret.to_owned()));
                Some(pair.ok_or_else(|| Error::Configuration {
                    file: file.display().to_string(),
                    why: format!("the credentials for {key} are not user and password in base64"),
                })?)
            }
            (None, Some(user), Some(secret)) => Some((user, secret)),
            _ => None,
        };
        Ok(pair.map(|(user, secret)| Credentials {
            user,
            secret,
            is_identity_token: false,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found_in(text: &str, reference: &str) -> Result<Option<(String, String)>> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.json");
        std::fs::write(&file, text).unwrap();
        let missing = directory.path().join("missing.json");
        let found = find(&reference.parse().unwrap(), &[missing, file])?;
        Ok(found.map(|known| (known.user, known.secret)))
    }

    fn pair(user: &str, secret: &str) -> Option<(String, String)> {
        Some((user.to_owned(), secret.to_owned()))
    }

    #[test]
    fn files_of_docker_and_podman_are_read() {
        let auth = BASE64_STANDARD.encode("me:pass:word");
        let other = BASE64_STANDARD.encode("other:x");
        for (key, reference, expected) in [
            ("host:5000", "host:5000/a/b", true),
            ("https://host:5000/v1/", "host:5000/a/b", true),
            ("https://host:5000", "host:5000/a", true),
            ("host:5000/a", "host:5000/a/b:1", true),
            ("host:5000/a", "host:5000/ab", false),
            ("host", "host:5000/a", false),
            ("https://index.docker.io/v1/", "example/app", true),
            ("docker.io", "py", true),
        ] {
            let text = format!(
                r#"{{"auths":{{"{key}":{{"auth":"{auth}"}},"empty":{{}},"null":null}},"extra":1}}"#
            );
            let found = found_in(&text, reference).unwrap();
            assert_eq!(
                found,
                expected.then(|| pair("me", "pass:word")).flatten(),
                "{key} {reference}"
            );
        }
        // The most specific name counts.
        let text =
            format!(r#"{{"auths":{{"h.io":{{"auth":"{auth}"}},"h.io/a":{{"auth":"{other}"}}}}}}"#);
        assert_eq!(found_in(&text, "h.io/a/b").unwrap(), pair("other", "x"));
        assert_eq!(found_in(&text, "h.io/c").unwrap(), pair("me", "pass:word"));
        let token = r#"{"auths":{"h.io":{"identitytoken":"t"}}}"#;
        assert_eq!(found_in(token, "h.io/c").unwrap(), pair(TOKEN_USER, "t"));
        assert_eq!(
            found_in(r#"{"auths":{"h.io":{}}}"#, "h.io/c").unwrap(),
            None
        );
        assert_eq!(found_in("  ", "h.io/c").unwrap(), None);
    }

    #[test]
    fn errors_tell_the_file_and_never_the_secret() {
        let secret = BASE64_STANDARD.encode("hunter2");
        for bad in [
            format!(r#"{{"auths":{{"h.io":{{"auth":"{secret}"}}}}}}"#),
            r#"{"auths":{"h.io":{"auth":"hunter2!"}}}"#.to_owned(),
            r#"{"auths":"hunter2"}"#.to_owned(),
            r#"{"credHelpers":{"h.io":"../hunter"}}"#.to_owned(),
            r#"{"credsStore":"no such helper"}"#.to_owned(),
            r#"{"credsStore":"cairn-test-missing"}"#.to_owned(),
        ] {
            let error = found_in(&bad, "h.io/c").unwrap_err().to_string();
            assert!(
                !error.contains("hunter2") && !error.contains(&secret),
                "{error}"
            );
        }
    }
}
