//! `--secret id=NAME,src=FILE|env=VARIABLE`: files in memory, with what a file or a variable holds at the moment
//! of each start.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use cairn_repo::Repo;
use cairn_runtime::{
    LaunchSpec, Mount, MountKind, Origin, Secret, SecretSource, SecretValue, Text,
};

use crate::error::{Error, Result, Step};
use crate::mounts::{absolute, csv, mode};

/// As Docker.
const SECRET_BYTES_MAX: u64 = 500 << 10;
const SECRETS_MAX: usize = 100;
const PLACE: &str = "/run/secrets";

/// What the option wants, as a mount.
pub(crate) fn secret(text: &str) -> Result<Mount> {
    let refused = |why: String| Error::Usage(format!("--secret {text}: {why}"));
    let (mut id, mut source, mut target) = (None, None, None);
    let (mut uid, mut gid, mut permissions) = (0, 0, 0o400);
    for field in csv(text).map_err(refused)? {
        let (name, value) = field.split_once('=').unwrap_or((&field, ""));
        if value.is_empty() {
            return Err(refused(format!("{name:?} needs a value")));
        }
        match name {
            "id" => id = Some(value.to_owned()),
            "src" | "source" | "env" if source.is_some() => {
                return Err(refused("give one of src= and env=".into()));
            }
            "src" | "source" => {
                let path = std::path::absolute(value).step(format!("--secret {text}"))?;
                source = Some(SecretSource::File(path.into_os_string().into()));
            }
            "env" => source = Some(SecretSource::Variable(value.to_owned())),
            "target" | "dst" | "destination" => target = Some(value.to_owned()),
            "uid" => uid = number(value).ok_or_else(|| refused("uid must be a number".into()))?,
            "gid" => gid = number(value).ok_or_else(|| refused("gid must be a number".into()))?,
            "mode" => {
                let bits = mode(value).filter(|bits| *bits <= 0o777);
                permissions =
                    bits.ok_or_else(|| refused("mode must be octal, such as 0440".into()))?;
            }
            "type" if value == "file" => {}
            _ => {
                return Err(refused(format!(
                    "unknown field {name:?}; valid fields are id, src, env, target, uid, gid and mode"
                )));
            }
        }
    }
    let id = id.ok_or_else(|| refused("id= is missing".into()))?;
    if !is_name(&id) {
        return Err(refused(
            "id may have letters, digits, -, . and _ only, 64 at most".into(),
        ));
    }
    let source = source.ok_or_else(|| refused("src= or env= is missing".into()))?;
    let target = match target {
        Some(target) if target.starts_with('/') => target,
        Some(target) => format!("{PLACE}/{target}"),
        None => format!("{PLACE}/{id}"),
    };
    Ok(Mount {
        target: absolute(target.as_bytes())?,
        what: MountKind::Secret(Secret {
            id,
            source,
            uid,
            gid,
            mode: permissions,
        }),
        read_only: true,
        origin: Origin::User,
    })
}

fn is_name(id: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    (1..=64).contains(&id.len()) && id.bytes().all(known) && !id.bytes().all(|b| b == b'.')
}

fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    // The largest one means "leave it as it is".
    text.parse().ok().filter(|n| digits && *n < u32::MAX)
}

/// The secrets of a launch as they are now.
pub(crate) fn values(spec: &LaunchSpec) -> Result<Vec<SecretValue>> {
    let secrets: Vec<&Secret> = spec.secrets().collect();
    if secrets.len() > SECRETS_MAX {
        return Err(Error::Usage(format!(
            "--secret: a container can have {SECRETS_MAX} at most"
        )));
    }
    secrets.into_iter().map(value).collect()
}

fn value(secret: &Secret) -> Result<SecretValue> {
    let id = &secret.id;
    let bytes = match &secret.source {
        SecretSource::Variable(name) => {
            let value = std::env::var_os(name).ok_or_else(|| {
                Error::Refused(format!(
                    "secret {id}: the variable {name} is not set; it has to be at every start"
                ))
            })?;
            std::os::unix::ffi::OsStringExt::into_vec(value)
        }
        SecretSource::File(path) => read(id, path)?,
    };
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(Error::Refused(format!(
            "secret {id} has more than {} KiB, the most that is allowed",
            SECRET_BYTES_MAX >> 10
        )));
    }
    Ok(SecretValue::new(bytes))
}

fn read(id: &str, path: &Text) -> Result<Vec<u8>> {
    let path = Path::new(path.as_os_str());
    let what = || format!("read secret {id} from {}", path.display());
    let mut options = std::fs::File::options();
    let no_terminal = rustix::fs::OFlags::NOCTTY.bits() as i32;
    let file = options.read(true).custom_flags(no_terminal).open(path);
    let mut bytes = Vec::new();
    file.and_then(|file| file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes))
        .step(what())?;
    Ok(bytes)
}

/// Fails where a container could not be started now for want of a secret.
pub fn check_secrets(repo: &Repo, name: &str) -> Result<()> {
    let container = repo.containers().find(name)?;
    let directory = repo.containers().dir(&container.id);
    values(&LaunchSpec::load(&directory)?).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(String, Secret), String> {
        let mount = secret(text).map_err(|e| e.to_string())?;
        match mount.what {
            MountKind::Secret(secret) if mount.read_only => Ok((mount.target.lossy(), secret)),
            _ => unreachable!("it is a secret"),
        }
    }

    #[test]
    fn a_secret_is_for_root_alone_unless_told_otherwise() {
        let (target, secret) = parsed("id=key,src=/etc/key").unwrap();
        assert_eq!(target, "/run/secrets/key");
        assert_eq!((secret.uid, secret.gid, secret.mode), (0, 0, 0o400));
        assert_eq!(secret.source, SecretSource::File(Text::from("/etc/key")));
        let (target, secret) =
            parsed("type=file,id=a.b,env=TOKEN,target=/etc/token,uid=33,gid=44,mode=0440").unwrap();
        assert_eq!(
            (&target[..], secret.uid, secret.gid, secret.mode),
            ("/etc/token", 33, 44, 0o440)
        );
        assert_eq!(secret.source, SecretSource::Variable("TOKEN".into()));
        assert_eq!(
            parsed("id=a,env=B,target=x/y").unwrap().0,
            "/run/secrets/x/y"
        );
    }

    #[test]
    fn what_is_not_valid_is_refused() {
        for (text, words) in [
            ("src=/x", "id= is missing"),
            ("id=a", "src= or env="),
            ("id=a,src=/x,env=Y", "one of"),
            ("id=../a,env=Y", "letters"),
            ("id=..,env=Y", "letters"),
            ("id=a\nb,env=Y", "one line"),
            ("id=a,env=Y,mode=999", "octal"),
            ("id=a,env=Y,mode=4755", "octal"),
            ("id=a,env=Y,uid=4294967295", "number"),
            ("id=a,env=Y,uid=-1", "number"),
            ("id=a,env=Y,target=/", "must not be /"),
            ("id=a,env=Y,target=../..", "must not be /"),
            ("id=a,env=", "needs a value"),
            ("id=a,env=Y,bogus=1", "unknown field"),
            ("a", "needs a value"),
        ] {
            let e = parsed(text).unwrap_err();
            assert!(e.contains(words), "{text}: {e}");
        }
    }

    #[test]
    fn bytes_of_a_secret_are_not_shown() {
        assert!(!format!("{:?}", SecretValue::new(b"hunter2".to_vec())).contains("hunter"));
    }
}
