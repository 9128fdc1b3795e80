//! Who the user is to a registry, as `docker login` and `podman login` wrote it down.
//!
//! The first file that knows the registry decides: `REGISTRY_AUTH_FILE`, podman's `auth.json`, docker's
//! `config.json`. A file may name a helper (`docker-credential-NAME`), which is run with the registry's name on its
//! standard input, its output bounded in length and time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::auth::Credentials;
use crate::bounded::read_bounded;
use crate::error::{Error, Result};
use crate::location::Location;

const FILE_BYTES_MAX: u64 = 1 << 20;
const HELPER_BYTES_MAX: u64 = 64 << 10;
const HELPER_TIME_MAX: Duration = Duration::from_secs(30);
/// What docker calls its own registry in these files.
const DOCKER: [&str; 3] = [
    "https://index.docker.io/v1/",
    "index.docker.io",
    "docker.io",
];
/// The user that a helper names where the secret is an identity token.
const TOKEN_USER: &str = "<token>";

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

/// What a helper says.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Said {
    username: String,
    secret: String,
}

/// The credentials for a repository, if there are any in the files of this user.
pub fn credentials(location: &Location) -> Result<Option<Credentials>> {
    find(location, &files())
}

/// Where credentials may be, in the order in which they count.
fn files() -> Vec<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    if let Some(named) = set("REGISTRY_AUTH_FILE") {
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
    let config = set("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
    out.extend(config.map(|config| config.join("containers/auth.json")));
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
fn bare(key: &str) -> &str {
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

/// What a helper knows of a registry.
fn ask(helper: &str, registry: &str) -> Result<Option<Credentials>> {
    let program = format!("docker-credential-{helper}");
    let wrong = |why: String| Error::Configuration {
        file: program.clone(),
        why,
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if helper.is_empty() || !helper.chars().all(is_name) {
        return Err(wrong(
            "it is not the name of a credential helper".to_owned(),
        ));
    }
    let path = found(&program).ok_or_else(|| wrong("it is not installed".to_owned()))?;
    let started = Command::new(path)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let child = started.map_err(|e| wrong(format!("it cannot be started: {e}")))?;
    let (succeeded, out) = talk(child, registry).map_err(|e| wrong(format!("it failed: {e}")))?;
    if !succeeded {
        let said = String::from_utf8_lossy(&out);
        if said.contains("credentials not found") {
            return Ok(None);
        }
        let said: String = said.trim().chars().take(200).collect();
        return Err(wrong(format!("it failed: {said}")));
    }
    // Not what it said: that is a secret.
    let said: Said = serde_json::from_slice(&out)
        .map_err(|_| wrong("what it says is not understood".to_owned()))?;
    if said.secret.is_empty() {
        return Ok(None);
    }
    Ok(Some(Credentials {
        is_identity_token: said.username == TOKEN_USER,
        user: said.username,
        secret: said.secret,
    }))
}

/// A program in an absolute directory of the search path: none of the working directory is ever run.
fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// Gives a helper its input and takes what it says, in bounded time.
fn talk(mut child: Child, input: &str) -> io::Result<(bool, Vec<u8>)> {
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read its input may know the answer all the same.
        let _ = stdin.write_all(input.as_bytes());
    }
    let out = child.stdout.take();
    let reader = std::thread::Builder::new().spawn(move || match out {
        Some(out) => read_bounded(out, HELPER_BYTES_MAX),
        None => Ok(Vec::new()),
    })?;
    let until = Instant::now() + HELPER_TIME_MAX;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other("it does not end"));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let read = reader
        .join()
        .map_err(|_| io::Error::other("the thread that reads it failed"))?;
    Ok((status.success(), read?))
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
