//! Credentials written down as docker and podman do, and taken out again.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use crate::auth::Credentials;
use crate::bounded::read_bounded;
use crate::credentials::{FILE_BYTES_MAX, bare, files};
use crate::error::{Error, Result};
use crate::helper;
use crate::login::Account;

/// Where credentials are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// In a file, as base64.
    File(PathBuf),
    /// By `docker-credential-NAME`.
    Helper(String),
}

/// A file of credentials with everything that is in it.
struct Document(Map<String, Value>);

impl Document {
    /// Reads a file; `None` where there is none.
    fn read(path: &Path) -> Result<Option<Self>> {
        let opened = match File::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|e| wrong(path, format!("cannot be opened: {e}")))?,
        };
        let bytes = read_bounded(opened, FILE_BYTES_MAX)
            .map_err(|e| wrong(path, format!("cannot be read: {e}")))?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Some(Self(Map::new())));
        }
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(document)) => Ok(Some(Self(document))),
            _ => Err(wrong(path, "it is not a JSON object".to_owned())),
        }
    }

    /// The helper that keeps the credentials for a registry.
    fn helper(&self, key: &str) -> Option<String> {
        let own = self.0.get("credHelpers").and_then(Value::as_object);
        let own = own.and_then(|all| all.iter().find(|(known, _)| bare(known) == bare(key)));
        let of = own
            .map(|(_, helper)| helper)
            .or_else(|| self.0.get("credsStore"));
        of.and_then(Value::as_str).map(str::to_owned)
    }

    fn knows(&self, key: &str) -> bool {
        let auths = self.0.get("auths").and_then(Value::as_object);
        auths.is_some_and(|auths| auths.keys().any(|known| bare(known) == bare(key)))
    }

    /// Takes out the entries that are to go; true where there were any.
    fn remove(&mut self, goes: impl Fn(&str) -> bool) -> bool {
        let Some(auths) = self.0.get_mut("auths").and_then(Value::as_object_mut) else {
            return false;
        };
        let before = auths.len();
        auths.retain(|known, _| !goes(known));
        auths.len() < before
    }

    fn add(&mut self, key: &str, credentials: &Credentials, path: &Path) -> Result<()> {
        self.remove(|known| bare(known) == bare(key));
        let pair = format!("{}:{}", credentials.user, credentials.secret);
        let auths = self.0.entry("auths").or_insert_with(|| json!({}));
        let auths = auths.as_object_mut();
        let auths = auths.ok_or_else(|| wrong(path, "its auths are not an object".to_owned()))?;
        auths.insert(
            key.to_owned(),
            json!({ "auth": BASE64_STANDARD.encode(pair) }),
        );
        Ok(())
    }

    /// Puts it in the place of the file at once, for its owner's eyes only.
    fn write(&self, path: &Path) -> Result<()> {
        // What a link leads to, not the link.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let text = serde_json::to_vec_pretty(&self.0).unwrap_or_default();
        replace(&path, &text).map_err(|e| wrong(&path, format!("cannot be written: {e}")))
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|above| !above.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let new = directory.join(name);
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    let done = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&new, path))
        .and_then(|()| File::open(directory)?.sync_all());
    if done.is_err() {
        // Where it is gone already, all the better.
        let _ = std::fs::remove_file(&new);
    }
    done
}

fn wrong(path: &Path, why: String) -> Error {
    Error::Configuration {
        file: path.display().to_string(),
        why,
    }
}

/// The file that takes new credentials: the one that has some for this registry, else the first that exists, else
/// the first there may be.
fn target(key: &str, files: &[PathBuf]) -> Result<(PathBuf, Document)> {
    let mut first = None;
    for path in files {
        if let Some(document) = Document::read(path)? {
            if document.knows(key) {
                return Ok((path.clone(), document));
            }
            first.get_or_insert((path.clone(), document));
        }
    }
    let new = || Some((files.first()?.clone(), Document(Map::new())));
    first.or_else(new).ok_or_else(|| Error::Configuration {
        file: "auth.json".to_owned(),
        why: "there is no place for it; use --authfile".to_owned(),
    })
}

/// Writes credentials down, in `authfile` or where this user keeps them, or has the helper keep them that is named
/// there.
///
/// # Errors
/// Where a file cannot be read or written, or a helper fails.
pub fn store(
    account: &Account,
    credentials: &Credentials,
    authfile: Option<&Path>,
) -> Result<Stored> {
    let key = account.key();
    let (path, mut document) = target(key, &files(authfile))?;
    if let Some(helper) = document.helper(key) {
        helper::store(&helper, key, credentials)?;
        return Ok(Stored::Helper(helper));
    }
    document.add(key, credentials, &path)?;
    document.write(&path)?;
    Ok(Stored::File(path))
}

/// Takes out the credentials for a registry, or without one all that files hold; where they were.
///
/// # Errors
/// Where a file cannot be read or written, or a helper fails.
pub fn forget(account: Option<&Account>, authfile: Option<&Path>) -> Result<Vec<Stored>> {
    let mut out = Vec::new();
    for path in files(authfile) {
        let Some(mut document) = Document::read(&path)? else {
            continue;
        };
        let key = account.map(Account::key);
        if document.remove(|known| key.is_none_or(|key| bare(known) == bare(key))) {
            document.write(&path)?;
            out.push(Stored::File(path));
        }
        if let Some((key, helper)) = key.and_then(|key| Some((key, document.helper(key)?)))
            && helper::erase(&helper, key)?
        {
            out.push(Stored::Helper(helper));
        }
    }
    Ok(out)
}
