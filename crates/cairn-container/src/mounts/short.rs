//! `-v`: `[HOST|NAME:]CONTAINER[:OPTIONS]`

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cairn_runtime::{Mount, MountKind, Origin, Text};

use super::{Wanted, WantedVolume, absolute};
use crate::error::{Error, Result, Step};

/// What follows the second colon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Options {
    read_only: bool,
    copy: bool,
}

/// A directory or file of the host, a named volume, or one of the container's own.
pub fn volume(text: &Text) -> Result<Wanted> {
    let refused = |why: &str| Err(Error::Usage(format!("volume {:?}: {why}", text.lossy())));
    let parts: Vec<&[u8]> = text.as_bytes().split(|b| *b == b':').collect();
    let (source, target, words) = match parts[..] {
        [target] => (None, target, &b""[..]),
        [source, target] => (Some(source), target, &b""[..]),
        [source, target, words] => (Some(source), target, words),
        _ => return refused("write [HOST|NAME:]CONTAINER[:OPTIONS]"),
    };
    let options = match options(words) {
        Ok(options) => options,
        Err(why) => return refused(&why),
    };
    let target = absolute(target)?;
    match source {
        Some(source) if is_path(source) => {
            if !options.copy {
                return refused("nocopy is for named volumes");
            }
            bind(
                Path::new(OsStr::from_bytes(source)),
                target,
                options.read_only,
            )
        }
        source => Ok(Wanted::Volume(WantedVolume {
            name: source.map(name).transpose()?,
            target,
            read_only: options.read_only,
            copy: options.copy,
            labels: BTreeMap::new(),
        })),
    }
}

/// A mount of a file or directory of the host, which has to be there.
pub(super) fn bind(source: &Path, target: Text, read_only: bool) -> Result<Wanted> {
    let shown = source.display();
    let source = source.canonicalize().step(format!("volume {shown}"))?;
    Ok(Wanted::Mount(Mount {
        target,
        what: MountKind::Bind { source },
        read_only,
        origin: Origin::User,
    }))
}

/// A valid name of a volume.
pub(super) fn name(name: &[u8]) -> Result<String> {
    let name = String::from_utf8_lossy(name).into_owned();
    cairn_repo::check_volume_name(&name)?;
    Ok(name)
}

/// Docker's rule: a name has no slash in front, and is not a path that begins with a dot.
fn is_path(source: &[u8]) -> bool {
    let first = source.split(|b| *b == b'/').next().unwrap_or_default();
    source.first() == Some(&b'/') || first == b"." || first == b".."
}

fn options(words: &[u8]) -> Result<Options, String> {
    let mut options = Options {
        read_only: false,
        copy: true,
    };
    for word in words.split(|b| *b == b',').filter(|word| !word.is_empty()) {
        match word {
            b"ro" => options.read_only = true,
            b"rw" => options.read_only = false,
            b"nocopy" => options.copy = false,
            // As all mounts are.
            b"private" | b"rprivate" => {}
            b"shared" | b"rshared" | b"slave" | b"rslave" => {
                return Err(super::PROPAGATION.into());
            }
            b"z" | b"Z" => return Err("z and Z are for SELinux, which is not supported".into()),
            word => {
                return Err(format!(
                    "unknown option {:?}; valid options are ro, rw and nocopy",
                    String::from_utf8_lossy(word)
                ));
            }
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Wanted, String> {
        volume(&Text::from(text)).map_err(|e| e.to_string())
    }

    #[test]
    fn sources_are_paths_of_the_host_or_names() {
        let Ok(Wanted::Mount(given)) = parsed("/tmp:/data/:ro") else {
            unreachable!("it is a path")
        };
        assert!(given.read_only && given.target == Text::from("/data/"));
        assert!(matches!(parsed(".:/data"), Ok(Wanted::Mount(_))));
        let Ok(Wanted::Volume(named)) = parsed("data-1:/data:ro,nocopy") else {
            unreachable!("it is a name")
        };
        assert_eq!(named.name.as_deref(), Some("data-1"));
        assert!(named.read_only && !named.copy);
        let Ok(Wanted::Volume(own)) = parsed("/data") else {
            unreachable!("it is a place of the container")
        };
        assert!(own.name.is_none() && own.copy);
        assert!(volume(&Text::from("/nonexistent-source:/x")).is_err());
    }

    #[test]
    fn what_is_not_valid_says_what_would_be() {
        for (text, words) in [
            ("data", "must start with /"),
            ("", "must start with /"),
            ("/tmp:data", "must start with /"),
            ("/tmp:/", "must not be /"),
            ("name:/../..", "must not be /"),
            ("/tmp:/x:zz", "valid options"),
            ("a:b:c:d", "OPTIONS"),
            ("a/b:/x", "./"),
            ("-x:/x", "not valid"),
            ("a\nb:/x", "not valid"),
            (":/x", "not valid"),
            ("/tmp:/x:nocopy", "named volumes"),
            ("name:/x:rshared", "host"),
            ("name:/x:Z", "SELinux"),
        ] {
            let e = parsed(text).unwrap_err();
            assert!(e.contains(words), "{text}: {e}");
        }
    }
}
