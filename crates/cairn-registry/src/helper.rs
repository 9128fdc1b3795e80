//! Programs that keep credentials: `docker-credential-NAME`, run from an absolute directory of the search path, bounded in
//! what they say and in time.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use crate::auth::Credentials;
use crate::bounded::read_bounded;
use crate::error::{Error, Result};

const HELPER_BYTES_MAX: u64 = 64 << 10;
const HELPER_TIME_MAX: Duration = Duration::from_secs(30);
/// The user that a helper names where the secret is an identity token.
pub(crate) const TOKEN_USER: &str = "<token>";

/// What a helper says.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Said {
    username: String,
    secret: String,
}

fn wrong(helper: &str, why: String) -> Error {
    Error::Configuration {
        file: format!("docker-credential-{helper}"),
        why,
    }
}

/// What a helper knows of a registry.
pub(crate) fn ask(helper: &str, registry: &str) -> Result<Option<Credentials>> {
    let (succeeded, out) = run(helper, "get", registry)?;
    if !succeeded {
        return match is_unknown(&out) {
            true => Ok(None),
            false => Err(failed(helper, &out)),
        };
    }
    // Not what it said: that is a secret.
    let said: Said = serde_json::from_slice(&out)
        .map_err(|_| wrong(helper, "what it says is not understood".to_owned()))?;
    if said.secret.is_empty() {
        return Ok(None);
    }
    Ok(Some(Credentials {
        is_identity_token: said.username == TOKEN_USER,
        user: said.username,
        secret: said.secret,
    }))
}

/// Has a helper keep credentials.
pub(crate) fn store(helper: &str, registry: &str, credentials: &Credentials) -> Result<()> {
    let said = json!({
        "ServerURL": registry,
        "Username": credentials.user,
        "Secret": credentials.secret,
    });
    match run(helper, "store", &said.to_string())? {
        (true, _) => Ok(()),
        (false, out) => Err(failed(helper, &out)),
    }
}

/// Has a helper forget credentials; false where it had none.
pub(crate) fn erase(helper: &str, registry: &str) -> Result<bool> {
    match run(helper, "erase", registry)? {
        (true, _) => Ok(true),
        (false, out) if is_unknown(&out) => Ok(false),
        (false, out) => Err(failed(helper, &out)),
    }
}

fn is_unknown(out: &[u8]) -> bool {
    String::from_utf8_lossy(out).contains("credentials not found")
}

fn failed(helper: &str, out: &[u8]) -> Error {
    let said: String = String::from_utf8_lossy(out)
        .trim()
        .chars()
        .take(200)
        .collect();
    wrong(helper, format!("it failed: {said}"))
}

/// Runs a helper with something on its standard input: whether it succeeded, and what it said.
fn run(helper: &str, verb: &str, input: &str) -> Result<(bool, Vec<u8>)> {
    let wrong = |why: String| wrong(helper, why);
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if helper.is_empty() || !helper.chars().all(is_name) {
        return Err(wrong(
            "it is not the name of a credential helper".to_owned(),
        ));
    }
    let program = format!("docker-credential-{helper}");
    let path = found(&program).ok_or_else(|| wrong("it is not installed".to_owned()))?;
    let started = Command::new(path)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let child = started.map_err(|e| wrong(format!("it cannot be started: {e}")))?;
    talk(child, input).map_err(|e| wrong(format!("it failed: {e}")))
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
